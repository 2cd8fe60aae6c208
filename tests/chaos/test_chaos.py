"""Each fault once, in a small world: nothing lost, nothing doubled, nobody repairs anything.

`make chaos` plays them hundreds of times; `make mutations` shows that they notice what is missing.
"""

import os

import pytest

from tests.chaos.harness import Scenario, Yard, run_scenario
from tests.chaos.mutations import MUTATIONS, mutate
from tests.chaos.run import scenarios
from tests.helpers.processes import ROOT, Forks

SEED = os.environ.get("XAPI_CHAOS_SEED", "1")


@pytest.fixture(scope="module")
def yard(tmp_path_factory, _clean_environment):
    yard = Yard(tmp_path_factory.mktemp("worlds"))
    yield yard
    yard.close()


# The others take longer, or are variants of these.
IN_SUITE = (
    "load/killed",
    "commit/killed",
    "load/two at once",
    "queue/worker killed",
    "transform/killed",
    "transform/disk full",
    "rebuild/killed",
    "withdraw/killed",
    "gc/killed",
)
CHOSEN = [one for one in scenarios() if one.name in IN_SUITE]


@pytest.mark.parametrize("chosen", CHOSEN, ids=lambda one: one.name.replace(" ", "_"))
def test_whatever_fails_the_ordinary_commands_complete_it(yard: Yard, chosen: Scenario):
    record = run_scenario(yard, chosen, SEED)
    if record.skipped:
        pytest.skip(record.skipped)
    assert record.ok, [record.error, *record.notes, *record.happened]
    assert record.statements > 0


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name.replace(" ", "_"))
def test_a_mutation_still_finds_the_protection_that_it_removes(mutation, tmp_path):
    names = {one.name for one in scenarios()}
    assert set(mutation.scenarios) <= names
    changed = mutate(mutation, tmp_path / "copy")
    for file, _, new in mutation.edits:
        assert new in (changed / file).read_text() != (ROOT / file).read_text()


def test_a_process_that_is_killed_says_so(tmp_path):
    forks = Forks()
    try:
        env = {name: os.environ[name] for name in ("PATH", "HOME")}
        env["XAPI_CHDB_PATH"] = str(tmp_path / "clickhouse")
        ended = forks.start(["xapi-elt", "status"], env, tmp_path)
        assert ended.wait() == 1
        assert "xapi-elt init" in ended.output
        assert ended.kill() is False
        worker = ["xapi-elt", "worker", "--queue-url", "http://127.0.0.1:1/q"]
        killed = forks.start(worker, env, tmp_path)
        assert killed.kill() is True
        assert killed.poll() == -9
    finally:
        forks.close()

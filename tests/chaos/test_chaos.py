"""Kills, races and full disks, once each in a small world: nothing is lost or doubled, and ordinary
commands complete what was interrupted.

`make chaos` plays all scenarios many times; `make mutations` shows that they notice a missing
protection.
"""

import os

import pytest

from tests.chaos.harness import Scenario, Yard, run_scenario
from tests.chaos.mutations import MUTATIONS
from tests.chaos.run import scenarios
from tests.helpers.paths import ROOT
from tests.helpers.processes import shared_forks

SEED = os.environ.get("XAPI_CHAOS_SEED", "1")


# The scenarios that noticed a removed protection (docs/exactly-once.md), and one of each other
# place; `make chaos` plays the rest.
PLAYED = {
    "backfill/killed",
    "commit/killed",
    "load/two at once",
    "queue/worker killed",
    "transform/killed",
    "transform/two at once",
    "rebuild/killed",
    "withdraw/killed",
    "gc/load and dbt in flight",
}
SHORT = {"commit/killed", "transform/killed"}
CHOSEN = [one for one in scenarios() if one.name in PLAYED]


def test_every_scenario_that_is_played_here_exists():
    assert {one.name for one in CHOSEN} == PLAYED >= SHORT


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(
            one,
            id=one.name.replace(" ", "_"),
            marks=() if one.name in SHORT else pytest.mark.long,
        )
        for one in CHOSEN
    ],
)
def test_ordinary_commands_complete_what_was_interrupted(yard: Yard, chosen: Scenario):
    record = run_scenario(yard, chosen, SEED)
    if record.skipped:
        pytest.skip(record.skipped)
    assert record.ok, [record.error, *record.notes, *record.happened]
    assert record.statements > 0


def test_every_scenario_that_a_mutation_names_exists():
    named = {name for mutation in MUTATIONS for name in mutation.scenarios}
    assert named <= {one.name for one in scenarios()}


def test_a_killed_process_reports_its_signal(tmp_path):
    env = {name: os.environ[name] for name in ("PATH", "HOME")}
    env["XAPI_CHDB_PATH"] = str(tmp_path / "clickhouse")
    ended = shared_forks(ROOT).start(["xapi-elt", "status"], env, tmp_path)
    assert ended.wait() == 1
    assert "xapi-elt init" in ended.output
    assert ended.kill() is False
    worker = ["xapi-elt", "worker", "--queue-url", "http://127.0.0.1:1/q"]
    killed = shared_forks(ROOT).start(worker, env, tmp_path)
    assert killed.kill() is True
    assert killed.poll() == -9

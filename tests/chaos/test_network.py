"""Faults of the network once each, in small worlds; `make chaos` plays all of them, many times."""

import os

import pytest

from tests.chaos.harness import Scenario, Yard, run_scenario
from tests.chaos.run import scenarios

SEED = os.environ.get("XAPI_CHAOS_SEED", "1")

# One of each kind; the reads of S3 have tests of their own (test_s3_faults.py).
PLAYED = {
    "S3/replaced between HEAD and GET",
    "server/a loader's statement fails, clickhouse-connect",
    "server/a statement outlasts the Lambda",
    "dbt over HTTP/an increment's statement fails",
    "queue/several workers at once",
    "queue/dead letters sent again",
}


@pytest.fixture(scope="module")
def yard(tmp_path_factory, _clean_environment):
    yard = Yard(tmp_path_factory.mktemp("worlds"))
    yield yard
    yard.close()


CHOSEN = [one for one in scenarios() if one.name in PLAYED]


def test_every_scenario_that_is_played_here_is_there():
    assert {one.name for one in CHOSEN} == PLAYED


@pytest.mark.parametrize("chosen", CHOSEN, ids=lambda one: one.name.replace(" ", "_"))
def test_whatever_the_network_does_the_ordinary_commands_complete_it(yard: Yard, chosen: Scenario):
    record = run_scenario(yard, chosen, SEED)
    assert record.ok, [record.error, *record.notes, *record.happened]
    assert record.statements > 0

"""Network faults, once each in a small world; `make chaos` plays all of them many times."""

import os

import pytest

from tests.chaos.harness import Scenario, Yard, run_scenario
from tests.chaos.run import scenarios

SEED = os.environ.get("XAPI_CHAOS_SEED", "1")

# The scenarios that noticed a removed protection (docs/exactly-once.md), and one of each other
# place. More reads of S3 that fail are in test_s3_faults.py.
PLAYED = {
    "S3/deleted between HEAD and GET",
    "S3/shorter body, same ETag",
    "server/a statement outlasts the Lambda",
    "dbt over HTTP/an increment's statement fails",
}
SHORT = {"dbt over HTTP/an increment's statement fails"}
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
def test_ordinary_commands_complete_what_the_network_interrupted(yard: Yard, chosen: Scenario):
    record = run_scenario(yard, chosen, SEED)
    assert record.ok, [record.error, *record.notes, *record.happened]
    assert record.statements > 0

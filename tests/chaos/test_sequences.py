"""Random sequences of loads, dbt commands and accidents: 8 steps in `make proofs`, 500 with
XAPI_CHAOS=1, from XAPI_CHAOS_SEED."""

import os

import pytest

from tests.chaos.sequences import play

SEED = int(os.environ.get("XAPI_CHAOS_SEED", "1"))
STEPS = 500 if os.environ.get("XAPI_CHAOS") == "1" else 8


@pytest.mark.long
def test_after_every_run_all_tables_are_what_the_staging_view_says(tmp_path):
    play(SEED, STEPS, tmp_path / "sequence")

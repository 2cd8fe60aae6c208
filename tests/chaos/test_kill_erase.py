"""Kill -9 in the middle of an erasure, again and again: the next run completes it.

No count changes, and other learners keep their rows.

Two kills in `make test`; thirty, each from the beginning or in what the one before left, with
XAPI_CHAOS=1.
"""

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.helpers.erasure import (
    MBOX,
    OPTIONS,
    USER,
    found_in_files,
    in_all_families,
    lines_of_several,
    of_learner,
    others,
    unreadable,
)
from tests.helpers.once import once_per_run
from tests.helpers.paths import ROOT
from tests.helpers.processes import Process, shared_forks
from tests.helpers.small_database import Attempt, SmallDatabase, build

FULL = os.environ.get("XAPI_CHAOS") == "1"
KILLS = 30 if FULL else 2
SEED = int(os.environ.get("XAPI_CHAOS_SEED", "1"))

BALANCE = """
select lines, statements, missing, surplus, doubled
from xapi.ops_statement_balance
where family = 'all'
"""
OTHERS = """
select count() as rows, groupBitXor(cityHash64(event_id, timestamp, learner_id)) as hash
from xapi.video_events
where user_id = '7'
"""
RAW = "select count() as lines, sum(length(line) > 0) as filled from xapi_raw.statements"
LEARNER = f"""
select
    (select count() from xapi.int_xapi__statements where user_id = '{USER}')
    + (select count() from xapi.video_events where user_id = '{USER}')
    + (select count() from xapi.rejected_statements where position(line, '{USER}') > 0)
    + (select count() from xapi_raw.statements where position(line, '{USER}') > 0) as left
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> SmallDatabase:
    """The small database, with the learner in objects of every kind, applied by dbt."""
    built = SmallDatabase(once_per_run(tmp_path_factory, "small_database", build))
    database = built.copy(tmp_path_factory.mktemp("learner") / "database")
    several = [line for line, _ in lines_of_several().values()]
    mine = in_all_families()
    database.load(
        Attempt(21, "families", [*mine, *others(2)]),
        Attempt(22, "several", [*several, *unreadable()]),
        Attempt(23, "replaced", [of_learner(51)]),
        Attempt(24, "replaced", [of_learner(52), *others(1, 110)], etag="2", policy="replace"),
        Attempt(25, "again", mine),
        Attempt(26, "died", mine, outcome="failed"),
        Attempt(27, "mails", [of_learner(53, MBOX), *others(1, 120)]),
    )
    database.dbt("run", *(() if FULL else ("--exclude", "operations")))
    return database


def start(database: SmallDatabase, *options: str) -> Process:
    """Start the command."""
    database.close()
    environment = os.environ | {"XAPI_CHDB_PATH": str(database.folder / "clickhouse")}
    command = ["xapi-elt", "erase", *options]
    return shared_forks(ROOT).start(command, environment, database.folder)


def finish(database: SmallDatabase, *options: str) -> None:
    """Run the command to its end, which is a success."""
    process = start(database, *options)
    assert process.wait(600) == 0, process.output


def test_an_erasure_that_is_killed_is_completed_by_the_next_one(whole: SmallDatabase, tmp_path):
    rng = random.Random(SEED)
    options = (*OPTIONS[0], "--yes", "--also-unparsed")
    before = [whole.query(sql) for sql in (BALANCE, OTHERS, RAW)]
    assert whole.query(LEARNER)[0]["left"] > 20
    longest, database, moments = 15.0, None, []
    for kill in range(KILLS):
        # Each third one begins again; the others go on with what the kill before has left.
        if database is None or kill % 3 == 0:
            database = whole.copy(Path(tmp_path / f"copy-{kill}"))
        process = start(database, *options)
        moments.append(round(rng.uniform(0.5, longest), 1))
        time.sleep(moments[-1])
        was_running = process.kill()
        if kill % 3 == 2 or kill == KILLS - 1:
            began = time.monotonic()
            # Without the name: what was kept is completed, except for what the name alone finds.
            finish(database, *(options if kill % 2 else ("--pending",)))
            longest = time.monotonic() - began
            finish(database, *options)
            assert [database.query(sql) for sql in (BALANCE, OTHERS, RAW)] == before, moments
            assert database.query(LEARNER) == [{"left": 0}], moments
            finish(database, "--verify")
            if FULL:
                database.dbt("run")
                database.dbt("test", "--select", "test_type:singular")
                assert [database.query(sql) for sql in (BALANCE, OTHERS)] == before[:2], moments
                finish(database, "--pending")
            database.close()
            assert found_in_files(database.folder, [USER]) == [], moments
            shutil.rmtree(database.folder)
            database = None
        print(f"killed after {moments[-1]} s{'' if was_running else ', when it was done'}")

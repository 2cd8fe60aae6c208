"""Another key of the pseudonyms: every learner id is another one, everywhere or nowhere."""

from contextlib import closing

import pytest

from loader import pseudonyms
from loader.clickhouse.connect import open_warehouse
from loader.errors import PermanentError
from loader.expire import plan, remove
from loader.settings import Settings
from tests.helpers.bulk_lake import run_cli
from tests.helpers.dying import Dying, Killed
from tests.helpers.small_database import Attempt, SmallDatabase, statement

STOPS = "the key of the pseudonyms is another one than that by which"
NO_MIX = ("test", "--select", "tables_have_the_present_key")
KEY = "select first_half, second_half from xapi_raw.learner_key order by created_at limit 1"
KEYS = "select count() as n from xapi_raw.learner_key"
WITH_IDS = """
select table as relation from system.columns
where database = 'xapi' and name = 'learner_id' and not startsWith(table, 'stg_xapi__')
order by relation
"""
IDS = "select distinct learner_id as id from xapi.{relation} where learner_id != ''"

# Learners of every kind, and spellings of one of them.
ACTORS = [
    {"account": {"homePage": "https://LMS.example.org", "name": "7"}},
    {"account": {"name": "mailto:a@example.org"}},
    {"mbox": "mailto:A@example.org", "account": {"homePage": "https://lms.example.org"}},
    {"mbox_sha1sum": "EBD31E95054C018B10727CCFFD2EF2EC3A016EE9"},
    {"openid": "https://Ann.example.org/Me"},
]
LEARNERS = Attempt(
    8, "actors.jsonl", [statement(minute=at, actor=actor) for at, actor in enumerate(ACTORS)]
)
ROSTER = "insert into xapi.section_learners values (2161, '', 'https://lms.example.org', '7', '')"


def rotate(database: SmallDatabase, commands: int | None = None) -> None:
    """Rotate the key; with a number, until the process is killed after so many statements."""
    database.close()
    settings = Settings(chdb_path=str(database.folder / "clickhouse"))
    with closing(open_warehouse(settings)) as warehouse:
        if commands is None:
            pseudonyms.rotate(warehouse, settings)
        else:
            with pytest.raises(Killed):
                pseudonyms.rotate(Dying(warehouse, commands), settings)


def expire(database: SmallDatabase) -> None:
    """Remove all raw lines."""
    database.close()
    settings = Settings(chdb_path=str(database.folder / "clickhouse"))
    with closing(open_warehouse(settings)) as warehouse:
        assert list(remove(warehouse, plan(warehouse, settings, "1d")))


def learner_ids(database: SmallDatabase) -> dict[str, set[str]]:
    """The learner ids of every table and view, by its name."""
    return {
        row["relation"]: {found["id"] for found in database.query(IDS.format(**row))}
        for row in database.query(WITH_IDS)
    }


def test_until_the_old_key_is_deleted_it_is_in_force(database: SmallDatabase):
    old = database.query(KEY)
    for commands, keys in ((0, 1), (1, 1), (2, 2), (2, 2)):
        rotate(database, commands)
        assert (database.query(KEY), database.query(KEYS)[0]["n"]) == (old, keys)
    rotate(database)
    assert database.query(KEY) != old
    assert database.query(KEYS) == [{"n": 1}]


def test_a_clock_that_was_set_back_does_not_keep_the_old_key(database: SmallDatabase):
    database.change("alter table xapi_raw.learner_key delete where 1 settings mutations_sync = 2")
    database.change("insert into xapi_raw.learner_key values (1, 2, '2100-01-01 00:00:00')")
    rotate(database)
    assert database.query(KEYS) == [{"n": 1}]
    assert database.query(KEY) != [{"first_half": 1, "second_half": 2}]


def test_every_run_stops_after_a_rotation_and_without_a_key(database, capsys, monkeypatch):
    monkeypatch.setenv("XAPI_CHDB_PATH", str(database.folder / "clickhouse"))
    before = learner_ids(database)
    database.close()
    assert "--yes is missing" in run_cli(capsys, "rotate-key", code=2)
    assert "until: dbt run --full-refresh" in run_cli(capsys, "rotate-key", "--yes")
    assert STOPS in database.dbt("run", fails=True)
    database.change("alter table xapi_raw.learner_key delete where 1 settings mutations_sync = 2")
    said = database.dbt("run", "--full-refresh", fails=True)
    assert "learner_key` is empty: restore it" in said
    assert learner_ids(database) == before


def test_a_roster_that_names_learners_by_id_is_refused(database: SmallDatabase):
    old = database.query(KEY)
    database.change("insert into xapi.section_learners values (2161, '', '', '', 'a pseudonym')")
    with pytest.raises(PermanentError, match="1 rows of the seed section_learners have a learner"):
        rotate(database)
    assert database.query(KEY) == old


@pytest.mark.long
def test_one_full_refresh_gives_all_tables_new_ids_and_no_event_another_one(database):
    database.load(LEARNERS)
    database.change(ROSTER)
    database.dbt("run")
    expire(database)
    # The ids of expired lines are made again as they were.
    ids = "select * from xapi.int_xapi__statements order by load_id, source_path, source_line"
    lines = database.query(ids)
    database.dbt("run", "--full-refresh", "--select", "int_xapi__statements")
    assert database.query(ids) == lines
    before = learner_ids(database)
    events = database.query("select event_id from xapi.ops_events order by all")
    assert len(before["int_xapi__statements"]) == 5
    assert before["int_section_learners"] < before["int_xapi__statements"]

    rotate(database)
    # A full refresh that died after some tables: every other run stops.
    database.dbt("run", "--full-refresh", "--select", "int_xapi__statements", "video_events")
    for arguments in (("run",), ("run", "--select", "page_viewed_events"), ("build",)):
        assert STOPS in database.dbt(*arguments, fails=True)
    assert "Got 6 results" in database.dbt(*NO_MIX, fails=True)
    database.dbt("run", "--full-refresh")
    database.dbt("test", "--select", "test_type:singular")

    after = learner_ids(database)
    new, old = after["int_xapi__statements"], before["int_xapi__statements"]
    assert len(new) == 5 and not new & old
    for name, found in after.items():
        assert len(found) == len(before[name]) and found <= new, name
    assert database.query("select event_id from xapi.ops_events order by all") == events

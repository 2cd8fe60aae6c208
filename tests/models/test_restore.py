"""BACKUP and RESTORE give tables new UUIDs: both databases go on where they left off, and one that
was restored without the other is noticed. Statements and commands are those of docs/operate.md."""

import pytest

from tests.helpers.backups import ADD, BACK_UP, DROPS, RESTORE, run_on_server
from tests.helpers.small_database import TABLES_ONLY, Attempt, SmallDatabase, statement
from tests.helpers.view_faults import faults

FIRST = Attempt(1, "a.jsonl", [statement(minute=1), statement("page_viewed", minute=2), "no JSON"])
SECOND = Attempt(2, "b.jsonl", [statement(minute=1), statement(minute=3)])
UUID_OF_TABLE = "select toString(uuid) as id from system.tables where name = 'video_events'"


@pytest.fixture(scope="module")
def built(empty_models, tmp_path_factory):
    """One load is applied and in the first backup; one was loaded and applied later."""
    database = empty_models.copy(tmp_path_factory.mktemp("restore") / "copy")
    database.load(FIRST)
    database.dbt("run")
    run_on_server(database, BACK_UP)
    database.load(SECOND)
    database.dbt("run", *TABLES_ONLY)
    return database


@pytest.fixture
def database(built, tmp_path):
    """A copy, which the test may change."""
    copy = built.copy(tmp_path / "copy")
    yield copy
    copy.close()


def restore_one(database: SmallDatabase, name: str) -> None:
    """Drop one database and restore it from the first backup."""
    [drop] = [one for one in DROPS if one.split()[-2] == name]
    run_on_server(database, drop, f"restore database {name} from File('xapi-monday')")


def test_both_databases_go_on_where_the_backup_left_off(database):
    before = database.query(UUID_OF_TABLE)
    run_on_server(database, ADD, *DROPS, RESTORE)
    assert database.query(UUID_OF_TABLE) != before
    assert database.dbt("run", *TABLES_ONLY).count("[nothing new") == 8
    assert faults(database.query) == []
    database.load(Attempt(3, "c.jsonl", [statement(minute=4)]))
    assert database.dbt("run", *TABLES_ONLY).count("[1 loads, 1 lines") == 8
    assert faults(database.query) == []


@pytest.mark.long
def test_the_models_of_an_older_backup_receive_the_loads_since(database):
    restore_one(database, "xapi")
    assert database.query("select count() as n from xapi.video_events") == [{"n": 1}]
    assert database.dbt("run", *TABLES_ONLY).count("[1 loads, 2 lines") == 8
    assert faults(database.query) == []
    assert database.query("select count() as n from xapi.video_events") == [{"n": 2}]


@pytest.mark.long
def test_an_older_ledger_under_newer_models_is_noticed(database):
    restore_one(database, "xapi_raw")
    before = database.query("select * from xapi.video_events order by timestamp")
    for command in (("run",), ("run", "--select", "video_events")):
        output = database.dbt(*command, fails=True)
        assert "lacks 1 loads that `xapi`.`int_xapi__statements` holds" in output
        assert "Restore both databases from one backup" in output
        assert "Nothing was done" in output
    assert database.query("select * from xapi.video_events order by timestamp") == before
    database.dbt("test", "--select", "no_uncommitted_load_is_visible", fails=True)
    # The remedy, if there is no backup of both.
    database.load(Attempt(4, "b.jsonl", SECOND.lines))
    database.dbt("run", "--full-refresh")
    assert faults(database.query) == []
    assert database.dbt("run", *TABLES_ONLY).count("[nothing new") == 8

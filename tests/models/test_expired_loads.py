"""Loads whose raw lines were removed on purpose: what came from them stays in the tables."""

import json
from contextlib import closing

import pytest

from loader.clickhouse.connect import open_warehouse
from loader.errors import PermanentError
from loader.expire import plan, remove
from loader.pipeline import Pipeline
from loader.settings import Settings
from tests.helpers.bulk_lake import run_cli
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import start_dbt
from tests.helpers.dying import Dying, Killed
from tests.helpers.held import Held
from tests.helpers.small_database import (
    ATTEMPTS,
    BAD_LINE,
    ONE_OF_EACH,
    Attempt,
    SmallDatabase,
    statement,
)

# All lines of the small database are of December 2025.
MONTH = "2025-12"
EVENTS = "select event_id, learner_id, load_id, source_line from xapi.video_events order by all"
LINES = "select * from xapi.int_xapi__statements order by load_id, source_path, source_line"
BALANCE = "select * from xapi.ops_statement_balance order by family"
EXPIRED = "select load_id, lines from xapi_raw.expired_loads order by load_id"
RAW = "select count() as n from xapi_raw.statements"
DAYS = ("--vars", "{start_date: 2025-10-01, end_date: 2025-12-31}")
TESTS = (
    "raw_lines_agree_with_ledger",
    "statement_store_agrees_with_ledger",
    "every_committed_line_is_accounted_for",
)
# Lines of an attempt that never committed, of another month.
OLD_LEFTOVERS = """
insert into xapi_raw.statements (load_id, key, source_line, line, loaded_at)
select generateUUIDv4(), 'died', number, 'x', '2024-05-31 23:59:59' from numbers(3)
"""


def expire_until(database: SmallDatabase, commands: int) -> None:
    """Run `expire`, which is killed after so many statements."""
    database.close()
    settings = Settings(chdb_path=str(database.folder / "clickhouse"))
    with closing(open_warehouse(settings)) as warehouse:
        found = plan(warehouse, settings, "1d")
        with pytest.raises(Killed):
            list(remove(Dying(warehouse, commands), found))


@pytest.fixture
def expire(database: SmallDatabase, capsys, monkeypatch):
    """Run the command on the database, and return its JSON."""
    monkeypatch.setenv("XAPI_CHDB_PATH", str(database.folder / "clickhouse"))

    def run(*options: str, code: int = 0) -> dict:
        database.close()
        said = run_cli(capsys, "expire", "--older-than", "1d", "--json", *options, code=code)
        return json.loads(said)

    return run


def test_lines_that_expire_stay_in_tables(database: SmallDatabase, expire, capsys):
    events, lines, balance = (database.query(sql) for sql in (EVENTS, LINES, BALANCE))
    # Killed before it removes lines: they are in raw, and not read twice.
    expire_until(database, 2)
    assert database.query(RAW)[0]["n"] == 23
    said = database.dbt("run", "--full-refresh", "--select", "+video_events")
    assert f"keeps {len(lines)} rows whose raw lines have expired" in said
    assert (database.query(EVENTS), database.query(LINES)) == (events, lines)
    found = expire("--yes")
    assert (found["removed"], database.query(RAW)[0]["n"]) == ([MONTH], 0)
    said = database.dbt("run", "--select", "+video_events", *DAYS)
    assert "rows of these days stay as they are, because their raw lines have expired" in said
    assert (database.query(EVENTS), database.query(LINES)) == (events, lines)
    assert database.query(BALANCE) == balance
    database.dbt("test", "--select", *TESTS)
    database.close()
    assert "Expired: 21 raw lines of 4 loads were removed" in run_cli(capsys, "status")


def test_a_dry_run_shows_what_goes_and_changes_nothing(database, expire, capsys):
    found = expire("--dry-run")
    [month] = found["months"]
    assert (month.pop("month"), month.pop("bytes") > 0) == (MONTH, True)
    assert month == {"loads": 6, "objects": 6, "lines": 23}
    assert (found["waiting"], found["removed"], database.query(EXPIRED)) == (0, [], [])
    assert database.query(RAW)[0]["n"] == 23
    database.close()
    # There is no terminal to ask.
    assert "--yes is missing" in run_cli(capsys, "expire", "--older-than", "1d", code=2)
    assert "--older-than is '1'" in run_cli(capsys, "expire", "--older-than", "1", code=2)


def test_loads_that_no_table_holds_are_refused_by_name(database: SmallDatabase, expire):
    database.load(Attempt(8, "waits.jsonl", [statement(minute=8)]))
    assert "(lake/waits.jsonl). Run dbt run" in expire("--yes", code=1)["error"]
    assert expire("--dry-run", code=1)["waiting"] == 1
    # Nor what the statement store has lost.
    database.change("delete from xapi.int_xapi__statements where source_path like '%b.jsonl'")
    assert "2 loads before" in expire("--yes", code=1)["error"]
    assert (database.query(EXPIRED), database.query(RAW)[0]["n"]) == ([], 24)


def test_before_dbt_has_run_nothing_expires(tmp_path):
    database = SmallDatabase(tmp_path)
    database.load(ATTEMPTS[0])
    database.close()
    settings = Settings(chdb_path=str(tmp_path / "clickhouse"))
    with (
        closing(open_warehouse(settings)) as warehouse,
        pytest.raises(PermanentError, match="dbt has not built xapi"),
    ):
        plan(warehouse, settings, "1d")


def test_a_kill_at_any_point_is_completed_by_the_next_run(database: SmallDatabase, expire):
    database.change(OLD_LEFTOVERS)
    months = ["2024-05", MONTH]
    for commands, left in ((0, months), (1, months), (2, months), (3, [MONTH])):
        expire_until(database, commands)
        found = expire("--dry-run")
        assert [one["month"] for one in found["months"]] == left
    expired = database.query(EXPIRED)
    assert [row["lines"] for row in expired] == [8, 4, 3, 6]
    assert expire("--yes")["removed"] == [MONTH]
    assert (database.query(EXPIRED), database.query(RAW)[0]["n"]) == (expired, 0)


FILL_STORE = ("run", "--full-refresh", "--select", "int_xapi__statements")
LOST = "`xapi`.`int_xapi__statements` lacks 15 lines whose raw lines have expired"
LOSE = ("--vars", "{without_expired_lines: true}")


def test_a_full_refresh_stops_if_the_store_has_lost_expired_lines(database, expire, capsys):
    expire("--yes")
    database.change("truncate table xapi.int_xapi__statements")
    assert LOST in database.dbt(*FILL_STORE, fails=True)
    database.close()
    said = run_cli(capsys, "status")
    assert "int_xapi__statements lost 15 rows" in said
    assert "restore both databases from a backup, or try dbt run --full-refresh" in said


@pytest.mark.long
def test_events_of_expired_lines_leave_only_with_a_variable(database, expire):
    events = database.query(EVENTS)
    expire("--yes")
    database.change("truncate table xapi.int_xapi__statements")
    said = database.dbt("run", "--select", "+video_events", fails=True)
    assert "has 0 rows, but 15" in said and "Restore both databases from a backup, or try" in said
    database.change("drop table xapi.int_xapi__statements")
    for how in (FILL_STORE[1:], ("--select", "+video_events"), ("--full-refresh",)):
        assert LOST in database.dbt("run", *how, fails=True)
        assert database.query(EVENTS) == events
    assert LOST in database.dbt(*FILL_STORE, *LOSE)
    assert database.query(EVENTS) == events
    full = ("run", "--full-refresh", "--select", "+video_events")
    assert LOST in database.dbt(*full, fails=True)
    assert database.query(EVENTS) == events
    assert LOST in database.dbt(*full, *LOSE)
    assert database.query(EVENTS) == []


@pytest.mark.long
def test_replays_and_a_full_refresh_of_everything_after_lines_expired(database, expire):
    events, balance = database.query(EVENTS), database.query(BALANCE)
    assert expire("--yes")["removed"] == [MONTH]
    database.load(Attempt(9, "section/2161/video/replayed.jsonl", [*ONE_OF_EACH, BAD_LINE]))
    database.dbt("run")
    assert database.query(EVENTS) == events
    database.dbt("run", "--full-refresh")
    assert database.query(EVENTS) == events
    database.dbt("test", "--select", "test_type:singular")
    [all_now] = [row for row in database.query(BALANCE) if row["family"] == "all"]
    [all_then] = [row for row in balance if row["family"] == "all"]
    assert all_now["lines"] == all_then["lines"] + 7
    assert all_now["events"] == all_then["events"]
    # A version of an expired object replaces what came from it.
    again = Attempt(10, "section/2161/video/b.jsonl", [BAD_LINE], etag="2", policy="replace")
    database.load(again)
    database.dbt("run", "--full-refresh")
    database.dbt("test", "--select", "test_type:singular")
    [row] = database.query("select count() as n from xapi.rejected_statements")
    assert row["n"] == 3


@pytest.mark.long
def test_a_load_that_expired_before_a_restored_table_held_it_is_warned_of(database):
    lost = Attempt(8, "section/2161/video/lost.jsonl", [statement(minute=8)])
    database.load(lost)
    [row] = lost.rows_in_ledger()
    database.change(
        f"insert into xapi_raw.expired_loads (load_id, lines) values ('{row['load_id']}', 1)"
    )
    database.change(f"delete from xapi_raw.statements where load_id = '{row['load_id']}'")
    said = database.dbt("run", "--select", "int_xapi__statements")
    assert "the raw lines of 1 loads have expired, and `xapi`.`int_xapi__statements` does" in said
    [missing] = database.query("select missing from xapi.ops_statement_balance where family='all'")
    assert missing["missing"] == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("table", "how"),
    [("int_xapi__statements", ("--full-refresh",)), ("video_events", DAYS)],
    ids=["full refresh", "rebuild of days"],
)
def test_a_run_stops_if_lines_expire_while_it_reads_them(
    database: SmallDatabase, tmp_path, monkeypatch, table, how
):
    events, lines = database.query(EVENTS), database.query(LINES)
    database.close()
    with ClickHouseHttp(database.folder / "clickhouse") as http:
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(http.port))
        gate = http.fault = Held(f"insert into `xapi`.`elt_new__{table}__")
        run = start_dbt("run", "--select", table, *how, folder=tmp_path / "dbt")
        assert gate.reached.wait(120), run.output
        with Pipeline.from_env() as pipeline:
            found = plan(pipeline.warehouse, pipeline.settings, "1d")
            list(remove(pipeline.warehouse, found))
            gate.open.set()
            assert run.wait(120) != 0
            assert "loads expired while this run read raw lines" in run.output
            query = pipeline.warehouse.query
            assert (query(EVENTS), query(LINES)) == (events, lines)

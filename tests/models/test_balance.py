"""The pipeline's own tests: they pass on a sound database and fail for the harm they name."""

import pytest

from tests.helpers.small_database import Attempt, SmallDatabase, statement

BALANCE = "every_committed_line_is_accounted_for"
VISIBILITY = "no_uncommitted_load_is_visible"
STORE = "statement_store_agrees_with_ledger"
RAW = "raw_lines_agree_with_ledger"
ONCE = "no_load_is_applied_twice"
MONTHS = "events_lie_in_the_partition_of_their_month"
IN_TIME = "tables_keep_up_with_the_ledger"
FEW_REJECTED = "few_lines_are_rejected"
ALL_TESTS = (BALANCE, VISIBILITY, STORE, RAW, ONCE, MONTHS, IN_TIME, FEW_REJECTED)

EVENT_TABLES = (
    "video_events",
    "activity_attempt_events",
    "page_attempt_events",
    "part_attempt_events",
    "page_viewed_events",
)


def failing(database: SmallDatabase) -> set[str]:
    """The tests that find fault."""
    return {name for name in ALL_TESTS if database.data_test(name)}


def fault(database: SmallDatabase, family: str) -> dict[str, int]:
    """The balance's row for a family, without the zeros."""
    row = next(row for row in database.data_test(BALANCE) if row["family"] == family)
    return {name: row[name] for name in ("missing", "surplus", "doubled") if row[name]}


def test_a_sound_database_passes(built_database):
    assert failing(built_database) == set()
    (row,) = built_database.query("select * from xapi.ops_statement_balance where family = 'all'")
    assert row == {
        "family": "all", "lines": 15, "statements": 15, "events": 8, "duplicates": 4, "rejected": 2,
        "other": 1, "blank": 0, "erased": 0, "voided": 0, "waiting": 0, "missing": 0, "surplus": 0,
        "doubled": 0, "outdated": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "table",
    ["video_events", *(pytest.param(name, marks=pytest.mark.long) for name in EVENT_TABLES[1:])],
)
def test_a_lost_event_is_missed(database, table):
    database.change(f"delete from xapi.{table} where timestamp < '2025-10-06 09:01:00'")
    assert failing(database) == {BALANCE}
    lines = {"video_events": 3, "activity_attempt_events": 2}
    assert fault(database, table.removesuffix("_events")) == {"missing": lines.get(table, 1)}


def test_a_lost_rejected_line_is_missed(database):
    database.change("delete from xapi.rejected_statements where source_line = 8")
    assert failing(database) == {BALANCE}
    assert fault(database, "rejected") == {"missing": 1}


def test_dbt_stops_for_a_lost_event(database):
    database.change("delete from xapi.page_viewed_events where 1")
    output = database.dbt("test", "--select", BALANCE, fails=True)
    assert f"FAIL 2 {BALANCE}" in output  # page_viewed, and the sum


def test_a_row_of_an_uncommitted_load_is_seen(database):
    died, new_id = "00000000-0000-0000-0000-0000000003ef", "generateUUIDv4()"
    database.change(
        f"""
        insert into xapi.video_events
        select * replace(toUUID('{died}') as load_id, {new_id} as event_id)
        from xapi.video_events limit 1
        """
    )
    assert failing(database) == {BALANCE, VISIBILITY}
    assert fault(database, "video") == {"surplus": 1}
    (row,) = database.data_test(VISIBILITY)
    assert (row["table_name"], row["load_id"]) == ("video_events", died)


def test_rows_of_an_object_that_another_load_brought_are_seen_in_every_table(database):
    repeated = "00000000-0000-0000-0000-0000000003ed"
    tables = {*EVENT_TABLES, "rejected_statements", "int_xapi__statements"}
    for table in tables:
        database.change(
            f"insert into xapi.{table} "
            f"select * replace(toUUID('{repeated}') as load_id) from xapi.{table} limit 1"
        )
    assert {row["table_name"] for row in database.data_test(VISIBILITY)} == tables


def test_a_doubled_event_is_seen(database):
    database.change(
        """
        insert into xapi.video_events
        select * replace(9 as section_id) from xapi.video_events limit 1
        """
    )
    assert failing(database) == {BALANCE}
    assert fault(database, "video") == {"doubled": 1}


def test_an_event_in_the_table_of_another_family_is_seen(database):
    event = "(select any(event_id) from xapi.page_attempt_events)"
    database.change(
        f"insert into xapi.page_viewed_events "
        f"select * replace({event} as event_id) from xapi.page_viewed_events",
    )
    assert failing(database) == {BALANCE}
    assert fault(database, "page_viewed") == {"surplus": 1}


def test_a_line_that_the_statement_store_lost_is_missed(database):
    database.change("delete from xapi.int_xapi__statements where family = 'other'")
    assert failing(database) == {BALANCE, STORE}
    assert fault(database, "unread") == {"missing": 1}


def test_a_lost_raw_line_is_missed(database):
    database.change(
        "delete from xapi_raw.statements where source_line = 2 and endsWith(key, '/a.jsonl')"
    )
    assert failing(database) == {RAW}


def test_lines_stored_under_another_object_of_their_load_are_seen(database):
    """The load as a whole has as many lines as the ledger says."""
    of_a, of_b = (f"toUUID('00000000-0000-0000-0000-0000000003{end}')" for end in ("e9", "ea"))
    raw, store = "xapi_raw.statements", "xapi.int_xapi__statements"
    for table in ("xapi_raw.loads", raw, store):
        move(database, table, f"{of_a} as load_id", f"load_id = {of_b}")
    assert not database.data_test(RAW) and not database.data_test(STORE)

    for table, column in ((raw, "key"), (store, "source_path")):
        of_object = f"load_id = {of_a} and endsWith({column}, '/a.jsonl')"
        to_object = f"replaceOne({column}, '/a.jsonl', '/b.jsonl') as {column}, 9 as source_line"
        move(database, table, to_object, f"{of_object} and source_line = 2")
    for test in (RAW, STORE):
        assert len(database.data_test(test)) == 2  # one object has too few, one too many


def move(database: SmallDatabase, table: str, changed: str, where: str) -> None:
    """Give other values to some rows of a table."""
    rows = f"(select * from {table} where {where})"
    database.change(f"insert into {table} select * replace({changed}) from {rows}")
    database.change(f"delete from {table} where {where}")


def test_a_load_that_two_runs_applied_is_seen(database):
    again = (
        "insert into xapi.elt_applied_loads select * replace({}) "
        "from xapi.elt_applied_loads where model = 'video_events'"
    )
    # Only the statement arrived twice.
    database.change(again.format("now64(3) as recorded_at"))
    assert not database.data_test(ONCE)
    database.change(again.format("'another run' as run_id, claim + 1 as claim"))
    assert failing(database) == {ONCE}


def test_a_load_that_waits_is_not_lost(database):
    database.load(Attempt(8, "section/2161/video/new.jsonl", [statement(minute=8), "no JSON"]))
    assert failing(database) == {IN_TIME}
    assert waiting(database) == {"loads": 8, "in_all": 2, "in_section": 0}

    database.dbt("run", "--select", "int_xapi__statements", "rejected_statements")
    assert failing(database) == {IN_TIME}
    assert waiting(database) == {"loads": 6, "in_all": 1, "in_section": 1}

    database.dbt("run", "--select", "marts.events")
    assert failing(database) == set()
    assert waiting(database) == {"loads": 0, "in_all": 0, "in_section": 0}


def test_rows_of_a_replaced_object_are_outdated_until_the_next_run(database):
    changed = [statement(minute=9), "still no JSON"]
    database.load(Attempt(8, "section/2161/video/b.jsonl", changed, etag="2", policy="replace"))
    assert failing(database) == {IN_TIME}
    outdated = (
        "select family, outdated from xapi.ops_statement_balance where outdated > 0 order by 1"
    )
    assert database.query(outdated) == [
        {"family": "all", "outdated": 3},
        {"family": "rejected", "outdated": 1},
        {"family": "video", "outdated": 2},  # one more is also in an object that stays
    ]
    database.dbt("run", "--select", "+marts.events")
    assert failing(database) == set()
    assert database.query(outdated) == []

    # The load is applied, so no run would remove rows that come back.
    database.change(
        """
        insert into xapi.video_events
        select * replace(toUUID('00000000-0000-0000-0000-0000000003ea') as load_id)
        from xapi.video_events limit 1
        """
    )
    assert VISIBILITY in failing(database)


@pytest.mark.parametrize(("load", "found"), [("e9", [(8, 1)]), ("ec", [])])
def test_many_rejected_lines_of_the_last_day_are_seen(database, load, found):
    database.change(
        f"""
        insert into xapi.elt_applied_loads
        select * replace(now64(3) as committed_at)
        from xapi.elt_applied_loads
        where load_id = toUUID('00000000-0000-0000-0000-0000000003{load}')
            and model = 'rejected_statements'
        """
    )
    database.change(
        f"""
        alter table xapi.elt_applied_loads
        delete where load_id = toUUID('00000000-0000-0000-0000-0000000003{load}')
            and committed_at < now() - interval 1 day
        settings mutations_sync = 2
        """
    )
    rows = database.data_test(FEW_REJECTED)
    assert [(row["lines"], row["rejected_lines"]) for row in rows] == found


@pytest.mark.parametrize(
    "model", ["video_events", pytest.param("int_xapi__statements", marks=pytest.mark.long)]
)
def test_a_view_of_an_earlier_version_stops_the_run_of_one_table(database, model):
    database.load(Attempt(8, "section/2161/video/new.jsonl", [statement(minute=8)]))
    database.change(
        "create or replace view xapi.stg_xapi__statements as "
        "select * from xapi.int_xapi__statements"
    )
    output = database.dbt("run", "--select", model, fails=True)
    assert "earlier version" in output and "build it: dbt run" in output
    database.dbt("run", "--select", f"+{model}")
    assert database.query("select count() as n from xapi.int_xapi__statements") == [{"n": 16}]


def waiting(database: SmallDatabase) -> dict[str, int]:
    """Loads and lines that tables do not have yet, as the ops_ models tell it."""
    return database.query(
        """
        select
            (select sum(loads_waiting) from xapi.ops_freshness) as loads,
            (select waiting from xapi.ops_statement_balance where family = 'all') as in_all,
            (select waiting from xapi.ops_sections where section_id = 2161) as in_section
        """
    )[0]

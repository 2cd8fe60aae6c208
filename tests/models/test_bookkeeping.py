"""What dbt knows of a table decides what it does: days or all, bookkeeping that is lost, versions
that come back, models that fail."""

import json

import pytest

from tests.helpers.bulk_lake import run_cli
from tests.helpers.small_database import Attempt, SmallDatabase, statement
from tests.helpers.view_faults import faults

DAYS = ("--vars", "{start_date: 2025-10-01, end_date: 2025-12-31}")
EVENTS = """
select * from (
    select 'video' as family, event_id, load_id from xapi.video_events
    union all
    select 'page', event_id, load_id from xapi.page_viewed_events
)
order by all
"""
LINES = "select * from xapi.int_xapi__statements order by load_id, source_path, source_line"
APPLIED = """
select model, load_id from xapi.elt_applied_loads where step != 'rebuild' order by all
"""


@pytest.fixture
def expired(database: SmallDatabase, capsys, monkeypatch) -> SmallDatabase:
    """The small database, all of whose raw lines have expired."""
    monkeypatch.setenv("XAPI_CHDB_PATH", str(database.folder / "clickhouse"))
    said = run_cli(capsys, "expire", "--older-than", "1d", "--json", "--yes")
    assert json.loads(said)["removed"]
    return database


def test_a_table_that_is_filled_keeps_events_of_expired_loads_although_days_are_named(expired):
    events = expired.query(EVENTS)
    said = expired.dbt("run", "--full-refresh", "--select", "marts.events", *DAYS, fails=True)
    assert "var start_date and --full-refresh exclude each other" in said
    assert expired.query(EVENTS) == events
    expired.change("drop table xapi.page_viewed_events")
    expired.dbt("run", "--select", "page_viewed_events", *DAYS)
    assert expired.query(EVENTS) == events


def test_bookkeeping_that_is_lost_is_written_again(expired):
    """A rebuild of days would take the events of loads that the store does not seem to hold."""
    applied, lines = expired.query(APPLIED), expired.query(LINES)
    expired.change("delete from xapi.elt_applied_loads where model = 'int_xapi__statements'")
    expired.dbt("run", "--select", "int_xapi__statements")
    assert (expired.query(APPLIED), expired.query(LINES)) == (applied, lines)


@pytest.mark.long
def test_a_repeat_that_becomes_visible_late_is_read(database: SmallDatabase):
    """Of three commits at the same moment, the second becomes visible last: the third, which
    repeated the first, counts from then on."""
    key = "section/2161/video/tie.jsonl"
    lines = [statement(minute=50), "not json"]
    database.load(Attempt(50, key, lines), Attempt(52, key, lines))
    database.dbt("run", "--select", "int_xapi__statements", "video_events", "rejected_statements")
    database.load(Attempt(51, key, [statement(minute=51)], etag="2", policy="replace"))
    database.dbt("run", "--select", "int_xapi__statements", "video_events", "rejected_statements")
    assert faults(database.query) == []
    [row] = database.query(
        "select count() as n from xapi.rejected_statements where line = 'not json'"
    )
    assert row["n"] == 1


def test_models_that_follow_a_table_that_lost_rows_all_say_so_at_once(database: SmallDatabase):
    database.change("truncate table xapi.int_xapi__statements")
    two = ("video_events", "page_viewed_events", "--threads", "2")
    said = database.dbt("run", "--select", *two, fails=True)
    assert said.count("`int_xapi__statements` has 0 rows, but") >= 2
    assert "is being changed by run" not in said

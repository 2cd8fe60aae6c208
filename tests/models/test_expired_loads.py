"""Loads whose raw lines were removed on purpose: what came from them stays in the tables."""

from tests.helpers.small_database import SmallDatabase

EXPIRE = (
    "insert into xapi_raw.expired_loads (load_id, lines) "
    "select load_id, sum(rows) from xapi_raw.loads where outcome = 'committed' "
    "and load_id in (select min(load_id) from xapi.video_events) group by load_id",
    "delete from xapi_raw.statements where load_id in (select load_id from xapi_raw.expired_loads)",
)
EVENTS = "select event_id, load_id, source_line from xapi.video_events order by event_id"
LINES = "select load_id, source_path, source_line from xapi.int_xapi__statements order by all"


def test_rebuilds_and_full_refreshes_keep_what_cannot_be_read_again(database: SmallDatabase):
    events, lines = database.query(EVENTS), database.query(LINES)
    for statement in EXPIRE:
        database.change(statement)
    assert database.query("select sum(lines) as n from xapi_raw.expired_loads")[0]["n"] > 0
    days = ("--vars", "{start_date: 2025-10-01, end_date: 2025-12-31}")
    database.dbt("run", "--select", "+video_events", *days)
    assert (database.query(EVENTS), database.query(LINES)) == (events, lines)
    said = database.dbt("run", "--full-refresh", "--select", "+video_events")
    assert "whose raw lines have expired" in said
    assert (database.query(EVENTS), database.query(LINES)) == (events, lines)
    database.dbt("test", "--select", "raw_lines_agree_with_ledger")

"""Rows that a row policy hides, or that are gone: dbt, gc and loads stop before they touch anything
and name the remedy."""

from contextlib import AbstractContextManager, closing

import pytest

from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.safety import UnsafeEngineError
from loader.gc import collect
from loader.ledger import visible_versions
from loader.objects import S3Object
from loader.pipeline import Pipeline
from loader.settings import Settings
from tests.helpers.configured_server import serve
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.small_database import TABLES_ONLY, Attempt, SmallDatabase, statement

USERS = """
<clickhouse>
    <profiles><default/></profiles>
    <users>
        <default>
            <password/>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <databases><{database}><{table}><filter>0</filter></{table}></{database}></databases>
        </default>
    </users>
</clickhouse>
"""
DIRECTORY = (
    "<user_directories replace='1'><users_xml><path>{}</path></users_xml></user_directories>"
)
OCTOBER = "{start_date: 2025-10-01, end_date: 2025-10-31}"
SEPTEMBER = "{start_date: 2025-09-01, end_date: 2025-09-30}"

# What a run could change, except views.
STATE = """
select database, name, uuid, total_rows, comment from system.tables
where database like 'xapi%' and engine not like '%View' order by database, name
"""


@pytest.fixture(scope="module")
def built(empty_models, tmp_path_factory):
    """One load is applied, one waits."""
    database = empty_models.copy(tmp_path_factory.mktemp("hidden") / "copy")
    database.load(Attempt(1, "a.jsonl", [statement(minute=1), statement("page_viewed", minute=2)]))
    database.dbt("run")
    database.load(Attempt(2, "b.jsonl", [statement(minute=3)]))
    database.change(
        "insert into xapi_raw.expired_loads (load_id, lines) values (generateUUIDv4(), 1)"
    )
    database.change(
        "insert into xapi_raw.erased_learners (identity_hash) values (generateUUIDv4())"
    )
    return database


@pytest.fixture
def database(built, tmp_path):
    """A copy, which the test may change."""
    copy = built.copy(tmp_path / "copy")
    yield copy
    copy.close()


def hide(database: SmallDatabase, table: str) -> AbstractContextManager[Settings]:
    """Serve the database to a user from whom all rows of a table are hidden."""
    names = dict(zip(("database", "table"), table.split("."), strict=True))
    users = database.folder.resolve() / "users.xml"
    users.write_text(USERS.format_map(names))
    return serve(database, DIRECTORY.format(users))


@pytest.mark.parametrize(
    "table",
    [
        "xapi.video_events",
        pytest.param("xapi.int_xapi__statements", marks=pytest.mark.long),
        pytest.param("xapi_raw.statements", marks=pytest.mark.long),
        "xapi_raw.loads",
        # A rebuild would drop events, or let a learner back in.
        "xapi_raw.expired_loads",
        pytest.param("xapi_raw.erased_learners", marks=pytest.mark.long),
    ],
)
def test_dbt_stops_before_it_touches_anything(database, table, tmp_path):
    before = database.query(STATE)
    with hide(database, table):
        for command in (("run",), ("run", "--select", "video_events", "--vars", OCTOBER)):
            output = run_dbt(*command, folder=tmp_path, fails=True)
            name = "`{}`.`{}`".format(*table.split("."))
            assert f"rows of {name}; a row policy hides the others" in output
            assert f"create row policy dbt on {name} using 1 to <user>. Nothing was done" in output
            assert "Traceback" not in output
    assert database.query(STATE) == before


def test_gc_and_a_load_stop_when_the_ledger_is_hidden(database):
    before = database.query(STATE)
    with (
        hide(database, "xapi_raw.loads") as settings,
        closing(open_warehouse(settings)) as warehouse,
    ):
        with pytest.raises(UnsafeEngineError, match="sees only 0 of 2 rows of the ledger"):
            collect(warehouse, age=0, even_running=True)
        with pytest.raises(UnsafeEngineError, match="sees only 0 of 2 rows of the ledger"):
            visible_versions(warehouse, [S3Object("lake", "a.jsonl")])
    assert database.query(STATE) == before


@pytest.mark.parametrize("waits", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_truncated_table_is_noticed(database, waits):
    if not waits:
        database.dbt("run", *TABLES_ONLY)
    rows = database.query("select count() as n from xapi.video_events")[0]["n"]
    database.change("truncate table xapi.video_events")
    output = database.dbt("run", fails=True)
    remedy = "Restore both, or fill it again: dbt run --full-refresh --select video_events"
    assert f"`xapi`.`video_events` has 0 rows, but {rows} when dbt last changed it" in output
    assert remedy in output
    assert database.query("select count() as n from xapi.video_events") == [{"n": 0}]
    database.dbt("test", "--select", "no_table_lost_rows", fails=True)
    database.close()
    with Pipeline(Settings(chdb_path=str(database.folder / "clickhouse"))) as pipeline:
        missing = {table["name"]: table["missing_rows"] for table in pipeline.status().tables}
    assert missing.pop("video_events") == rows and set(missing.values()) == {0}
    database.dbt("run", "--full-refresh", "--select", "video_events")
    assert database.query("select count() as n from xapi.video_events") == [{"n": 2}]


@pytest.mark.long
def test_a_rebuild_of_days_repairs_them_and_names_what_it_leaves(database):
    count = "select count() as n from xapi.video_events"
    missing = "select missing from xapi.ops_statement_balance where family = 'video'"
    database.dbt("run", *TABLES_ONLY)
    before = database.query(count)
    assert before == [{"n": 2}]
    database.change("truncate table xapi.video_events")
    # A rebuild of days without events repairs nothing; what is missing stays visible.
    for days, rows in ((SEPTEMBER, [{"n": 0}]), (OCTOBER, before)):
        said = database.dbt("run", "--select", "video_events", "--vars", days)
        assert ("Only the days of this run are filled again now" in said) == (days == SEPTEMBER)
        assert database.query(count) == rows
        lost = before[0]["n"] - rows[0]["n"]
        assert database.query(missing) == [{"missing": lost}]

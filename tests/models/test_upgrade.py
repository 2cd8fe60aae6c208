"""A database that an earlier release left: dbt stops before it touches anything, `xapi-elt
init` and one full refresh bring it up to date, whatever was loaded before, meanwhile and after."""

from uuid import UUID

import pytest

from loader.pipeline import Pipeline
from loader.settings import Settings
from tests.helpers.small_database import TABLES_ONLY, Attempt, SmallDatabase, statement
from tests.helpers.view_faults import faults

OLD, KEPT, NEW, SHARED = (statement(minute=minute) for minute in (1, 2, 3, 4))
OF_OCTOBER = [statement(family, minute=5) for family in ("page_viewed", "part_attempt", "other")]
OF_NOVEMBER = statement(timestamp="2025-11-03T08:00:00Z")

APPLIED = [
    Attempt(1, "a.jsonl", [OLD, KEPT]),
    Attempt(2, "b.jsonl", [SHARED, OF_NOVEMBER, "not JSON", *OF_OCTOBER]),
]
# Its rows are in the tables, those that it supersedes are not out.
UNSETTLED = Attempt(3, "a.jsonl", [KEPT, NEW], etag="2")
# Some of its rows are in the tables, and it is not recorded.
HALF_DONE = Attempt(4, "c.jsonl", [SHARED, statement(minute=6), OF_NOVEMBER])
WAITING = [Attempt(5, "d.jsonl", [statement(minute=7), SHARED]), Attempt(6, "e.jsonl", [])]
UNSETTLED_ID, HALF_DONE_ID = (UUID(int=1000 + one.minute) for one in (UNSETTLED, HALF_DONE))

EVENTS = "select event_id, source_path, source_line from xapi.ops_events order by event_id"

# Ids from before whose line has no id now. Those of superseded lines are gone with them.
UNKNOWN_IDS = """
select count() as ids from xapi.saved_event_ids
where (load_id, source_path, source_line) not in (
        select load_id, source_path, source_line from xapi.int_xapi__statements
    )
    and (load_id, source_path) in (
        select load_id, concat(bucket, '/', key) from xapi_raw.committed_objects
        where status = 'visible'
    )
"""
# That release had no marts.
MARTS = ("int_learner_videos", "int_learner_parts", "int_learner_pages")

TABLES_WITH_IDS = """
select name from system.tables
where database = 'xapi' and comment like '%[table %' order by name
"""

CREATE_OLD_BOOKKEEPING = (
    """
    create table xapi.load_applications
    (
        model LowCardinality(String), table_uuid UUID, state LowCardinality(String), run_id UUID,
        slice UInt32, load_id UUID, committed_at DateTime64(3, 'UTC'), lines UInt64,
        first_event Nullable(DateTime64(3, 'UTC')), last_event Nullable(DateTime64(3, 'UTC')),
        recorded_at DateTime64(3, 'UTC') default now64(3, 'UTC')
    )
    engine = MergeTree order by (model, table_uuid, state, run_id, load_id)
    """,
    """
    create table xapi.continued_tables
    (
        table_uuid UUID, kept_under UUID,
        recorded_at DateTime64(3, 'UTC') default now64(3, 'UTC')
    )
    engine = MergeTree order by table_uuid
    """,
)

# Each load is a slice of its own here; a slice that is settled has a row without a load.
OLD_ROWS = f"""
insert into xapi.load_applications
    (model, table_uuid, state, run_id, slice, load_id, committed_at, lines, first_event, last_event)
select
    held.model,
    named.uuid,
    state,
    toUUID('00000000-0000-4000-8000-000000000001'),
    cityHash64(held.load_id) % 1000,
    if(state = 'settled', toUUID('00000000-0000-0000-0000-000000000000'), held.load_id),
    held.committed_at, held.lines, held.first_event, held.last_event
from xapi.elt_applied_loads as held
inner join system.tables as named on named.database = 'xapi' and named.name = held.model
array join ['started', 'applied', 'settled'] as state
where not (toString(held.load_id) = '{HALF_DONE_ID}' and state != 'started')
    and not (toString(held.load_id) = '{UNSETTLED_ID}' and state = 'settled')
"""


def as_the_release_before_left_it(database: SmallDatabase) -> None:
    """Turn the bookkeeping of a built database into that of the release before."""
    for sql in CREATE_OLD_BOOKKEEPING:
        database.change(sql)
    database.change(OLD_ROWS)
    for mart in MARTS:
        database.change(f"drop table xapi.{mart}")
    for row in database.query(TABLES_WITH_IDS):
        database.change(f"alter table xapi.{row['name']} modify comment ''")
    database.change("alter table xapi.stg_xapi__statements modify comment ''")
    of_elt = "select name from system.tables where database = 'xapi' and name like 'elt\\_%'"
    for row in database.query(of_elt):
        database.change(f"drop table xapi.`{row['name']}`")
    half_done = f"toString(load_id) = '{HALF_DONE_ID}' and source_line = 2"
    for table in ("int_xapi__statements", "video_events"):
        database.change(f"delete from xapi.{table} where {half_done}")
    database.change(
        "alter table xapi_raw.loads update policy = 'replace' "
        f"where toString(load_id) = '{UNSETTLED_ID}' settings mutations_sync = 2"
    )
    for change in (
        "drop projection by_day, drop projection by_time, drop projection by_load",
        "drop column commit_number, drop column forced",
        "reset setting lightweight_mutation_projection_mode",
    ):
        database.change(f"alter table xapi_raw.loads {change}")
    database.change("drop table xapi_raw.committed_objects")
    database.change("create table xapi.__lock_video_events (nothing UInt8) engine = Memory")


@pytest.fixture(scope="module")
def built(empty_models, tmp_path_factory):
    """Three loads are applied one after another, two wait."""
    database = empty_models.copy(tmp_path_factory.mktemp("upgrade") / "copy")
    database.load(*APPLIED)
    database.dbt("run")
    database.load(UNSETTLED, HALF_DONE)
    database.dbt("run", *TABLES_ONLY)
    database.load(*WAITING)
    return database


RULE_1 = """
alter table xapi.elt_tables update identity_rule = 1 where 1 settings mutations_sync = 2
"""


@pytest.fixture(params=["other ids", pytest.param("before 0.2", marks=pytest.mark.long)])
def database(request, built, tmp_path):
    """A copy, as the release before left it."""
    copy = built.copy(tmp_path / "copy")
    if request.param == "other ids":
        copy.change(RULE_1)
    else:
        as_the_release_before_left_it(copy)
    yield copy
    copy.close()


def init(database: SmallDatabase) -> None:
    """Run `xapi-elt init`."""
    database.close()
    with Pipeline(Settings(chdb_path=str(database.folder / "clickhouse"))) as pipeline:
        pipeline.init()


def bookkeeping(database: SmallDatabase) -> list[str]:
    """The tables of the release before that are left."""
    rows = database.query(
        "select name from system.tables where database = 'xapi' and "
        "(name in ('load_applications', 'continued_tables') or name like '\\_\\_lock%')"
    )
    return sorted(row["name"] for row in rows)


def test_a_full_refresh_completes_what_the_release_before_left(database):
    init(database)
    before = database.query(EVENTS)
    output = database.dbt("run", fails=True)
    assert "dbt run --full-refresh" in output and "No table was changed" in output
    assert database.query(EVENTS) == before
    assert "saved_event_ids has" in database.dbt("run-operation", "save_event_ids")
    # A replay of what is there, while nothing is up to date.
    database.load(Attempt(8, "again.jsonl", [OLD, KEPT, OF_NOVEMBER]))
    database.dbt("run", "--full-refresh")
    assert faults(database.query) == []
    assert database.query(UNKNOWN_IDS) == [{"ids": 0}]
    events = database.query(EVENTS)
    database.load(Attempt(9, "and-again.jsonl", [OLD, NEW, SHARED]))
    database.dbt("run")
    assert database.query(EVENTS) == events
    assert faults(database.query) == []
    assert bookkeeping(database) == []


def test_dbt_before_init_stops_with_the_command_that_is_missing(database):
    database.change("drop table xapi_raw.learner_key")
    before = database.query("select * from xapi.video_events order by timestamp")
    output = database.dbt("run", fails=True)
    assert "Run xapi-elt init, then the same command again. Nothing was done" in output
    assert "learner_key.first_half" in output
    assert "Traceback" not in output
    assert database.query("select * from xapi.video_events order by timestamp") == before

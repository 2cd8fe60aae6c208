"""A database that a release before 0.2 left: `xapi-elt init` and one plain `dbt run` bring it up to
date, without a full refresh."""

from uuid import UUID

import pytest

from loader.pipeline import Pipeline
from loader.settings import Settings
from tests.helpers.small_database import Attempt, SmallDatabase, statement
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

# A table that a rebuild or a withdrawal exchanged keeps its bookkeeping under another UUID.
CONTINUED = """
insert into xapi.continued_tables (table_uuid, kept_under)
select uuid, reinterpretAsUUID(MD5(name)) from system.tables
where database = 'xapi' and name in (select model from xapi.elt_applied_loads)
"""

# Each load is a slice of its own here; a slice that is settled has a row without a load.
OLD_ROWS = f"""
insert into xapi.load_applications
    (model, table_uuid, state, run_id, slice, load_id, committed_at, lines, first_event, last_event)
select
    held.model,
    if(continued.kept_under = toUUID('00000000-0000-0000-0000-000000000000'),
       named.uuid, continued.kept_under),
    state,
    toUUID('00000000-0000-4000-8000-000000000001'),
    cityHash64(held.load_id) % 1000,
    if(state = 'settled', toUUID('00000000-0000-0000-0000-000000000000'), held.load_id),
    held.committed_at, held.lines, held.first_event, held.last_event
from xapi.elt_applied_loads as held
inner join system.tables as named on named.database = 'xapi' and named.name = held.model
left join xapi.continued_tables as continued on named.uuid = continued.table_uuid
array join ['started', 'applied', 'settled'] as state
where not (toString(held.load_id) = '{HALF_DONE_ID}' and state != 'started')
    and not (toString(held.load_id) = '{UNSETTLED_ID}' and state = 'settled')
"""


def as_the_release_before_left_it(database: SmallDatabase, is_continued: bool) -> None:
    """Turn the bookkeeping of a built database into that of the release before."""
    for sql in CREATE_OLD_BOOKKEEPING:
        database.change(sql)
    if is_continued:
        database.change(CONTINUED)
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
        "drop projection by_day, drop projection by_time",
        "drop column commit_number, drop column forced",
        "reset setting lightweight_mutation_projection_mode",
    ):
        database.change(f"alter table xapi_raw.loads {change}")
    database.change("drop table xapi_raw.committed_objects")
    database.change("create table xapi.__lock_video_events (nothing UInt8) engine = Memory")


@pytest.fixture(scope="module")
def built(tmp_path_factory, _clean_environment):
    """Three loads are applied one after another, two wait."""
    database = SmallDatabase(tmp_path_factory.mktemp("upgrade"))
    database.load(*APPLIED)
    database.dbt("run")
    database.load(UNSETTLED, HALF_DONE)
    database.dbt("run")
    database.load(*WAITING)
    return database


@pytest.fixture(params=["table", "continued table"])
def database(request, built, tmp_path):
    """A copy, as the release before left it."""
    copy = built.copy(tmp_path / "copy")
    as_the_release_before_left_it(copy, is_continued=request.param == "continued table")
    yield copy
    copy.close()


def init(database: SmallDatabase) -> None:
    """Run `xapi-elt init`."""
    database.close()
    with Pipeline(Settings(chdb_path=str(database.folder / "clickhouse"))) as pipeline:
        pipeline.init()


def event_ids(database: SmallDatabase) -> dict[str, str]:
    """The ids of the events in video_events, by time."""
    rows = database.query(
        "select toString(timestamp) as at, hex(event_id) as id from xapi.video_events"
    )
    return {row["at"]: row["id"] for row in rows}


def bookkeeping(database: SmallDatabase) -> list[str]:
    """The tables of the release before that are left."""
    rows = database.query(
        "select name from system.tables where database = 'xapi' and "
        "(name in ('load_applications', 'continued_tables') or name like '\\_\\_lock%')"
    )
    return sorted(row["name"] for row in rows)


def test_one_run_completes_what_the_release_before_left(database):
    init(database)
    before = event_ids(database)
    output = database.dbt("run")
    assert faults(database.query) == []
    after = event_ids(database)
    assert {at: after[at] for at in before if at in after} == {
        at: id for at, id in before.items() if at in after
    }
    assert len(before.keys() - after.keys()) == 1  # what the unsettled load superseded
    # Not all loads were applied again: those that were not settled, half done or waiting.
    assert "[4 loads, 7 lines" in output
    again = database.dbt("run")
    assert again.count("[nothing new") == 10
    assert faults(database.query) == []
    assert bookkeeping(database) == []


def test_dbt_before_init_stops_with_the_command_that_is_missing(database):
    before = database.query("select * from xapi.video_events order by timestamp")
    output = database.dbt("run", fails=True)
    assert "Run xapi-elt init, then the same command again. Nothing was done" in output
    assert "no loads.forced, loads.commit_number, committed_objects.status" in output
    assert "Traceback" not in output
    assert database.query("select * from xapi.video_events order by timestamp") == before

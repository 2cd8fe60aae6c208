"""A view is replaced when it changed, and only then."""

import re
from contextlib import closing

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.settings import Settings
from tests.helpers.small_database import Attempt, SmallDatabase, statement

VIEWS = ("--select", "config.materialized:kept_view")
ONE = ("--select", "ops_id_conflicts")
COMMENT = "select comment from system.tables where database = 'xapi' and name = 'ops_id_conflicts'"


def kept(output: str) -> list[str]:
    """What a run says of its views, in its last line for each."""
    return re.findall(r"OK created sql kept_view model .*\[\S*?(unchanged|OK) in", output)


def test_views_that_are_the_same_are_kept(database):
    before = database.query("select name, uuid from system.tables where engine = 'View' order by 1")
    said = kept(database.dbt("run", *VIEWS))
    assert set(said) == {"unchanged"} and len(said) > 30
    assert before == database.query(
        "select name, uuid from system.tables where engine = 'View' order by 1"
    )


def test_a_view_is_replaced_if_what_makes_it_changed(database):
    for change in (
        "alter table xapi.int_xapi__statements add column another UInt8",
        "create or replace view xapi.ops_id_conflicts as select 1",
        "drop view xapi.ops_id_conflicts",
    ):
        database.change(change)
        assert kept(database.dbt("run", *ONE)) == ["OK"], change
        assert kept(database.dbt("run", *ONE)) == ["unchanged"], change
        assert database.query("select count() from xapi.ops_id_conflicts")
    assert kept(database.dbt("run", *ONE, "--full-refresh")) == ["OK"]
    # A variable that is written into the SQL of the staging view, after what looks like a comment.
    for types in ("'https://x.org/my--video'", "'https://x.org/my--video', 'https://x.org/reel'"):
        variables = ("--vars", f"{{video_types: [{types}]}}")
        staging = ("--select", "stg_xapi__statements", *variables)
        assert kept(database.dbt("run", *staging)) == ["OK"], types
    made_by = (
        "select arrayStringConcat(groupArray(create_table_query)) as parts "
        "from system.tables where name like '%stg_xapi__statements%'"
    )
    assert "x.org/reel" in database.query(made_by)[0]["parts"]
    assert kept(database.dbt("run", *staging)) == ["unchanged"]


def test_a_run_that_died_before_it_wrote_the_comment_is_completed(database):
    whole = database.query(COMMENT)
    database.change("alter table xapi.ops_id_conflicts modify comment ''")
    assert kept(database.dbt("run", *ONE)) == ["OK"]
    assert database.query(COMMENT) == whole


def test_a_view_of_many_steps_is_made_of_several(database):
    """Older ClickHouse takes long to plan one query of many steps."""
    parts = "select name from system.tables where name like 'elt_part_%' order by name"
    staging = ("--select", "stg_xapi__statements")
    before = database.query(parts)
    assert [row["name"].rpartition("__")[2] for row in before] == [
        "classified",
        "parsed",
        "statements",
    ]
    database.change(f"drop view xapi.{before[0]['name']}")
    assert kept(database.dbt("run", *staging)) == ["OK"]
    assert database.query(parts) == before
    # Those of a new version have other names, and replace the old ones.
    database.dbt("run", *staging, "--vars", "{video_types: ['https://x.org/clip']}")
    after = database.query(parts)
    assert len(after) == 3 and not [row for row in after if row in before]
    database.dbt("run", *staging)
    assert database.query(parts) == before
    assert database.query("select count() as n from xapi.stg_xapi__statements") == [{"n": 15}]


def test_a_renamed_database_reads_no_view_of_its_old_name(database, monkeypatch):
    """There is a database of the old name again: without that, only the error would be unclear."""
    database.load(Attempt(8, "waits.jsonl", [statement(minute=8)]))
    for name in ("xapi", "xapi_raw"):
        database.change(f"rename database {name} to {name.replace('xapi', 'renamed')}")
    database.load()
    one = ("run", "--select", "video_events")
    with monkeypatch.context() as patch:
        patch.setenv("CLICKHOUSE_DATABASE", "renamed")
        said = database.dbt(*one, fails=True)
        assert "was renamed (no committed_objects of renamed_raw). Run xapi-elt init" in said
        init_as("renamed", database)
        said = database.dbt(*one, fails=True)
        assert "of a database of another name; build it: dbt run --select +stg_xapi" in said
        database.dbt("run", "--select", "+video_events")
    stored = (
        "select count() as n from renamed.int_xapi__statements where source_path like '%waits%'"
    )
    assert database.query(stored) == [{"n": 1}]


def init_as(name: str, database: SmallDatabase) -> None:
    """`xapi-elt init` with another name of the database."""
    database.close()
    settings = Settings(chdb_path=str(database.folder / "clickhouse"), database=name)
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)

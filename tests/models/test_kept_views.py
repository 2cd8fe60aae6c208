"""A view is replaced when it changed, and only then."""

import re

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
    # A variable that is written into the SQL of the staging view.
    staging = (
        "--select",
        "stg_xapi__statements",
        "--vars",
        "{video_types: ['https://x.org/reel']}",
    )
    assert kept(database.dbt("run", *staging)) == ["OK"]
    made_by = "select create_table_query from system.tables where name = 'stg_xapi__statements'"
    assert "x.org/reel" in database.query(made_by)[0]["create_table_query"]
    assert kept(database.dbt("run", *staging)) == ["unchanged"]


def test_a_run_that_died_before_it_wrote_the_comment_is_completed(database):
    whole = database.query(COMMENT)
    database.change("alter table xapi.ops_id_conflicts modify comment ''")
    assert kept(database.dbt("run", *ONE)) == ["OK"]
    assert database.query(COMMENT) == whole

"""A function of this release on the tables of the one before, which `xapi-elt init` has not
upgraded yet: its messages wait, and nothing is lost. (dbt in that order: test_upgrade.py.)"""

import re

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from tests.helpers.trigger_stage import LINE, named

DOWNGRADE = (
    "drop view {raw:Identifier}.committed_objects",
    "alter table {raw:Identifier}.loads drop projection by_day, drop projection by_time, "
    "drop projection by_load",
    "alter table {raw:Identifier}.loads drop column commit_number, drop column forced",
)

PROJECTIONS = schema.PROJECTION.findall((schema.SQL / "loads.sql").read_text())


@pytest.fixture
def old_tables(stage, settings):
    """The tables of release 0.1; those of this release afterwards."""
    for statement in DOWNGRADE:
        stage.warehouse.command(statement)
    yield
    schema.init(stage.warehouse, settings)


def test_a_function_before_init_returns_its_messages_and_loads_them_after(
    old_tables, stage, settings, put, bucket
):
    put("section/1/video/a.jsonl", LINE * 2)
    message = named(bucket, "section/1/video/a.jsonl")
    assert stage.deliver(message) == ["m0"]
    # After minutes, not seconds: the message outlasts the upgrade.
    assert stage.delays["r0"] >= 60
    [rejected] = stage.lines("message_rejected")
    assert "xapi-elt init" in str(rejected["error"])
    assert stage.visible() == {}
    opened = open_warehouse(settings)
    schema.init(opened, settings)
    opened.close()
    assert stage.deliver(message) == []
    assert stage.visible() == {"section/1/video/a.jsonl": 2}


def test_an_upgrade_adds_each_projection_of_the_ledger_and_fills_it(settings):
    ledger, upgrade, fill = (
        schema.ddl(name, settings)
        for name in ("loads", "upgrade_loads", "upgrade_loads_projections")
    )
    block = r"projection (?:if not exists )?(\w+) (\(\s+select [^()]*(?:\(.*?\)[^()]*)*\))"
    assert re.findall(block, upgrade) == re.findall(block, ledger)
    assert [name for name, _ in re.findall(block, ledger)] == PROJECTIONS != []
    assert re.findall(r"materialize projection (\w+)", fill) == PROJECTIONS


@pytest.mark.parametrize("name", PROJECTIONS)
def test_a_ledger_that_lacks_any_projection_is_upgraded(name, stage, settings):
    stage.warehouse.command(f"alter table {{raw:Identifier}}.loads drop projection {name}")
    schema.init(stage.warehouse, settings)
    [table] = stage.warehouse.query(
        "select create_table_query as text from system.tables "
        "where database = {raw:String} and name = 'loads'",
        raw=settings.raw_database,
    )
    assert f"PROJECTION {name} " in table["text"]

"""Rows that were made by other rules (the parse, the event ids) do not meet in one table."""

import shutil
import threading
from contextlib import closing
from pathlib import Path

import pytest

from loader.clickhouse.connect import open_warehouse
from loader.settings import Settings
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import run_dbt, start_dbt
from tests.helpers.paths import ROOT
from tests.helpers.small_database import Attempt, SmallDatabase, statement

COPIED = ("dbt_project.yml", "profiles.yml", "dbt_project", "macros")

# Changes of the project: file, text, and what replaces it. None of them may
# change the id of an event but another rule for ids.
PARSE = "macros/statements/parse_statement.sql"
CHANGES = {
    "a member of the parse without a column": (
        PARSE,
        "            stored {{ text }},\n",
        "            stored {{ text }},\n            another {{ text }},\n",
    ),
    "another family": (
        "macros/statements/classify.sql",
        "        has_video_extension or",
        "        verb_name = 'example.org/shared', 'other',\n        has_video_extension or",
    ),
    "another rule for event ids": (
        "macros/ledger_incremental/tables.sql",
        "{% macro identity_rule() %}{{ return(2) }}",
        "{% macro identity_rule() %}{{ return(3) }}",
    ),
}
IDS = "select event_id from xapi.ops_events order by 1"
STATE = """
select
    (select count() from xapi.int_xapi__statements) as statements,
    (select groupBitXor(cityHash64(event_id)) from xapi.video_events) as ids,
    (select count() from xapi.video_events) as events,
    (select count() from xapi.elt_applied_loads) as applied
"""


@pytest.fixture
def waiting(built_database, tmp_path) -> SmallDatabase:
    """A built database with a load that waits."""
    database = built_database.copy(tmp_path / "waiting")
    database.load(Attempt(8, "section/2161/video/new.jsonl", [statement(minute=8)]))
    return database


def changed_project(folder: Path, file: str, old: str, new: str) -> tuple[str, ...]:
    """Options with which dbt runs a copy of the project with one change."""
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    text = (folder / file).read_text()
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new))
    return ("--project-dir", str(folder), "--profiles-dir", str(folder))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, marks=pytest.mark.long if number else ())
        for number, change in enumerate(CHANGES)
    ],
)
def test_other_rules_stop_every_run_but_a_full_refresh(waiting, tmp_path, change):
    database = waiting.copy(tmp_path / "database")
    before = database.query(STATE)
    (tmp_path / "project").mkdir()
    file, old, new = CHANGES[change]
    options = changed_project(tmp_path / "project", file, old, new)
    ids = {row["event_id"] for row in database.query(IDS)}
    days = ("--vars", "{start_date: 2025-10-01, end_date: 2025-10-31}")
    partial = ("--full-refresh", "--select", "video_events")
    for how in ((), ("--select", "+video_events", *days), partial):
        said = database.dbt("run", *how, *options, fails=True)
        assert "made by other rules" in said and "dbt run --full-refresh" in said
        assert database.query(STATE) == before
    database.dbt("run", "--full-refresh", *options)
    after = database.query(STATE)
    assert after[0]["events"] == before[0]["events"] + 1
    assert ids < {row["event_id"] for row in database.query(IDS)}
    assert "nothing new" in database.dbt("run", "--select", "video_events", *options)


def test_a_comment_in_the_parse_changes_no_rule(waiting, tmp_path):
    database = waiting.copy(tmp_path / "database")
    (tmp_path / "project").mkdir()
    model = "dbt_project/models/staging/stg_xapi__statements.sql"
    options = changed_project(tmp_path / "project", model, "    -- ids\n", "    --  The ids\n\n")
    database.dbt("run", "--select", "+video_events", *options)


REPLACED = "the staging view or the key of the pseudonyms was replaced while this run changed"
# What another release does to the view, for those who compare it.
REPLACE = "alter table xapi.stg_xapi__statements modify comment '[definition 0] [database xapi]'"


@pytest.fixture
def server(waiting, monkeypatch):
    """The database with a waiting load, behind HTTP."""
    waiting.close()
    with ClickHouseHttp(waiting.folder / "clickhouse") as http:
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(http.port))
        yield http


def query(sql: str) -> list[dict]:
    """Rows of a query on the server."""
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        return warehouse.query(sql)


@pytest.mark.parametrize(
    "statement_of_run",
    [
        "insert into `xapi`.`int_xapi__statements`",
        pytest.param("insert into xapi.elt_applied_loads", marks=pytest.mark.long),
        pytest.param("insert into xapi.elt_tables", marks=pytest.mark.long),
    ],
)
def test_a_run_stops_if_the_parse_is_replaced_while_it_works(server, tmp_path, statement_of_run):
    before = query(STATE)
    replaced = []

    def replace(sql: str) -> None:
        if statement_of_run in sql and not replaced:
            replaced.append(sql)
            with closing(open_warehouse(Settings.from_env())) as warehouse:
                warehouse.command(REPLACE)

    server.fault = replace
    said = run_dbt("run", "--select", "int_xapi__statements", folder=tmp_path / "dbt", fails=True)
    assert replaced and REPLACED in said
    after = query(STATE)
    assert after[0]["applied"] <= before[0]["applied"] + ("elt_tables" in statement_of_run)
    if "int_xapi__statements" in statement_of_run:
        assert after == before


class SecondInsert:
    """Holds back the second insert into the new statement store until `open` is set."""

    def __init__(self) -> None:
        self._inserts = 0
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, sql: str) -> None:
        """Wait, if this is the statement."""
        if "insert into `xapi`.`elt_new__int_xapi__statements" in sql:
            self._inserts += 1
            if self._inserts == 2:
                self.reached.set()
                assert self.open.wait(120)


@pytest.mark.long
def test_two_releases_at_once_do_not_mix_their_parses(server, tmp_path):
    run_dbt("run", "--select", "+video_events", folder=tmp_path / "old")
    before = query(STATE)
    gate = server.fault = SecondInsert()
    of_new = "{slice_lines: 5, video_types: ['https://x.org/clip']}"
    full = ("run", "--full-refresh", "--select", "+video_events", "--vars", of_new)
    new = start_dbt(*full, folder=tmp_path / "new")
    assert gate.reached.wait(120), new.output
    old = start_dbt(
        "run", "--select", "stg_xapi__statements", "video_events", folder=tmp_path / "old"
    )
    assert old.wait(240) == 0, old.output
    gate.open.set()
    assert new.wait(240) != 0 and REPLACED in new.output
    # The dead refresh has recorded a slice of its own table.
    assert query(STATE)[0] | {"applied": 0} == before[0] | {"applied": 0}

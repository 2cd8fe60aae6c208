"""Statements that the server gets late or twice, whoever holds the table by then."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from loader.clickhouse.connect import Warehouse, open_warehouse
from loader.settings import Settings
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import run_dbt, start_dbt
from tests.helpers.held import Held
from tests.helpers.small_database import Attempt, SmallDatabase, statement
from tests.helpers.view_faults import event_faults, store_faults

LEASE = "lock_expires_seconds: 1"
SOON = ("--vars", f"{{{LEASE}}}")
AUTUMN = "start_date: 2025-10-01, end_date: 2025-12-31"
STORE = ("--select", "int_xapi__statements")
EVENTS = "select event_id, load_id, source_line from xapi.video_events order by all"
APPLIED = "select model, load_id from xapi.elt_applied_loads order by all"
REPLACEMENT = Attempt(
    41, "section/2161/video/b.jsonl", [statement(minute=41)], etag="2", policy="replace"
)


class Served:
    """A database that dbt reaches over HTTP."""

    def __init__(self, http: ClickHouseHttp, warehouse: Warehouse, folder: Path):
        self.http, self.warehouse, self.folder = http, warehouse, folder
        self.query, self.send = warehouse.query, warehouse.command

    def run(self, *arguments: str, fails: bool = False) -> str:
        """`dbt run`; its output."""
        return run_dbt("run", *arguments, folder=self.folder, fails=fails)

    def run_that_dies_at(self, text: str, *arguments: str) -> str:
        """`dbt run` up to the first statement that has a text; that statement, which is not run."""
        held: list[str] = []

        def refuse(sql: str) -> str | None:
            if text in sql:
                held.append(sql)
            return "http_500" if held else None

        self.http.fault = refuse
        self.run(*arguments, fails=True)
        self.http.fault = None
        return held[0]


@pytest.fixture
def waiting(database: SmallDatabase) -> None:
    """A load that replaces an object waits for dbt; to be named before `served`."""
    database.load(REPLACEMENT)


@pytest.fixture
def served(database: SmallDatabase, tmp_path: Path, monkeypatch) -> Iterator[Served]:
    """A copy of the small database over HTTP."""
    database.close()
    with ClickHouseHttp(database.folder / "clickhouse") as http:
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(http.port))
        with closing(open_warehouse(Settings.from_env())) as warehouse:
            yield Served(http, warehouse, tmp_path / "dbt")


def test_an_exchange_that_arrives_again_before_the_old_table_is_dropped_is_noticed(served):
    events = served.query(EVENTS)
    served.send("alter table xapi.video_events delete where source_line = 1")
    lost = served.query(EVENTS)
    exchanges: list[str] = []

    def send_again(sql: str) -> None:
        if "exchange tables" in sql and len(exchanges) < 2:
            exchanges.append(sql)
        elif len(exchanges) == 1 and "drop table if exists `xapi`.`elt_new__video_events" in sql:
            served.send(exchanges[0])

    served.http.fault = send_again
    said = served.run("--select", "video_events", "--vars", f"{{{AUTUMN}}}", fails=True)
    served.http.fault = None
    assert "was not exchanged" in said and len(exchanges) == 2
    assert served.query(EVENTS) == lost
    served.run("--select", "video_events", "--vars", f"{{{LEASE}, {AUTUMN}}}")
    assert served.query(EVENTS) == events


@pytest.mark.long
def test_the_bookkeeping_of_a_table_outlives_a_late_delete_of_that_before_it(served):
    refill = ("--full-refresh", *STORE)
    late = served.run_that_dies_at("delete from xapi.elt_applied_loads", *refill)
    served.run(*refill, *SOON)
    applied = served.query(APPLIED)
    assert applied
    served.send(late)
    assert served.query(APPLIED) == applied


@pytest.mark.long
@pytest.mark.parametrize(
    "how", [("--full-refresh",), ("--vars", f"{{{AUTUMN}}}"), ()], ids=["full", "days", "new loads"]
)
def test_a_table_is_left_alone_if_the_store_is_filled_again_while_a_run_reads_it(
    waiting, served, how
):
    events = served.query(EVENTS)
    gate = Held("create table if not exists xapi.`elt_claim__video_events")
    served.http.fault = gate
    reader = start_dbt("run", "--select", "video_events", *how, folder=served.folder / "reader")
    assert gate.reached.wait(120), reader.output
    served.run("--full-refresh", *STORE)
    gate.open.set()
    assert reader.wait(120) != 0
    assert "another run filled int_xapi__statements again" in reader.output
    assert served.query(EVENTS) == events
    served.run("--select", "+video_events", *SOON)
    assert store_faults(served.query) == event_faults(served.query, "video") == []


@pytest.mark.long
def test_superseded_lines_that_are_deleted_late_are_not_missed(waiting, served):
    late = served.run_that_dies_at("delete from `xapi`.`int_xapi__statements`", *STORE)
    earlier = "start_date: 2025-09-01, end_date: 2025-09-02"
    served.run(*STORE, "--vars", f"{{{LEASE}, {earlier}}}")
    served.send(late)
    served.run("--select", "+video_events", *SOON)
    assert store_faults(served.query) == event_faults(served.query, "video") == []


@pytest.mark.long
def test_a_model_that_fails_does_not_hold_up_the_others_of_its_run(waiting, served):
    """Two models update the table that both follow; the first fails meanwhile."""
    refused: list[str] = []

    def refuse_once(sql: str) -> str | None:
        if refused or "insert into `xapi`.`int_xapi__statements`" not in sql:
            return None
        refused.append(sql)
        return "http_500"

    served.http.fault = refuse_once
    two = ("video_events", "page_viewed_events", "--threads", "2")
    said = served.run("--select", *two, *SOON, fails=True)
    assert "taking over `xapi`.`int_xapi__statements`" in said
    assert "PASS=2 WARN=0 ERROR=1" in said  # a model, and the hook
    assert store_faults(served.query) == []

"""A run that was away longer than its lease: what it sends late has no effect."""

import threading
from contextlib import closing

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import run_dbt, start_dbt

LINE = (
    b'{"actor":{"account":{"name":"%d"}},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},'
    b'"object":{"id":"v"},"timestamp":"2025-%02d-01T00:00:00Z"}'
)
LEASE = "lock_expires_seconds: 1"
SEPTEMBER = "start_date: 2025-09-01, end_date: 2025-09-30"

# What is held back: a statement of the model video_events, and the run that sends it.
LATE = {
    "insert": ("insert into `xapi`.`video_events`", ()),
    "record of loads": ("insert into xapi.elt_applied_loads", ()),
    "record of the table": ("insert into xapi.elt_tables", ()),
    "release": ("modify comment 'free'", ()),
    "heartbeat": ("elt_claim__video_events__2", ()),
    "exchange of a rebuild": ("exchange tables", ("--vars", f"{{{LEASE}, {SEPTEMBER}}}")),
    "exchange of a full refresh": ("exchange tables", ("--full-refresh",)),
}


class Gate:
    """Holds back the first statement that contains a text, until it is opened."""

    def __init__(self, server: ClickHouseHttp, text: str):
        self._text = text
        self._lock = threading.Lock()
        self._held = False
        self.reached, self._open = threading.Event(), threading.Event()
        server.fault = self

    def __call__(self, sql: str) -> None:
        """Wait, if this is the statement."""
        with self._lock:
            holds = not self._held and self._text in sql and "video_events" in sql
            self._held |= holds
        if holds:
            self.reached.set()
            assert self._open.wait(120)

    def open(self) -> None:
        """Let the statement through."""
        self._open.set()


@pytest.fixture(scope="module")
def server(s3_endpoint, tmp_path_factory):
    """ClickHouse over HTTP with one built database; each test brings loads of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("fence")
        config = engine_config(Settings.from_env())
        with ClickHouseHttp(folder / "server", config_file=config) as http:
            patch.setenv("XAPI_TARGET", "server")
            patch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
            patch.setenv("CLICKHOUSE_PORT", str(http.port))
            yield http


def bring(put, bucket: str, key: str, number: int) -> None:
    """Load an object with a statement of September and one of October."""
    put(key, b"\n".join((LINE % (number, 9), LINE % (number, 10))))
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        outcomes = [one for batch in load(warehouse, settings, [S3Object(bucket, key)]) for one in batch]
    assert [outcome.outcome for outcome in outcomes] == ["committed"]


def events(settings: Settings) -> tuple[int, int]:
    """Events in the table, and different ones."""
    with closing(open_warehouse(settings)) as warehouse:
        row = warehouse.query(
            "select count() as n, uniqExact(user_id, timestamp) as different from xapi.video_events"
        )[0]
    return row["n"], row["different"]


@pytest.mark.parametrize("late", LATE)
def test_what_a_former_holder_sends_late_has_no_effect(server, put, bucket, tmp_path, late):
    settings = Settings.from_env()
    select = ("run", "--select", "+video_events")
    quick = ("--vars", f"{{{LEASE}}}")
    bring(put, bucket, "section/1/video/a.jsonl", 1)
    run_dbt(*select, folder=tmp_path)
    before = events(settings)[0]
    bring(put, bucket, "section/1/video/b.jsonl", 2)
    text, options = LATE[late]
    gate = Gate(server, text)
    former = start_dbt(*select, *(options or quick), folder=tmp_path / "former")
    assert gate.reached.wait(120), former.output
    bring(put, bucket, "section/1/video/c.jsonl", 3)
    output = run_dbt(*select, *quick, folder=tmp_path / "new")
    assert "taking over `xapi`.`video_events`" in output
    gate.open()
    former.wait(120)
    server.fault = None
    assert events(settings) == (before + 4, before + 4)
    # Nothing is left to do, and nobody finds anything wrong.
    assert "taking over" not in run_dbt(*select, folder=tmp_path)
    run_dbt("test", "--select", "no_load_is_applied_twice", "no_table_lost_rows", folder=tmp_path)
    assert events(settings) == (before + 4, before + 4)

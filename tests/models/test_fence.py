"""A run that was away longer than its lease: what it sends late has no effect."""

import threading
from contextlib import closing
from uuid import uuid4

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
    b'{"actor":{"account":{"name":"%s"}},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},'
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
    "heartbeat": ("alter table xapi.`elt_claim__video_events", ()),
    "exchange of a rebuild": ("exchange tables", ("--vars", f"{{{LEASE}, {SEPTEMBER}}}")),
    "exchange of a full refresh": ("exchange tables", ("--full-refresh",)),
}
SHORT = ("insert", "exchange of a rebuild")


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
    learner = f"{bucket} {number}".encode()
    put(key, b"\n".join((LINE % (learner, 9), LINE % (learner, 10))))
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        outcomes = [
            one for batch in load(warehouse, settings, [S3Object(bucket, key)]) for one in batch
        ]
    assert [outcome.outcome for outcome in outcomes] == ["committed"]


HELD = """
select
    (select count() from xapi.video_events) as events,
    (select uniqExact(user_id, timestamp, source_path) from xapi.video_events) as different,
    (
        select max(times)
        from (
            select count() as times
            from xapi.elt_applied_loads
            where step = 'run'
            group by model, table_id, load_id
        )
    ) as recorded
"""


def held(settings: Settings) -> tuple[int, int, int]:
    """Events in the table, different ones, and how often a load is recorded at most."""
    with closing(open_warehouse(settings)) as warehouse:
        return tuple(warehouse.query(HELD)[0].values())


@pytest.mark.parametrize(
    "late",
    [late if late in SHORT else pytest.param(late, marks=pytest.mark.long) for late in LATE],
)
def test_what_a_former_holder_sends_late_has_no_effect(server, put, bucket, tmp_path, late):
    settings = Settings.from_env()
    select = ("run", "--select", "+video_events")
    quick = ("--vars", f"{{{LEASE}}}")
    bring(put, bucket, "section/1/video/a.jsonl", 1)
    run_dbt(*select, folder=tmp_path)
    before = held(settings)[0]
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
    assert held(settings) == (before + 4, before + 4, 1)
    # And nothing is left to do.
    assert "taking over" not in run_dbt(*select, folder=tmp_path)
    assert held(settings) == (before + 4, before + 4, 1)


ANOTHER_TABLE = (
    "create table xapi.another as xapi.video_events comment '[table {id}]'",
    "alter table xapi.another add column later UInt8",
    "insert into xapi.elt_tables select * replace (toUUID('{id}') as table_id) "
    "from xapi.elt_tables where model = 'video_events' order by version desc limit 1",
    "exchange tables xapi.another and xapi.video_events",
)


@pytest.mark.long
def test_a_table_that_got_other_columns_before_it_was_claimed_is_left_alone(
    server, put, bucket, tmp_path
):
    """As after a full refresh by a newer release, while a run of the older one waited."""
    settings = Settings.from_env()
    select = ("run", "--select", "+video_events")
    bring(put, bucket, "section/1/video/a.jsonl", 1)
    run_dbt(*select, folder=tmp_path)
    bring(put, bucket, "section/1/video/b.jsonl", 2)
    gate = Gate(server, "create table if not exists xapi.`elt_claim__video_events")
    older = start_dbt(*select, folder=tmp_path / "older")
    assert gate.reached.wait(120), older.output
    another = str(uuid4())
    with closing(open_warehouse(settings)) as warehouse:
        for statement in ANOTHER_TABLE:
            warehouse.command(statement.replace("{id}", another))
    gate.open()
    assert older.wait(120) != 0
    server.fault = None
    assert "other columns than its model yields" in older.output
    assert held(settings) == (0, 0, 1)  # the other table is still empty
    with closing(open_warehouse(settings)) as warehouse:
        warehouse.command("exchange tables xapi.another and xapi.video_events")
        warehouse.command("drop table xapi.another")

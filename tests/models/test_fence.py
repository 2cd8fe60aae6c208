"""A run that was away longer than its lease: what it sends late has no effect."""

import re
import threading
import time
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
from tests.helpers.small_database import statement

LINE = (
    b'{"actor":{"account":{"name":"%s"}},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},'
    b'"object":{"id":"v"},"timestamp":"2025-%02d-01T00:00:00Z"}'
)
LEASE = "lock_expires_seconds: 1"
SEPTEMBER = "start_date: 2025-09-01, end_date: 2025-09-30"

# What is held back: a statement about a table.
LATE = {
    "insert": "insert into `xapi`.`$table`",
    "record of loads": "insert into xapi.elt_applied_loads",
    "record of the table": "insert into xapi.elt_tables",
    "release": "modify comment 'free'",
    "heartbeat": "alter table xapi.`elt_claim__$table",
    "exchange of a rebuild": "exchange tables",
    "exchange of a full refresh": "exchange tables",
}
SHORT = ("insert", "exchange of a rebuild")
CLAIM = "create table if not exists xapi.`elt_claim__video_events"


def options_of(late: str, lease: str = "") -> tuple[str, ...]:
    """The options of the run that sends a statement late.

    Args:
        late: one of LATE.
        lease: a variable; '' for the default.
    """
    days = SEPTEMBER if late == "exchange of a rebuild" else ""
    variables = "{" + ", ".join(filter(None, (lease, days))) + "}"
    return (*["--full-refresh"] * (late == "exchange of a full refresh"), "--vars", variables)


class Gate:
    """Holds back the first statement about a table that contains a text, until it is opened."""

    def __init__(self, text: str, table: str = "video_events"):
        self.sql = ""
        self._text, self._table = text.replace("$table", table), table
        self._lock = threading.Lock()
        self.reached, self._open = threading.Event(), threading.Event()

    def __call__(self, sql: str) -> None:
        """Wait, if this is the statement."""
        with self._lock:
            holds = not self.sql and self._text in sql and self._table in sql
            self.sql = sql if holds else self.sql
        if holds:
            self.reached.set()
            assert self._open.wait(300)

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
    put_and_load(put, bucket, key, b"\n".join((LINE % (learner, 9), LINE % (learner, 10))))


def put_and_load(put, bucket: str, key: str, body: bytes) -> None:
    """Load an object."""
    put(key, body)
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        outcomes = [
            one for batch in load(warehouse, settings, [S3Object(bucket, key)]) for one in batch
        ]
    assert [outcome.outcome for outcome in outcomes] == ["committed"]


HELD = """
select
    (select count() from xapi.$table) as events,
    (select uniqExact(user_id, timestamp, source_path) from xapi.$table) as different,
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


def held(settings: Settings, table: str = "video_events") -> tuple[int, int, int]:
    """Events in a table, different ones, and how often a load is recorded at most."""
    with closing(open_warehouse(settings)) as warehouse:
        return tuple(warehouse.query(HELD.replace("$table", table))[0].values())


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
    gate = server.fault = Gate(LATE[late])
    former = start_dbt(*select, *options_of(late, LEASE), folder=tmp_path / "former")
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


# Of each kind one, each of another table, so that all leases end at once.
LATE_TABLES = {
    "insert": "page_viewed_events",
    "record of loads": "page_attempt_events",
    "release": "part_attempt_events",
    "exchange of a rebuild": "activity_attempt_events",
    "exchange of a full refresh": "video_events",
}


@pytest.mark.long
def test_with_the_default_lease_late_statements_have_no_effect_either(
    server, put, bucket, tmp_path
):
    settings, tables = Settings.from_env(), LATE_TABLES.values()

    def bring_each(number: int) -> None:
        """An object with two events of each family."""
        about = {"actor": {"account": {"name": f"{bucket} {number}"}}}
        lines = [
            statement(
                table.removesuffix("_events"), timestamp=f"2025-{month}-01T00:00:00Z", **about
            )
            for table in tables
            for month in ("09", "10")
        ]
        key = f"section/1/video/{number}.jsonl"
        put_and_load(put, bucket, key, "\n".join(lines).encode())

    bring_each(1)
    run_dbt("run", "--select", "+marts.events", folder=tmp_path)
    before = {table: held(settings, table)[0] for table in tables}
    bring_each(2)
    gates, formers = [], []

    def hold_back(sql: str) -> None:
        for gate in list(gates):
            gate(sql)

    server.fault = hold_back
    for late, table in LATE_TABLES.items():
        gates.append(Gate(LATE[late], table))
        folder = tmp_path / table
        formers.append(start_dbt("run", "--select", table, *options_of(late), folder=folder))
        assert gates[-1].reached.wait(120), formers[-1].output
    bring_each(3)
    time.sleep(61)
    output = run_dbt("run", "--select", "+marts.events", folder=tmp_path / "new")
    for table in tables:
        assert f"taking over `xapi`.`{table}`" in output
    for gate in gates:
        gate.open()
    for former in formers:
        former.wait(120)
    server.fault = None
    expected = {table: (count + 4, count + 4, 1) for table, count in before.items()}
    assert {table: held(settings, table) for table in tables} == expected
    assert "taking over" not in run_dbt("run", "--select", "+marts.events", folder=tmp_path)
    assert {table: held(settings, table) for table in tables} == expected


@pytest.mark.long
def test_of_two_runs_that_claim_a_table_at_once_one_waits(server, put, bucket, tmp_path):
    settings = Settings.from_env()
    select = ("run", "--select", "+video_events")
    bring(put, bucket, "section/1/video/a.jsonl", 1)
    run_dbt(*select, folder=tmp_path)
    before = held(settings)
    bring(put, bucket, "section/1/video/b.jsonl", 2)
    gate = server.fault = Gate(CLAIM)
    later = start_dbt(*select, "--vars", "{lock_wait_seconds: 1}", folder=tmp_path / "later")
    assert gate.reached.wait(120), later.output
    # Both found that the table is free; the other one creates the claim of that number first.
    theirs = re.sub(r"comment '\S+ video_events'", "comment 'another-run video_events'", gate.sql)
    assert theirs != gate.sql
    with closing(open_warehouse(settings)) as warehouse:
        warehouse.command(theirs)
        gate.open()
        assert later.wait(120) != 0
        server.fault = None
        assert "is being changed by run another-run" in later.output
        assert held(settings) == before
        claim = re.search(r"elt_claim__\w+", gate.sql)[0]
        warehouse.command(f"drop table xapi.{claim}")


@pytest.mark.long
def test_a_takeover_waits_for_what_the_former_holder_is_still_running(
    server, put, bucket, tmp_path
):
    """A statement that began before its claim was dropped may still insert rows."""
    settings = Settings.from_env()
    select = ("run", "--select", "+video_events")
    bring(put, bucket, "section/1/video/a.jsonl", 1)
    run_dbt(*select, folder=tmp_path)
    bring(put, bucket, "section/1/video/b.jsonl", 2)
    running = (
        "/* xapi_elt run the-holder */ select sum(sleepEachRow(1)) from numbers(8) "
        "settings max_block_size = 1"
    )

    def run_a_statement() -> None:
        with closing(open_warehouse(settings)) as other:
            other.command(running)

    former = threading.Thread(target=run_a_statement)
    started, was_running = threading.Event(), []

    def watch(sql: str) -> None:
        gate(sql)
        if sql.startswith("/* xapi_elt run the-holder"):
            started.set()
        if "insert into `xapi`.`video_events`" in sql:
            was_running.append(former.is_alive())

    with closing(open_warehouse(settings)) as warehouse:
        warehouse.command(
            "create table xapi.elt_claim__video_events__1000 (load_id UUID) engine = Memory "
            "comment 'the-holder video_events'"
        )
    gate, server.fault = Gate(CLAIM), watch
    new = start_dbt(*select, "--vars", f"{{{LEASE}}}", folder=tmp_path / "new")
    # It has found that the former holder is silent; now that one sends a statement.
    assert gate.reached.wait(120), new.output
    former.start()
    assert started.wait(60)
    time.sleep(1)
    gate.open()
    assert new.wait(120) == 0, new.output
    server.fault = None
    former.join()
    assert was_running == [False]


@pytest.mark.long
def test_the_numbers_of_claims_go_on_after_their_tables_are_gone(server, put, bucket, tmp_path):
    """What a run records counts more than what was recorded before, by the number of its claim."""
    settings = Settings.from_env()
    for number in (1, 2, 3):
        bring(put, bucket, f"section/1/video/{number}.jsonl", number)
        if number == 3:
            with closing(open_warehouse(settings)) as warehouse:
                for row in warehouse.query(CLAIMS):
                    warehouse.command(f"drop table xapi.`{row['name']}`")
        run_dbt("run", "--select", "+video_events", folder=tmp_path)
    with closing(open_warehouse(settings)) as warehouse:
        [row] = warehouse.query(RECORDED)
    assert row["recorded"] == row["events"]


CLAIMS = """
select name from system.tables where database = 'xapi' and startsWith(name, 'elt_claim__')
"""
RECORDED = """
select
    argMax(table_rows, version) as recorded,
    (select count() from xapi.video_events) as events
from xapi.elt_tables
where model = 'video_events' and toString(table_id) = (
    select extract(comment, '\\\\[table ([0-9a-f-]+)\\\\]')
    from system.tables where database = 'xapi' and name = 'video_events'
)
"""

ANOTHER_TABLE = (
    "create table xapi.another as xapi.video_events comment '[table {id}]'",
    "alter table xapi.another add column later UInt8",
    "insert into xapi.another select *, 0 as later from xapi.video_events",
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
    before = held(settings)
    bring(put, bucket, "section/1/video/b.jsonl", 2)
    gate = server.fault = Gate(CLAIM)
    older = start_dbt(*select, folder=tmp_path / "older")
    assert gate.reached.wait(120), older.output
    another = str(uuid4())
    with closing(open_warehouse(settings)) as warehouse:
        for sql in ANOTHER_TABLE:
            warehouse.command(sql.replace("{id}", another))
    gate.open()
    assert older.wait(120) != 0
    server.fault = None
    assert "other columns than its model yields" in older.output
    assert held(settings) == before
    with closing(open_warehouse(settings)) as warehouse:
        warehouse.command("exchange tables xapi.another and xapi.video_events")
        warehouse.command("drop table xapi.another")

"""ClickHouse over HTTP with the standard library: values, errors, time and connections."""

import http.client
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from clickhouse_connect.driver.binding import format_bind_value

from loader.clickhouse import http as http_warehouse
from loader.clickhouse import schema
from loader.clickhouse.connect import ConnectedWarehouse, open_warehouse
from loader.clickhouse.http import HttpWarehouse, encode
from loader.errors import (
    PermanentError,
    RetryableError,
    SettingsError,
    UnavailableError,
    UnknownOutcomeError,
)
from loader.files import UPLOAD_LINES
from loader.parameters import size, text
from loader.settings import Settings
from loader.sources import within_memory
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.ministack import free_port
from tests.helpers.secrets import MARK, PASSWORD


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[ClickHouseHttp]:
    with ClickHouseHttp(tmp_path_factory.mktemp("clickhouse"), password=PASSWORD) as server:
        yield server


@pytest.fixture
def settings(running) -> Settings:
    return Settings(target="server", host="127.0.0.1", port=running.port, password=PASSWORD)


@pytest.fixture
def server(running, settings) -> ClickHouseHttp:
    """The server with empty raw tables and nothing recorded."""
    running.fault = None
    with closing(HttpWarehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        for table in schema.TABLES:
            warehouse.command(f"truncate table {{raw:Identifier}}.{table}")
    running.queries.clear()
    return running


@pytest.fixture
def warehouse(server, settings) -> Iterator[HttpWarehouse]:
    with closing(HttpWarehouse(settings)) as opened:
        yield opened


HOSTILE = [
    "plain",
    "",
    'it\'s "quoted" `so`',
    "back\\slash \\n \\' \\0",
    "tab\tline\nreturn\rnul\0end",
    "日本-é 🎓 \u2028",
    "{braces:String} %20 + & = ; -- /* */",
    "--boundary\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nselect 'stolen'",
]


@pytest.mark.parametrize("long", [False, True], ids=["in the URL", "as a form"])
@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_arrives_as_it_was_sent_and_is_not_in_the_sql(warehouse, server, value, long):
    padding = "x" * (5000 if long else 1)
    sql = "select {one:String} as one, {many:Array(String)} as many, length({pad:String}) as pad"

    [row] = warehouse.query(sql, one=value, many=[value, value], pad=padding)

    assert row == {"one": value, "many": [value, value], "pad": len(padding)}
    assert server.queries == [sql]


def test_numbers_ids_and_nothing_arrive_as_such(warehouse):
    load_id = str(uuid.uuid4())
    [row] = warehouse.query(
        "select {big:UInt64} as big, {ids:Array(UInt64)} as ids, toString({id:UUID}) as id, "
        "{none:Nullable(String)} is null as none, {empty:Array(String)} as empty",
        big=2**63,
        ids=[0, 2**64 - 1],
        id=load_id,
        none=None,
        empty=[],
    )
    assert row == {"big": 2**63, "ids": [0, 2**64 - 1], "id": load_id, "none": 1, "empty": []}


def test_a_thousand_paths_are_one_request(warehouse, server):
    paths = [f"lake/section/{n}/video/2025-10-01T00-00-15.123456Z_é.jsonl" for n in range(1000)]
    [row] = warehouse.query("select length({paths:Array(String)}) as n", paths=paths)
    assert row == {"n": 1000}
    assert len(server.queries) == 1


@pytest.mark.parametrize("kind", [HttpWarehouse, open_warehouse])
def test_odd_text_does_not_break_an_answer(server, settings, kind):
    with closing(kind(settings)) as warehouse:
        assert warehouse.query("select unhex('6162ff') as line") == [{"line": "ab\ufffd"}]
        assert warehouse.query("select '\u2028\x85' as line") == [{"line": "\u2028\x85"}]


@pytest.mark.parametrize("kind", [HttpWarehouse, open_warehouse])
def test_lines_are_sent_with_the_statement(server, settings, warehouse, kind):
    values = {"load_id": str(uuid.uuid4()), "key": "it's.jsonl", "etag": "e", "size": 9}
    body = b'{"a":1}\n\n  x;\n'
    with closing(kind(settings)) as sender:
        upload = within_memory(UPLOAD_LINES, Settings())
        sender.command(upload, data=body, modified=0, lines_before=4, **values)
    rows = warehouse.query(
        "select key, source_line, line from {raw:Identifier}.statements order by source_line"
    )
    assert [(row["key"], row["source_line"], row["line"]) for row in rows] == [
        ("it's.jsonl", 5, '{"a":1}'),
        ("it's.jsonl", 6, ""),
        ("it's.jsonl", 7, "  x;"),
    ]


FAILING = [
    ("select * from {raw:Identifier}.absent", PermanentError, "xapi-elt init"),
    ("select throwIf(1, 'no luck')", PermanentError, "no luck"),
    ("select throwIf(1, 'slow', 159::Int16)", UnknownOutcomeError, "slow"),
    ("select throwIf(1, 'big', 241::Int16)", RetryableError, "big"),
    ("selec 1", PermanentError, "Syntax error"),
]


@pytest.mark.parametrize(("sql", "kind", "words"), FAILING)
def test_both_clients_turn_an_error_into_the_same_one(server, settings, sql, kind, words):
    options = " settings allow_custom_error_code_in_throwif = 1" if "throwIf" in sql else ""
    raised = []
    for opened in (HttpWarehouse(settings), open_warehouse(settings)):
        with closing(opened), pytest.raises(kind) as error:
            opened.query(sql + options)
        raised.append((type(error.value), str(error.value).partition("DB::")[2][:40]))
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    assert raised[0] == raised[1]
    assert isinstance(opened, ConnectedWarehouse)


def test_the_query_after_an_error_is_right(warehouse):
    with pytest.raises(PermanentError):
        warehouse.query("select throwIf(number = 300000) from numbers(1000000)")
    assert warehouse.query("select 1 as one") == [{"one": 1}]


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("refuse", UnavailableError, "HTTP status 503"),
        ("reset", UnknownOutcomeError, "hung up"),
        ("lose_answer", UnknownOutcomeError, "hung up"),
        ("http_500", PermanentError, "failed by the test"),
    ],
)
def test_a_fault_has_its_name_and_is_not_repeated_in_secret(warehouse, server, fault, kind, words):
    faults = [fault]
    server.fault = lambda sql: faults.pop() if faults else None
    with pytest.raises(kind, match=words):
        warehouse.query("select 1 as one")
    assert len(server.queries) == 1
    assert warehouse.query("select 2 as two") == [{"two": 2}]


def test_no_server_is_named_with_host_and_port(settings):
    port = free_port()
    closed_port = HttpWarehouse(Settings(target="server", host="127.0.0.1", port=port))
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{port} does not answer"):
        closed_port.query("select 1")
    unknown = HttpWarehouse(Settings(target="server", host="no.such.host.invalid"))
    with pytest.raises(UnavailableError, match=r"no\.such\.host\.invalid"):
        unknown.query("select 1")
    plain = Settings(target="server", host="127.0.0.1", port=settings.port, secure=True)
    with pytest.raises(UnavailableError, match="does not answer"):
        HttpWarehouse(plain).query("select 1")


def test_a_slow_answer_is_an_unknown_outcome_within_the_deadline(warehouse, server):
    server.fault = lambda sql: ("delay", 30)
    warehouse.deadline = time.monotonic() + 2
    with pytest.raises(UnknownOutcomeError, match="in time"):
        warehouse.query("select 1")
    assert time.monotonic() < warehouse.deadline
    server.fault = None


def test_a_statement_without_time_is_not_sent(warehouse, server):
    warehouse.deadline = time.monotonic() + 0.1
    with pytest.raises(UnavailableError, match="no time is left"):
        warehouse.command("truncate table {raw:Identifier}.loads")
    assert server.queries == []


def test_the_server_receives_the_time_limit(warehouse):
    sql = "select getSetting('max_execution_time') as seconds"
    warehouse.deadline = time.monotonic() + 100
    [row] = warehouse.query(sql)
    assert 70 <= float(row["seconds"]) <= 75
    warehouse.deadline = None
    assert float(warehouse.query(sql)[0]["seconds"]) == 0


def test_the_connection_is_kept_and_opened_again_after_idling(server, settings, monkeypatch):
    connects = []
    connect = http.client.HTTPConnection.connect
    monkeypatch.setattr(
        http.client.HTTPConnection,
        "connect",
        lambda self: (connects.append(self), connect(self))[1],
    )
    now = [0.0]
    with closing(HttpWarehouse(settings, clock=lambda: now[0])) as warehouse:
        for _ in range(3):
            warehouse.query("select 1")
        assert len(connects) == 1
        now[0] += http_warehouse.IDLE
        warehouse.query("select 1")
        assert len(connects) == 2


def test_a_rotated_password_is_read_again_once(server, settings):
    passwords = [f"old-{MARK}", PASSWORD]
    reads = []

    def read() -> str:
        reads.append(passwords[min(len(reads), 1)])
        return reads[-1]

    with closing(HttpWarehouse(settings, read)) as warehouse:
        assert warehouse.query("select 1 as one") == [{"one": 1}]
        assert reads == [f"old-{MARK}", PASSWORD]
    with (
        closing(HttpWarehouse(settings, lambda: "wrong")) as warehouse,
        pytest.raises(PermanentError, match="Authentication failed") as refused,
    ):
        warehouse.query("select 1")
    assert "wrong" not in str(refused.value)


def test_a_failing_secret_is_reported_with_its_own_error(settings):
    def read() -> str:
        raise SettingsError("no such secret")

    with pytest.raises(SettingsError, match="no such secret"):
        HttpWarehouse(settings, read).query("select 1")


def test_the_password_is_neither_in_the_url_nor_in_a_log(warehouse, server, caplog):
    caplog.set_level(logging.DEBUG)
    warehouse.query("select {a:String}", a="x" * 9000)
    assert PASSWORD not in caplog.text + "".join(server.queries)
    url, headers, body = encode("select 1", {"a": "b"}, {}, None)
    assert "key" not in f"{url}{headers}{body}".lower()


def test_a_proxy_that_gives_up_waiting_leaves_the_outcome_unknown(warehouse):
    assert isinstance(warehouse._refusal(504, None, "gateway time-out"), UnknownOutcomeError)
    assert isinstance(warehouse._refusal(502, None, "<html>bad gateway"), UnavailableError)


def test_escapes_are_those_of_clickhouse_text():
    assert text("a'b\\c\td\n") == "a\\'b\\\\c\\td\\n"
    assert text(["a'b", 1, None]) == "['a\\'b', 1, NULL]"
    assert text(None) == "\\N"


@pytest.mark.parametrize("value", HOSTILE)
def test_the_size_of_a_parameter_is_measured_as_both_clients_send_it(value):
    values = [value * 3, value, 7, None]
    assert size(*values) == len(text(values).encode())
    assert size(*values) >= len(format_bind_value(values).encode())

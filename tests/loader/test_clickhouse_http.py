"""The stand-in for a ClickHouse server: plain HTTP, refusals, faults, a separate process."""

import http.client
import json
import signal
import subprocess
import time
from base64 import b64encode
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from tests.helpers.clickhouse_clients import ask, connect
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.clickhouse_process import start_process
from tests.helpers.secrets import PASSWORD

SQL_COUNT = "SELECT count() FROM lines"


# http.client --------------------------------------------------------------------------------


def test_plain_http_is_enough(server: ClickHouseHttp) -> None:
    """SQL in the URL or in the body, parameters in the URL, a summary in the headers."""
    status, text, headers = ask(server, "GET", query="SELECT {a:String}", param_a="it\\'s\\n")
    assert (status, text) == (200, "it\\'s\\n\n")
    assert headers["X-ClickHouse-Format"] == "TabSeparated"
    sql = "INSERT INTO lines (line) FORMAT LineAsString"
    status, text, headers = ask(server, "POST", "one\ntwo", query=sql, query_id="mine")
    assert (status, text, headers["X-ClickHouse-Query-Id"]) == (200, "", "mine")
    assert json.loads(headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert ask(server, "POST", SQL_COUNT, default_format="JSONEachRow")[1] == '{"count()":2}\n'
    setting = "SELECT getSetting('max_block_size')"
    assert ask(server, "POST", setting, max_block_size="7")[:2] == (200, "7\n")
    assert ask(server, "GET", path="/ping") == (200, "Ok.\n", ask(server, "GET", path="/ping")[2])


def test_a_url_may_be_as_long_as_for_a_server(server: ClickHouseHttp) -> None:
    """A value of 128 KiB, a URL of 1 MiB."""
    status, text, _ = ask(server, "POST", "SELECT lengthUTF8({a:String})", param_a="é" * 65536)
    assert (status, text) == (200, "65536\n")
    status, text, _ = ask(server, "POST", "SELECT length({a:String})", param_a="a" * 131074)
    assert (status, "Field value too long" in text) == (500, True)


@pytest.mark.parametrize(
    ("method", "sql", "status", "code"),
    [
        ("GET", "DROP TABLE lines", 500, "164"),
        ("POST", "SELECT 1; SELECT 2", 400, "62"),
        ("POST", "INSERT INTO lines FROM INFILE '/etc/passwd' FORMAT TSV", 404, "78"),
        ("POST", "SELECT * FROM absent", 404, "60"),
    ],
)
def test_what_a_server_refuses_is_refused(
    server: ClickHouseHttp, method: str, sql: str, status: int, code: str
) -> None:
    """chDB would do the first three."""
    answer = ask(server, method, query=sql)
    assert (answer[0], answer[2]["X-ClickHouse-Exception-Code"]) == (status, code)
    assert ask(server, "POST", "SELECT ';' -- ; two\n;")[:2] == (200, ";\n")


def test_basic_authentication_and_url_are_taken_too(server: ClickHouseHttp) -> None:
    """The three ways of ClickHouse."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    basic = b64encode(f"default:{PASSWORD}".encode()).decode()
    for path, headers, status in [
        (f"/?user=default&password={PASSWORD}", {}, 200),
        ("/?password=wrong", {}, 403),
        ("/", {}, 403),
        ("/", {"Authorization": f"Basic {basic}"}, 200),
    ]:
        connection.request("POST", path, b"SELECT 1", headers)
        response = connection.getresponse()
        assert (response.status, response.read()[:9]) == (
            status,
            b"1\n" if status == 200 else b"Code: 516",
        )
    connection.close()


# Faults -------------------------------------------------------------------------------------


def test_faults_before_and_after_execution(server: ClickHouseHttp) -> None:
    """Only a lost answer leaves its row."""
    client, fault = connect(server), {}
    server.fault = lambda sql: fault.get("is") if sql.startswith("INSERT") else None
    for fault["is"] in ("refuse", "reset", "http_500", "lose_answer"):
        failure = OperationalError if fault["is"] != "http_500" else DatabaseError
        with pytest.raises((failure, DatabaseError)):
            client.command(f"INSERT INTO lines (line) VALUES ('{fault['is']}')")
    assert client.query("SELECT line FROM lines").result_rows == [("lose_answer",)]
    fault["is"] = ("delay", 0.3)
    started = time.monotonic()
    client.command("INSERT INTO lines (line) VALUES ('late')")
    assert time.monotonic() - started > 0.3


def test_an_insert_of_rows_is_sent_again_after_a_lost_answer(server: ClickHouseHttp) -> None:
    """clickhouse-connect does this by itself: such inserts must not matter when doubled."""
    client, faults = connect(server), ["lose_answer"]
    server.fault = lambda sql: faults.pop() if faults and sql.startswith("INSERT") else None
    client.insert("lines", [["once"]], column_names=["line"])
    assert client.command(SQL_COUNT) == 2


# A separate process -------------------------------------------------------------------------


def start(path: Path, *options: str) -> tuple[subprocess.Popen, ClickHouseHttp]:
    """A server in its own process, and where it listens."""
    process, port = start_process("--path", str(path), "--password", PASSWORD, *options)
    return process, ClickHouseHttp(path, port=port)


def test_a_killed_process_leaves_its_rows_to_the_next(tmp_path: Path) -> None:
    """And takes its faults from a file, which may change while it runs."""
    fault, config = tmp_path / "fault.json", tmp_path / "config.xml"
    config.write_text("<clickhouse><query_log><table>query_log</table></query_log></clickhouse>")
    path, options = tmp_path / "new" / "db", ("--config-file", str(config))
    process, server = start(path, *options, "--fault-file", str(fault))
    try:
        client = connect(server)
        client.command("CREATE TABLE lines (line String) ENGINE MergeTree ORDER BY line")
        fault.write_text('{"match": "^insert into lines", "fault": "reset", "times": 1}')
        with pytest.raises(OperationalError):
            client.command("INSERT INTO lines VALUES ('a')")
        client.command("INSERT INTO lines VALUES ('b')")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process, server = start(path, *options)
    try:
        client = connect(server)
        assert client.command("SELECT line FROM lines") == "b"
        client.command("SYSTEM FLUSH LOGS")
        assert "SELECT line FROM lines" in client.command("SELECT query FROM system.query_log")
    finally:
        process.kill()
        process.communicate()

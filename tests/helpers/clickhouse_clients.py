"""The stand-in for a ClickHouse server in the process of its tests, and the clients that ask it."""

import http.client
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
import pytest

from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.secrets import PASSWORD


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHttp]:
    """One server for a file of tests: a process has one engine."""
    with ClickHouseHttp(tmp_path_factory.mktemp("clickhouse"), password=PASSWORD) as server:
        yield server


@pytest.fixture
def server(running: ClickHouseHttp) -> ClickHouseHttp:
    """The server with an empty table and nothing recorded."""
    running.fault = None
    client = connect(running)
    client.command("DROP TABLE IF EXISTS lines")
    client.command("CREATE TABLE lines (load_id UUID, line String) ENGINE MergeTree ORDER BY line")
    running.queries.clear()
    return running


def connect(server: ClickHouseHttp, **settings: Any) -> Any:
    """A client of clickhouse-connect, over HTTP."""
    settings = {"password": PASSWORD, "port": server.port} | settings
    return clickhouse_connect.get_client(host="127.0.0.1", **settings)


def ask(
    server: ClickHouseHttp, method: str, body: bytes | str = "", path: str = "/", **fields: str
) -> tuple[int, str, dict[str, str]]:
    """One request by http.client, as the Lambda sends it: status, text, headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    body = body.encode() if isinstance(body, str) else body
    headers = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": PASSWORD}
    connection.request(method, f"{path}?{urlencode(fields)}", body, headers)
    response = connection.getresponse()
    try:
        text = response.read().decode("utf-8", "backslashreplace")
        return response.status, text, dict(response.getheaders())
    finally:
        connection.close()

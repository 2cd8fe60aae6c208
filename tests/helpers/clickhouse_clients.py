"""Clients of the stand-in for a ClickHouse server: clickhouse-connect and plain HTTP."""

import http.client
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect

from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.secrets import PASSWORD


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

"""ClickHouse over HTTP, with the standard library only: small and fast enough for the Lambda."""

import http.client
import re
import socket
import ssl
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import urlencode

from loader.clickhouse import errors as clickhouse_errors
from loader.clickhouse import safety
from loader.clickhouse.warehouse import Warehouse, known_values, rows_in, without_secret
from loader.errors import LoaderError, UnavailableError, UnknownOutcomeError
from loader.parameters import text
from loader.settings import Settings

# Seconds to wait for a connection, and for a response when there is no deadline.
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 10.0, 900.0

# Seconds after which an idle connection is replaced by a new one: ClickHouse closes it after 10
# or 30 seconds, and a Lambda may be frozen for minutes between two events.
IDLE = 5.0

# Seconds that must remain before the deadline for a statement to be sent.
LEAST = 0.5

# Share of the remaining time that one statement may take. The rest is for recording in the ledger
# and reporting to the queue that it took too long.
SHARE = 0.75

# Largest URL in bytes; longer parameters are sent as a form, because proxies cut long URLs. So are
# secrets, because proxies log URLs.
LONGEST_URL = 4096
SECRETS = {"external_id"}

_SETTINGS = {
    # JSON responses contain 64-bit numbers as numbers, not as strings.
    "output_format_json_quote_64bit_integers": "0",
    # An error in the middle of a query sets the HTTP status. Without this, the response has status
    # 200 and the error is text at its end.
    "wait_end_of_query": "1",
}


class HttpWarehouse:
    """A ClickHouse server (see `Warehouse`), over one connection that stays open.

    Statements are not retried, except once after a refused password, which ClickHouse did not
    execute: the password is then read again, because the secret may have changed.

    Args:
        settings: which server, and as which user.
        password: reads the password; that of the settings if left out.
        clock: seconds, monotonic.

    Attributes:
        deadline: time on `clock` by which all statements must be done; None for no limit.
        version: see `Warehouse`.
    """

    version = safety.OLDEST_ENGINE

    def __init__(
        self,
        settings: Settings,
        password: Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.deadline: float | None = None
        self._settings = settings
        self._read_password = password or (lambda: settings.password)
        self._password: str | None = None
        self._clock = clock
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0
        self._engine_settings: dict[str, str] = {}
        self._known = known_values(settings)

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """See `Warehouse.query`."""
        return rows_in(self._run(sql, values, default_format="JSONEachRow"))

    def command(self, sql: str, data: bytes | None = None, **values: Any) -> None:
        """See `Warehouse.command`."""
        self._run(sql, values, data)

    def apply_settings(self, settings: Mapping[str, str]) -> None:
        """See `Warehouse.apply_settings`."""
        self._engine_settings = dict(settings)

    def close(self) -> None:
        """See `Warehouse.close`."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _run(self, sql: str, values: Mapping[str, Any], data: bytes | None = None, **more) -> bytes:
        texts = {
            name: text(value)
            for name, value in (self._known | dict(values)).items()
            if re.search(rf"{{{name}\s*:", sql)
        }
        seconds = self._seconds()
        settings = _SETTINGS | self._engine_settings | more
        if self.deadline is not None:
            # The server stops the statement too, so that none outlives the invocation.
            settings["max_execution_time"] = str(max(1, int(seconds)))
        # A line break after FORMAT would be read as the first line of the data.
        url, headers, body = encode(sql.strip(), texts, settings, data)
        status, code, answer = self._send(url, headers, body, seconds)
        if code == clickhouse_errors.WRONG_PASSWORD and self._password_changed():
            status, code, answer = self._send(url, headers, body, self._seconds())
        if status != 200 or code is not None:
            raise self._refusal(status, code, answer.decode("utf-8", "replace"))
        return answer

    def _seconds(self) -> float:
        """How long the next statement may take, in seconds."""
        if self.deadline is None:
            return ANSWER_TIMEOUT
        seconds = (self.deadline - self._clock()) * SHARE
        if seconds < LEAST:
            raise UnavailableError("no time is left for another statement; it was not sent")
        return min(seconds, ANSWER_TIMEOUT)

    def _send(
        self, url: str, headers: dict[str, str], body: bytes, seconds: float
    ) -> tuple[int, int | None, bytes]:
        """Send one request; return the HTTP status, ClickHouse's error code and the body."""
        if self._password is None:
            self._password = self._read_password()
        credentials = f"{self._settings.user}:{self._password}"
        headers = headers | {
            # Encoded, because a header of its own cannot carry a line break or other letters than
            # those of Latin-1, and an error about it would quote the password.
            "Authorization": f"Basic {b64encode(credentials.encode()).decode()}",
        }
        connection = self._open_connection(min(seconds, CONNECT_TIMEOUT))
        with self._errors(connection):
            connection.sock.settimeout(seconds)
            connection.request("POST", url, body, headers)
            response = connection.getresponse()
            answer = response.read()
        self._used = self._clock()
        code = response.headers.get("X-ClickHouse-Exception-Code")
        return response.status, int(code) if code else None, answer

    def _open_connection(self, seconds: float) -> http.client.HTTPConnection:
        """The connection; a new one if there is none or it was idle for too long.

        Raises:
            UnavailableError: it cannot be opened; nothing was sent.
        """
        if self._connection and self._clock() - self._used < IDLE and self._connection.sock:
            return self._connection
        self.close()
        where = (self._settings.host, self._settings.port)
        if self._settings.secure:
            connection = http.client.HTTPSConnection(*where, context=_tls())
        else:
            connection = http.client.HTTPConnection(*where)
        connection.timeout = seconds
        try:
            connection.connect()
        except OSError as error:
            raise UnavailableError(
                f"ClickHouse at {where[0]}:{where[1]} does not answer: {_reason(error)}"
            ) from None
        _keep_alive(connection.sock)
        self._connection = connection
        return connection

    @contextmanager
    def _errors(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """Translate network errors of a request that was sent. Whether ClickHouse executed the
        statement is unknown then."""
        try:
            yield
        except BaseException as error:
            # The rest of this response must not be read as the next one.
            connection.close()
            if isinstance(error, TimeoutError):
                raise UnknownOutcomeError(
                    f"no answer from ClickHouse in time: {_reason(error)}"
                ) from None
            if isinstance(error, (OSError, http.client.HTTPException)):
                where = f"{self._settings.host}:{self._settings.port}"
                raise UnknownOutcomeError(
                    f"ClickHouse at {where} hung up without an answer: {_reason(error)}"
                ) from None
            raise

    def _password_changed(self) -> bool:
        """Whether the secret holds another password than the refused one."""
        before, self._password = self._password, self._read_password()
        return self._password != before

    def _refusal(self, status: int, code: int | None, words: str) -> LoaderError:
        """The error for a response that reports a failure."""
        if code is None and not words.startswith("Code: "):
            # The response comes from a proxy, not from ClickHouse.
            where = f"{self._settings.host}:{self._settings.port}"
            words = clickhouse_errors.first_sentence(f"HTTP status {status}: {words}", 200)
            if status == 504:
                return UnknownOutcomeError(f"no answer from ClickHouse in time: {words}")
            return UnavailableError(f"ClickHouse at {where} does not answer: {words}")
        return clickhouse_errors.from_answer(without_secret(words, self._settings), code)


def open_http(
    settings: Settings,
    password: Callable[[], str] | None = None,
    deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Warehouse:
    """Connect to a server, and refuse it if it could lose or duplicate rows.

    Args:
        settings: which server, and as which user.
        password: reads the password; that of the settings if left out.
        deadline: time on `clock` by which all statements must be done; None for no limit.
        clock: seconds, monotonic.

    Raises:
        RetryableError: no connection, or no response in time.
        PermanentError: user or password is wrong.
        UnsafeEngineError: the engine is refused (see `safety`).
    """
    warehouse = HttpWarehouse(settings, password, clock)
    warehouse.deadline = deadline
    safety.require_or_close(warehouse, settings)
    return warehouse


def encode(
    sql: str, texts: Mapping[str, str], settings: Mapping[str, str], data: bytes | None
) -> tuple[str, dict[str, str], bytes]:
    """Build a request for ClickHouse's HTTP interface.

    Args:
        sql: the statement.
        texts: its parameters, as `text` writes them.
        settings: engine settings.
        data: the data that the statement reads; the body then has no room for anything else.

    Returns:
        URL, headers and body.
    """
    fields = {f"param_{name}": value for name, value in texts.items()}
    if data is not None:
        return f"/?{urlencode({**settings, **fields, 'query': sql})}", {}, data
    url = f"/?{urlencode({**settings, **fields})}"
    if len(url) <= LONGEST_URL and not SECRETS & texts.keys():
        return url, {"Content-Type": "text/plain; charset=utf-8"}, sql.encode()
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {**fields, "query": sql}.items()
    ]
    body = "".join([*parts, f"--{mark}--\r\n"]).encode()
    kind = f"multipart/form-data; boundary={mark}"
    return f"/?{urlencode(settings)}", {"Content-Type": kind}, body


@cache
def _tls() -> ssl.SSLContext:
    """Check certificates against those of the system, or of SSL_CERT_FILE."""
    return ssl.create_default_context()


def _keep_alive(connected: socket.socket) -> None:
    """Keep gateways from closing the connection during a long INSERT, which sends no data."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with suppress(AttributeError, OSError):  # Linux knows these
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__

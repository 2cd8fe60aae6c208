"""ClickHouse's HTTP protocol, as the stand-in for a server speaks it: requests and answers."""

import base64
import email
import gzip
import io
import json
import re
import socket
import struct
import time
import uuid
import zlib
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from clickhouse_connect.driver import compression

from tests.helpers.clickhouse_failure import STATUS, Failure
from tests.helpers.clickhouse_session import Session
from tests.helpers.clickhouse_statement import Statement

if TYPE_CHECKING:
    from tests.helpers.clickhouse_http import ClickHouseHttp

# What a URL says to the HTTP layer; `param_…` are parameters, everything else is a setting.
TRANSPORT = re.compile(
    "query|database|user|password|default_format|session_.*|query_id|quota_key|role|compress"
    "|decompress|buffer_size|wait_end_of_query|client_protocol_version|enable_http_compression"
    "|send_progress_in_http_headers|http_headers_progress_interval_ms"
)
ANY_USER = "any"
LONGEST_URI, LONGEST_FIELD = 1 << 20, (128 << 10) + 1  # a server's defaults
DECOMPRESS = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": compression._zstd_decompress,
    "lz4": lambda body: compression._require_lz4().open(io.BytesIO(body)).read(),  # many frames
}


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    of: "ClickHouseHttp"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def setup(self) -> None:
        """As inherited; the server knows the connection from now on."""
        super().setup()
        self.of.sockets.add(self.connection)

    def finish(self) -> None:
        """As inherited; the server forgets the connection."""
        self.of.sockets.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        """As inherited, as long as the server and the client are there."""
        if not self.of.closing.is_set():
            with suppress(ConnectionError):  # the client went away
                super().handle()

    def handle_one_request(self) -> None:
        """As inherited, with a server's limit for the length of the URL, not 64 KiB."""
        self.raw_requestline = self.rfile.readline(LONGEST_URI + 1)
        if not self.raw_requestline or self.of.closing.is_set():
            self.close_connection = True
        elif len(self.raw_requestline) > LONGEST_URI:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
        elif self.parse_request():
            self.respond()

    def respond(self) -> None:
        """Read one request, and send the answer or the fault."""
        self.of.urls.append(self.path)
        url, body = urlsplit(self.path), self.body()
        if url.path not in ("", "/"):
            known = url.path == "/ping"
            return self.send(200 if known else 404, b"Ok.\n" if known else b"no such page\n")
        try:
            self.query(dict(parse_qsl(url.query, keep_blank_values=True)), body)
        except ConnectionError:
            raise
        except Exception as error:
            failure = error if isinstance(error, Failure) else Failure.of(error)
            text = failure.text + f" (version {self.of.version} (official build))\n".encode()
            headers = {"X-ClickHouse-Exception-Code": failure.code}
            self.send(STATUS.get(failure.code, 500), text, headers)

    def body(self) -> bytes:
        """The whole body, or an error if the client hung up before its end."""
        chunks, sizes = [], iter([int(self.headers.get("Content-Length", 0))])
        if chunked := self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            sizes = iter(lambda: int(self.rfile.readline() or b"-1", 16), 0)
        for size in sizes:
            chunks.append(self.rfile.read(max(size, 0)))
            if len(chunks[-1]) != size:
                raise ConnectionAbortedError("the request ends before its end")
            if chunked:
                self.rfile.readline()
        if chunked:
            self.rfile.readline()
        body = b"".join(chunks)
        encoding = self.headers.get("Content-Encoding", "identity")
        return body if encoding == "identity" else DECOMPRESS[encoding](body)

    def query(self, fields: dict[str, str], body: bytes) -> None:
        """Run a query; what a URL may say, a form may say too."""
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            form = email.message_from_bytes(b"Content-Type: %s\r\n\r\n%s" % (kind.encode(), body))
            for part in form.get_payload():
                name = part.get_param("name", header="content-disposition")
                if part.get_filename():
                    raise Failure(
                        48, f"The stand-in has no external tables: {name} (NOT_IMPLEMENTED)"
                    )
                fields[name] = part.get_payload(decode=True).decode()
            body = b""
        if any(len(value.encode()) > LONGEST_FIELD for value in fields.values()):
            raise Failure(1000, "HTML Form Exception: Field value too long (POCO_EXCEPTION)")
        self.authenticate(fields)
        texts = [text for text in (fields.get("query", "").encode(), body) if text]
        statement = Statement(b"\n".join(texts))
        shown = statement.shown.decode("utf-8", "replace")
        self.of.queries.append(shown)
        fault = self.of.fault(shown) if self.of.fault else None
        if fault == "refuse":
            return self.send(503, b"refused by the test\n")
        if fault == "reset":
            return self.hang_up()
        if fault == "http_500":
            raise Failure(1002, "failed by the test (UNKNOWN_EXCEPTION)")
        wait = dict([fault]) if isinstance(fault, tuple | list) else {}
        self.of.closing.wait(wait.get("delay", 0))
        if self.command == "GET" and not (statement.reads or statement.verb in ("set", "use")):
            raise Failure(164, "Cannot execute query in readonly mode: GET only reads (READONLY)")

        settings, parameters = {}, {}
        for name, value in fields.items():
            if name.startswith("param_"):
                parameters[name.removeprefix("param_")] = value
            elif not TRANSPORT.fullmatch(name):
                settings[name] = value
        output = self.headers.get("X-ClickHouse-Format", "TabSeparated")
        output = fields.get("default_format", output)
        database = fields.get("database", "")
        name = "" if "readonly" in settings else fields.get("session_id", "")  # no way back from it
        started = time.monotonic_ns()
        try:
            with self.of.session(name, float(fields.get("session_timeout", 60))) as session:
                if self.of.cluster:
                    statement = self.on_one_engine(statement, session, parameters)
                result = session.answer(statement, output, database, settings, parameters)
        finally:
            if fault == "lose_answer":  # with the session free again: clients retry at once
                self.hang_up()
        counts = {  # an older chDB reports neither of the first two
            "read_rows": getattr(result, "storage_rows_read", int)(),
            "written_rows": getattr(result, "rows_written", int)(),
            "result_rows": result.rows_read() if statement.reads else 0,
            "elapsed_ns": time.monotonic_ns() - started,
        }
        self.of.reads.append((shown, counts["read_rows"]))
        headers = {
            "X-ClickHouse-Query-Id": fields.get("query_id") or uuid.uuid4(),
            "X-ClickHouse-Timezone": self.of.timezone,
            "X-ClickHouse-Summary": json.dumps({k: str(v) for k, v in counts.items()}),
        }
        if statement.reads:
            headers["X-ClickHouse-Format"] = statement.output_format or output
        self.of.closing.wait(wait.get("answer_late", 0))
        self.send(200, result.bytes(), headers, cut=fault == "cut_answer")

    def on_one_engine(
        self, statement: Statement, session: Session, parameters: dict[str, str]
    ) -> Statement:
        """The statement for one engine, if it is one that a cluster accepts."""
        whole = statement.text
        data = whole[len(statement.shown) :] if statement.data else b""

        def parse(sql: str) -> None:
            session.run(f"EXPLAIN AST {sql}", **parameters)

        return Statement(self.of.cluster.local(statement.shown, parse) + data)

    def authenticate(self, fields: dict[str, str]) -> None:
        """Check user and password: in headers, by basic authentication, or in the URL."""
        user, password = fields.get("user"), fields.get("password")
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            user, _, password = base64.b64decode(token).decode().partition(":")
        user = self.headers.get("X-ClickHouse-User", user) or "default"
        password = self.headers.get("X-ClickHouse-Key", password) or ""
        if self.of.user not in (user, ANY_USER) or password != self.of.password:
            raise Failure(
                516,
                f"{user}: Authentication failed: password is incorrect, or there is no user with "
                "such name. (AUTHENTICATION_FAILED)",
            )

    def hang_up(self) -> None:
        """Close the socket at once, without an answer; the client sees a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())

    def send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, Any] | None = None,
        cut: bool = False,
    ) -> None:
        """Answer, unless the test hung up; a cut answer promises more than it has, and ends."""
        if self.connection.fileno() < 0:
            return
        self.send_response(status)
        length = len(body) + cut
        common = {"Content-Type": "text/plain; charset=UTF-8", "Content-Length": length}
        common["X-ClickHouse-Server-Display-Name"] = "clickhouse_http.py"
        for name, value in (common | (headers or {})).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut

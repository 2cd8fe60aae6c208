"""A stand-in for a ClickHouse server: its HTTP protocol over chDB, for tests without a server.

    with ClickHouseHttp(path) as server: ...               # server.url, .port, .queries, .fault
    python tests/clickhouse_http.py --path DIR --port 0    # its own process, to be killed

It refuses what a server refuses and chDB does not: two statements in one request, writing by
GET, INFILE, a parameter above 128 KiB, a second query in a busy session. Results are answered
whole and uncompressed; external tables and `client_protocol_version` are not supported.
"""

import argparse
import base64
import email
import gzip
import io
import json
import re
import socket
import struct
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
from clickhouse_connect.driver import compression

# "refuse", "reset", "lose_answer", "cut_answer", "http_500", ("delay", seconds) before executing or
# ("answer_late", seconds); see _Handler.query
Fault = str | tuple[str, float] | None

# What a URL says to the HTTP layer; `param_…` are parameters, everything else is a setting.
TRANSPORT = re.compile(
    "query|database|user|password|default_format|session_.*|query_id|quota_key|role|compress"
    "|decompress|buffer_size|wait_end_of_query|client_protocol_version|enable_http_compression"
    "|send_progress_in_http_headers|http_headers_progress_interval_ms"
)
LONGEST_URI, LONGEST_FIELD, LONGEST_SQL = 1 << 20, (128 << 10) + 1, 256 << 10  # a server's defaults
# The HTTP status of an error code, else 500 (ClickHouse: exceptionCodeToHTTPStatus.cpp).
STATUS = (
    dict.fromkeys((6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 321, 376, 427), 400)
    | dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115), 404)
    | {48: 501, 76: 503, 159: 408, 192: 403, 209: 503, 439: 503, 497: 403, 516: 403}
)
QUOTED = re.compile(
    r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`|--[^\n]*|/\*.*?\*/", re.DOTALL
)
DATA_FOLLOWS = re.compile(
    r"(?is)(?P<sql>(?P<into>\s*insert\b.*?)(?P<settings>\bsettings\s+\w+\s*=.*?)?)"
    r"\bformat\s+(?P<format>\w+)[ \t\f]*\r?\n?"
)
INPUT = re.compile(r"(?i)\binput\s*\(")
DECOMPRESS = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": compression._zstd_decompress,
    "lz4": lambda body: compression._require_lz4().open(io.BytesIO(body)).read(),  # many frames
}
READS = {"select", "with", "from", "show", "describe", "desc", "explain", "exists", "check"}


def quote(text: str, mark: str = "'") -> str:
    """A string literal, or with a backtick an identifier."""
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


class Failure(Exception):
    """An error that ClickHouse answers with a code."""

    def __init__(self, code: int, message: str, text: bytes = b"") -> None:
        """Take the message of our own, or chDB's whole text."""
        super().__init__(code, message)
        self.code = code
        self.text = text or f"Code: {code}. DB::Exception: {message}".encode()

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Read chDB's error; text that is not UTF-8 hides in a UnicodeDecodeError."""
        cause = next((e for e in (error, error.__cause__) if isinstance(e, UnicodeDecodeError)), 0)
        text = bytes(cause.object) if cause else str(error).encode()
        found = re.search(rb"Code: (\d+).*", text, re.DOTALL)
        return cls(int(found[1]), "", found[0]) if found else cls(1002, f"{error!r}")


class Statement:
    """The SQL of a request, parted from the data that follows it in an INSERT."""

    def __init__(self, text: bytes) -> None:
        """Look at the text without its strings and comments, one character for each byte."""
        plain = text[:LONGEST_SQL].decode("latin-1")
        plain = QUOTED.sub(lambda quoted: " " * len(quoted[0]), plain)
        self.text, self.shown, self.data = text, text, DATA_FOLLOWS.match(plain)
        self.selects = self.data and re.search(r"(?i)\bselect\b", self.data["sql"])
        if self.selects and not INPUT.search(self.data["sql"]):
            self.data = None
        if self.data:
            self.shown, plain = text[: self.data.end("format")], self.data["sql"]
        self.verb = "insert" if self.data else (re.findall(r"\w+", plain) or [""])[0].lower()
        self.reads = self.verb in READS and not re.search(r"(?i)\binsert\s+into\b", plain)
        last = re.search(r"(?is)\bformat\s+(\w+)\s*(\bsettings\b.*)?[\s;]*$", plain)
        self.output_format = last[1] if last else None
        if re.search(r";\s*[^\s;]", plain):
            raise Failure(62, "Syntax error (Multi-statements are not allowed) (SYNTAX_ERROR)")
        if re.search(r"(?i)\bfrom\s+infile\b", plain):
            raise Failure(78, "Query has infile and was sent directly (UNKNOWN_TYPE_OF_QUERY)")

    def reading(self, file: str) -> bytes:
        """The statement with the data in a file: chDB takes none for input(), without a word,
        and cuts white space and `;` from the end of data in the SQL."""
        sql, input_format = self.text[: self.data.end("sql")], self.data["format"]
        if self.selects:
            at = INPUT.search(self.data["sql"]).span()
            source = f"file({quote(file)}, {quote(input_format)}, ".encode()
            return sql[: at[0]] + source + sql[at[1] :]
        source, at = f" FROM INFILE {quote(file)} ".encode(), self.data.end("into")
        return sql[:at] + source + sql[at:] + f" FORMAT {input_format}".encode()


@dataclass
class Session:
    """A chDB connection, and what a request of a session must find as it was before."""

    connection: Any
    lasts: bool = False  # False: for one request only, so nothing has to be restored
    database: str = "default"  # chosen by USE; a request's own database lasts for the request
    current: str = "default"
    known: dict[str, str] = field(default_factory=dict)
    ends: float = 0.0
    busy: Any = field(default_factory=threading.Lock)

    def run(self, sql: str | bytes, output: str = "TSV", **parameters: str) -> Any:
        """Run one statement; after an error, take away what it left for the next one."""
        try:
            return self.connection.query(sql, output, params=parameters)
        except Exception as error:
            with suppress(Exception):
                self.connection.query("SELECT 1 WHERE 0")
            raise Failure.of(error) from error

    def answer(
        self, statement: Statement, output: str, database: str, settings: dict, parameters: dict
    ) -> Any:
        """Run a request's statement; its database and settings end with it."""
        if (wanted := database or self.database) != self.current:
            self.run(f"USE {quote(wanted, '`')}")
            self.current = wanted
        if statement.verb in ("set", "use"):
            settings = {}
            self.known.clear()
        before = self._now(settings) if settings and self.lasts else {}
        try:
            if settings:
                self.run("SET " + ", ".join(f"{k} = {quote(v)}" for k, v in settings.items()))
            if not statement.data:
                result = self.run(statement.text, output, **parameters)
            else:
                with tempfile.NamedTemporaryFile(suffix=".data") as file:
                    file.write(statement.text[statement.data.end() :])
                    file.flush()
                    result = self.run(statement.reading(file.name), output, **parameters)
        finally:
            if before:
                with suppress(Failure):
                    self.run("SET " + ", ".join(f"{k} = {v}" for k, v in before.items()))
        if statement.verb == "use":
            self.current = self.run("SELECT currentDatabase()", "TSVRaw").bytes().decode()[:-1]
            self.database = self.current
        return result

    def _now(self, settings: dict) -> dict[str, str]:
        """What these settings are now, as SET takes it."""
        if unknown := ", ".join(quote(name) for name in settings if name not in self.known):
            sql = "SELECT name, changed ? value : NULL FROM system.settings WHERE name IN "
            for row in self.run(f"{sql} ({unknown})", "JSONCompactEachRow").bytes().splitlines():
                name, value = json.loads(row)
                self.known[name] = "DEFAULT" if value is None else quote(value)
        return {name: self.known[name] for name in settings if name in self.known}


class ClickHouseHttp:
    """The server, on 127.0.0.1; `fault` is asked about each query, `queries` has their SQL."""

    def __init__(
        self,
        path: str | Path,
        config_file: str | Path | None = None,
        port: int = 0,
        user: str = "default",
        password: str = "",
    ) -> None:
        """Say where the data lies and who may ask; the port is taken on entering."""
        self.location = f"{path}?config-file={config_file}" if config_file else str(path)
        self.port, self.user, self.password = port, user, password
        self.fault: Callable[[str], Fault] | None = None
        self.queries: list[str] = []
        self.reads: list[tuple[str, int]] = []  # SQL, and rows that it read from tables
        self.sockets: set[socket.socket] = set()
        self.closing = threading.Event()
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address to ask."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "ClickHouseHttp":
        """Open the engine and listen."""
        self._engine = chdb.connect(self.location)  # open as long as the server
        # Whatever a user's profile does to answers.
        hidden = "offset = 0, additional_result_filter = '', query_cache_nondeterministic_function"
        about = f"SELECT version(), timezone() SETTINGS {hidden}_handling = 'ignore'"
        about = self._engine.query(about, "TSV").bytes().decode()
        self.version, self.timezone = about.split()
        self._http = _Server(("127.0.0.1", self.port), type("Handler", (_Handler,), {"of": self}))
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let running queries end, hang up, and close the engine, so that another may open it."""
        self.closing.set()
        self._http.shutdown()
        for connected in list(self.sockets):
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        self._http.server_close()  # waits for the threads
        for session in self._sessions.values():
            session.connection.close()
        self._engine.close()

    @contextmanager
    def session(self, name: str, timeout: float) -> Iterator[Session]:
        """The named session, or without a name one for this request."""
        if not name:
            session = Session(chdb.connect(self.location))
            try:
                yield session
            finally:
                session.connection.close()
            return
        with self._lock:
            for old, session in list(self._sessions.items()):
                if session.ends < time.monotonic() and session.busy.acquire(blocking=False):
                    self._sessions.pop(old).connection.close()
            if name not in self._sessions:
                self._sessions[name] = Session(chdb.connect(self.location), lasts=True)
            session = self._sessions[name]
            if not session.busy.acquire(blocking=False):
                raise Failure(373, f"Session {name} is locked (SESSION_IS_LOCKED)")
        try:
            yield session
        finally:
            session.ends = time.monotonic() + timeout
            session.busy.release()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    of: ClickHouseHttp
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def setup(self) -> None:
        super().setup()
        self.of.sockets.add(self.connection)

    def finish(self) -> None:
        self.of.sockets.discard(self.connection)
        super().finish()

    def handle(self) -> None:
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
        """Read one request, and answer it or do what the fault says."""
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
                result = session.answer(statement, output, database, settings, parameters)
        finally:
            if fault == "lose_answer":  # with the session free again: clients retry at once
                self.hang_up()
        counts = {
            "read_rows": result.storage_rows_read(),
            "written_rows": result.rows_written(),
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

    def authenticate(self, fields: dict[str, str]) -> None:
        """Ask for user and password: in headers, by basic authentication, or in the URL."""
        user, password = fields.get("user"), fields.get("password")
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            user, _, password = base64.b64decode(token).decode().partition(":")
        user = self.headers.get("X-ClickHouse-User", user) or "default"
        password = self.headers.get("X-ClickHouse-Key", password) or ""
        if (user, password) != (self.of.user, self.of.password):
            raise Failure(
                516,
                f"{user}: Authentication failed: password is incorrect, or there is no user with "
                "such name. (AUTHENTICATION_FAILED)",
            )

    def hang_up(self) -> None:
        """Close the socket at once, without a word; the client sees a reset."""
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


class FaultFile:
    """The fault that a file asks for: {"match": "regex", "fault": "reset", "times": 2}."""

    def __init__(self, path: str) -> None:
        """The file may come later; a change of it starts the count anew."""
        self.path, self.seen, self.left = Path(path), None, 0.0

    def __call__(self, sql: str) -> Fault:
        """Read the file, and count."""
        with suppress(FileNotFoundError):
            seen = (self.path.stat().st_mtime_ns, self.path.read_text())
            wanted = json.loads(seen[1] or "{}")
            if seen != self.seen:
                self.seen, self.left = seen, wanted.get("times", float("inf"))
            if wanted and self.left > 0 and re.search(wanted["match"], sql, re.IGNORECASE):
                self.left -= 1
                return wanted["fault"]
        return None


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="ClickHouse's HTTP protocol over chDB, for tests")
    parser.add_argument("--path", required=True)
    parser.add_argument("--config-file")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--password", default="")
    parser.add_argument("--fault-file", help="JSON, see FaultFile")
    asked = parser.parse_args()
    where = (asked.path, asked.config_file, asked.port)
    with ClickHouseHttp(*where, password=asked.password) as server:
        server.fault = FaultFile(asked.fault_file) if asked.fault_file else None
        print(f"listening on {server.port}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()

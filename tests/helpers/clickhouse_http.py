"""A stand-in for a ClickHouse server: its HTTP protocol over chDB, for tests without a server.

    with ClickHouseHttp(path) as server: ...               # server.url, .port, .queries, .fault
    python tests/clickhouse_http.py --path DIR --port 0    # its own process, to be killed

It refuses what a server refuses and chDB does not: two statements in one request, writing by
GET, INFILE, a parameter above 128 KiB, a second query in a busy session. Results are answered
whole and uncompressed; external tables and `client_protocol_version` are not supported.
"""

import argparse
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from pathlib import Path

import chdb

from tests.helpers import clickhouse_collections
from tests.helpers.clickhouse_cluster import ClusterMode
from tests.helpers.clickhouse_failure import Failure
from tests.helpers.clickhouse_handler import Handler
from tests.helpers.clickhouse_session import Session

# "refuse", "reset", "lose_answer", "cut_answer", "http_500", ("delay", seconds) before executing or
# ("answer_late", seconds); see Handler.query
Fault = str | tuple[str, float] | None


class ClickHouseHttp:
    """The server, on 127.0.0.1; `fault` is called with each query, `queries` has their SQL, `urls`
    their URLs. With a `cluster` it demands what a cluster does."""

    def __init__(
        self,
        path: str | Path,
        config_file: str | Path | None = None,
        port: int = 0,
        user: str = "default",
        password: str = "",
    ) -> None:
        """Set the data's folder and the password; the port is opened on entering."""
        self.location = f"{path}?config-file={config_file}" if config_file else str(path)
        self.config_file = config_file
        self.port, self.user, self.password = port, user, password
        self.fault: Callable[[str], Fault] | None = None
        self.cluster: ClusterMode | None = None
        self.queries: list[str] = []
        self.urls: list[str] = []
        self.reads: list[tuple[str, int]] = []  # SQL, and rows that it read from tables
        self.sockets: set[socket.socket] = set()
        self.closing = threading.Event()
        self._sessions: dict[str, Session] = {}
        self._collections: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "ClickHouseHttp":
        """Open the engine and listen."""
        self._engine = chdb.connect(self.location)  # open as long as the server
        # Independent of what a user's profile does to answers.
        hidden = "offset = 0, additional_result_filter = '', query_cache_nondeterministic_function"
        about = f"SELECT version(), timezone() SETTINGS {hidden}_handling = 'ignore'"
        about = self._engine.query(about, "TSV").bytes().decode()
        self.version, self.timezone = about.split()
        release = tuple(map(int, self.version.split(".")[:2]))
        if self.config_file and release < clickhouse_collections.READS_ITS_OWN:
            self._collections = clickhouse_collections.read(self.config_file)
        self._http = _Server(("127.0.0.1", self.port), type("Handler", (Handler,), {"of": self}))
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
            session = Session(chdb.connect(self.location), collections=self._collections)
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
                self._sessions[name] = Session(
                    chdb.connect(self.location), lasts=True, collections=self._collections
                )
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


class FaultFile:
    """The fault that a file describes: {"match": "regex", "fault": "reset", "times": 2}."""

    def __init__(self, path: str) -> None:
        """The file may come later; a change of it restarts the count."""
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
    parser.add_argument("--user", default="default", help="'any' for all names")
    parser.add_argument("--password", default="")
    parser.add_argument("--fault-file", help="JSON, see FaultFile")
    options = parser.parse_args()
    where = (options.path, options.config_file, options.port)
    with ClickHouseHttp(*where, options.user, options.password) as server:
        server.fault = FaultFile(options.fault_file) if options.fault_file else None
        print(f"listening on {server.port}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()

"""A proxy in front of a local S3 that fails by rules: slow, refusing, cut short, changed.

with S3Faults(endpoint) as proxy:
    proxy.rule("GET", "video/a.jsonl", Status(503), times=2)
    ...                                     # AWS_ENDPOINT_URL = proxy.url
    assert proxy.hits == 2
"""

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

# Headers of one connection, which are not passed on.
_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "te"}

ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>{code}</Code><Message>{code}, by the test</Message></Error>"
)
CODES = {403: "AccessDenied", 404: "NoSuchKey", 500: "InternalError", 503: "SlowDown"}


@dataclass(frozen=True)
class Status:
    """Answer with an error of S3 instead of asking it."""

    status: int


@dataclass(frozen=True)
class Slow:
    """Wait before the answer, and then send its body in drops.

    Attributes:
        seconds: before the answer.
        drops: pieces of the body, with `pause` seconds after each.
    """

    seconds: float = 0.0
    drops: int = 1
    pause: float = 0.0


@dataclass(frozen=True)
class Cut:
    """Send a part of the body, though the whole is promised, and hang up.

    Attributes:
        part: of the body that is sent, 0 to 1.
        reset: hang up with a reset instead of an end.
    """

    part: float = 0.5
    reset: bool = False


@dataclass(frozen=True)
class Shorten:
    """Send a part of the body as if it were the whole: length and end agree, the ETag is that of
    the whole. What a broken cache on the way does."""

    part: float = 0.5


@dataclass(frozen=True)
class Meanwhile:
    """Do something (replace the object, delete it) between the requests before and this one. Not
    through the proxy: it passes nothing on meanwhile."""

    act: Callable[[], None]


@dataclass(frozen=True)
class Edit:
    """Answer with another body."""

    change: Callable[[bytes], bytes]


@dataclass(frozen=True)
class Refuse:
    """Hang up without an answer."""


Fault = Status | Slow | Cut | Shorten | Meanwhile | Edit | Refuse


@dataclass
class Rule:
    """Which requests a fault hits.

    Attributes:
        method: regular expression for HEAD, GET, PUT, … or LIST (a GET of a bucket's listing).
        key: text within the object's path, decoded; for LIST within its query.
        skip: matching requests that pass first.
        left: requests that it will hit yet.
    """

    method: str
    key: str
    fault: Fault
    skip: int = 0
    left: float = 1
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is hit; counts it."""
        if not re.fullmatch(self.method, method) or self.key not in path:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left <= 0:
            return False
        self.left -= 1
        self.hits += 1
        return True


@dataclass(frozen=True)
class Request:
    """A request that the proxy received, the answer's status (0: none) and the fault."""

    method: str
    path: str
    range: str
    status: int
    fault: str = ""


@dataclass
class S3Faults:
    """The proxy, on 127.0.0.1.

    Args:
        endpoint: the S3 behind it.

    Attributes:
        requests: all that came, in the order of their answers.
        rules: what fails.
    """

    endpoint: str
    requests: list[Request] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take a port."""
        self._lock = threading.Lock()
        self._turn, self._asking, self._alone = threading.Condition(), 0, False
        self._ended = threading.Event()
        self._http = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"of": self})
        )
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def hits(self) -> int:
        """Requests that a fault hit."""
        return sum(rule.hits for rule in self.rules)

    def __enter__(self) -> "S3Faults":
        """Listen."""
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening; waits of slow answers end."""
        self._ended.set()
        self._http.shutdown()
        self._http.server_close()

    def rule(self, method: str, key: str, fault: Fault, skip: int = 0, times: float = 1) -> Rule:
        """Add a rule; of several that match a request the first counts.

        Args:
            method: see `Rule`.
            key: see `Rule`.
            skip: matching requests that pass before the first that is hit.
            times: requests that are hit; float('inf') for all.
        """
        made = Rule(method, key, fault, skip, times)
        with self._lock:
            self.rules.append(made)
        return made

    def clear(self) -> None:
        """No faults from here on; what was counted stays."""
        with self._lock:
            for rule in self.rules:
                rule.left = 0

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The fault that a request meets."""
        with self._lock:
            return next((r.fault for r in self.rules if r.takes(method, path)), None)

    @contextmanager
    def turn(self, alone: bool = False) -> Iterator[None]:
        """Speak to the S3 behind: beside others, or alone, as who replaces an object must. (moto
        works out the ETag of a new object with the buffer that it also answers from: while
        somebody reads that object, it may get it wrong.)"""
        with self._turn:
            self._turn.wait_for(lambda: not self._alone and not (alone and self._asking))
            self._asking, self._alone = self._asking + 1, alone
        try:
            yield
        finally:
            with self._turn:
                self._asking, self._alone = self._asking - 1, False
                self._turn.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the proxy."""
        self._ended.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    of: S3Faults
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client went away
            super().handle()

    def pass_on(self) -> None:
        """Meet the fault, if there is one for this request, and answer."""
        url = urlsplit(self.path)
        listing = self.command == "GET" and "list-type" in url.query
        method = "LIST" if listing else self.command
        path = unquote(url.query if listing else url.path)
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.of.fault_for(method, path)
        name = type(fault).__name__ if fault else ""
        wanted = self.headers.get("Range", "")
        self.request_with = lambda status: Request(method, path, wanted, status, name)
        self.meet(fault, data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

    def record(self, status: int) -> None:
        """Note the request, before its answer goes out: who has the answer finds the request."""
        self.of.requests.append(self.request_with(status))

    def meet(self, fault: Fault | None, data: bytes) -> None:
        """Send the fault's answer."""
        if isinstance(fault, Refuse):
            self.record(0)
            self.hang_up(reset=True)
        elif isinstance(fault, Status):
            body = ERROR.format(code=CODES[fault.status]).encode()
            self.send(fault.status, [("Content-Type", "application/xml")], body)
        else:
            if isinstance(fault, Meanwhile):
                with self.of.turn(alone=True):
                    fault.act()
            if isinstance(fault, Slow):
                self.of.pause(fault.seconds)
            with self.of.turn():
                status, headers, body = self.ask(data)
            self.pass_back(None if status >= 300 else fault, status, headers, body)

    def pass_back(
        self, fault: Fault | None, status: int, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        """Send the answer of the S3 behind, changed by the fault."""
        if isinstance(fault, Shorten):
            self.send(status, headers, body[: int(len(body) * fault.part)])
        elif isinstance(fault, Edit):
            self.send(status, headers, fault.change(body))
        elif isinstance(fault, Slow):
            self.send(status, headers, body, drops=fault.drops, pause=fault.pause)
        elif isinstance(fault, Cut):
            sent = int(len(body) * fault.part)
            self.send(status, headers, body[:sent], promised=len(body))
            self.hang_up(fault.reset)
        else:
            self.send(status, headers, body)

    def ask(self, data: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the S3 behind: status, headers, body."""
        connection = http.client.HTTPConnection(urlsplit(self.of.endpoint).netloc, timeout=60)
        try:
            connection.request(self.command, self.path, data or None, dict(self.headers))
            answer = connection.getresponse()
            headers = answer.getheaders()
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def send(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        promised: int | None = None,
        drops: int = 1,
        pause: float = 0.0,
    ) -> None:
        """Send an answer; `promised` is the length that it claims."""
        self.record(status)
        length = str(len(body) if promised is None else promised)
        if self.command == "HEAD":
            length = dict((k.lower(), v) for k, v in headers).get("content-length", length)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        size = max(1, -(-len(body) // max(drops, 1)))
        for at in range(0, len(body), size):
            self.wfile.write(body[at : at + size])
            if pause:
                self.of.pause(pause)

    def hang_up(self, reset: bool) -> None:
        """Close the connection, with a reset or with an end."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            if reset:
                time.sleep(0.02)  # what was sent arrives first
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                socket.close(self.connection.detach())
            else:
                self.connection.shutdown(socket.SHUT_RDWR)

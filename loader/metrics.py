"""Serve metrics for Prometheus, and whether the process is healthy."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loader.errors import SettingsError

# Bounds in seconds of the histograms of durations.
_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)


@contextmanager
def board_for(port: int, silent_seconds: float) -> Iterator[Callable[..., None]]:
    """Serve /metrics and /healthz while the work runs.

    Args:
        port: where, on all addresses; 0 to serve nothing.
        silent_seconds: the process is unhealthy after so many seconds without progress.

    Yields:
        A function that receives what the work reports (see `supervisor.Link`).

    Raises:
        SettingsError: the port cannot be used, or prometheus_client is not installed.
    """
    if not port:
        yield lambda kind, **about: None
        return
    try:
        board = Board(silent_seconds)
    except ImportError:
        raise SettingsError(
            "--metrics-port needs the package prometheus_client; install it: make install"
        ) from None
    try:
        server = ThreadingHTTPServer(("", port), _handler(board))
    except OSError as error:
        raise SettingsError(f"--metrics-port {port} cannot be used: {error.strerror}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield board.record
    finally:
        server.shutdown()
        server.server_close()


class Board:
    """The latest numbers of the work.

    Args:
        silent_seconds: see `board_for`.
        clock: seconds, monotonic.
        now: the time, in seconds since 1970.
    """

    def __init__(
        self,
        silent_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ):
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        about = {"namespace": "xapi_elt", "registry": self.registry}
        self._silent_seconds = silent_seconds
        self._clock, self._now = clock, now
        self._progress, self._phase = clock(), "starting"
        self._tables: list[dict[str, Any]] = []
        self._tables_at = clock()
        self._objects = Counter("objects", "Objects by outcome", ["outcome"], **about)
        self._lines = Counter("lines_loaded", "Lines loaded", **about)
        self._load = Histogram("load_seconds", "Duration of loads", buckets=_SECONDS, **about)
        self._runs = Counter("transforms", "Runs of dbt by outcome", ["outcome"], **about)
        self._run = Histogram(
            "transform_seconds", "Duration of dbt runs", buckets=_SECONDS, **about
        )
        self._success = Gauge(
            "last_success_timestamp_seconds",
            "Last load, and last time that all tables had it all",
            ["what"],
            **about,
        )
        self._rejected = Gauge(
            "rejected_ratio", "Rejected lines per line loaded in the last 24 hours", **about
        )
        self._oldest = Gauge(
            "queue_oldest_seconds", "Age of the oldest message received last", **about
        )
        self._messages = Gauge("queue_messages", "Messages of the queue", ["state"], **about)
        self._lost = Counter("children_lost", "Child processes that died or hung", **about)
        for what in ("load", "transform"):
            self._success.labels(what)
        for outcome in ("committed", "failed", "unknown"):
            self._objects.labels(outcome)
        for outcome in ("done", "failed"):
            self._runs.labels(outcome)
        self.registry.register(self)

    def record(self, kind: str, **about: Any) -> None:
        """Take over what the work reports."""
        if kind == "lost":
            self._lost.inc()
            return
        self._progress = self._clock()
        report = getattr(self, f"_record_{kind}", None)
        if report:
            report(**about)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process is healthy, and why."""
        silent = self._clock() - self._progress
        is_healthy = silent <= self._silent_seconds
        return is_healthy, {
            "status": "ok" if is_healthy else "no progress",
            "phase": self._phase,
            "seconds_since_progress": round(silent, 1),
        }

    def collect(self) -> Iterable[Any]:
        """The lag of the tables, which grows until they are read again."""
        from prometheus_client.core import GaugeMetricFamily

        lag = GaugeMetricFamily(
            "xapi_elt_table_lag_seconds",
            "Age of the oldest committed load that a table lacks; 0 if it has all",
            labels=["table"],
        )
        loads = GaugeMetricFamily(
            "xapi_elt_table_waiting_loads", "Committed loads that a table lacks", labels=["table"]
        )
        behind = GaugeMetricFamily(
            "xapi_elt_table_behind", "Whether dbt has something to do for a table", labels=["table"]
        )
        since = self._clock() - self._tables_at
        for row in self._tables:
            name = [row["name"]]
            behind.add_metric(name, row["is_behind"])
            if row["kind"] == "table":
                seconds = row["lag_seconds"] + since if row["waiting_loads"] else 0
                lag.add_metric(name, seconds)
                loads.add_metric(name, row["waiting_loads"])
        return [lag, loads, behind]

    def _record_alive(self, phase: str) -> None:
        self._phase = phase

    def _record_load(self, objects: dict[str, int], lines: int, seconds: float) -> None:
        for outcome, count in objects.items():
            self._objects.labels(outcome).inc(count)
        self._lines.inc(lines)
        self._load.observe(seconds)
        if not objects.get("failed") and not objects.get("unknown"):
            self._success.labels("load").set(self._now())

    def _record_transform(self, is_done: bool, seconds: float) -> None:
        self._runs.labels("done" if is_done else "failed").inc()
        self._run.observe(seconds)
        if is_done:
            self._success.labels("transform").set(self._now())

    def _record_numbers(self, tables: list[dict[str, Any]], last_day: dict[str, Any]) -> None:
        self._tables, self._tables_at = tables, self._clock()
        if not any(row["is_behind"] for row in tables):
            self._success.labels("transform").set(self._now())
        if last_day:
            self._rejected.set(last_day["rejected_share"])

    def _record_queue(self, oldest_seconds: float, **depth: int) -> None:
        self._oldest.set(oldest_seconds)
        for state, count in depth.items():
            self._messages.labels(state).set(count)


def _handler(board: Board) -> type[BaseHTTPRequestHandler]:
    from prometheus_client import generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    class Handler(BaseHTTPRequestHandler):
        """Answers GET /metrics and GET /healthz."""

        def do_GET(self) -> None:
            """Answer."""
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(board.registry))
            elif self.path == "/healthz":
                is_healthy, about = board.health()
                body = json.dumps(about).encode()
                self._answer(200 if is_healthy else 503, "application/json", body)
            else:
                self._answer(404, "text/plain", b"/metrics, /healthz\n")

        def log_message(self, *_: Any) -> None:
            """Write nothing: scrapes come every few seconds."""

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler

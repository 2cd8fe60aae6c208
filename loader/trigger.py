"""Answer an event: load what it names, and say exactly which messages must come again."""

import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loader import bulk, bundles, events, guard, health
from loader.errors import LoaderError, PermanentError, RetryableError
from loader.http_warehouse import HttpWarehouse
from loader.ledger import Outcome
from loader.load import load
from loader.log import Log, Metrics
from loader.objects import S3Object
from loader.queue import Queue, QueueError
from loader.secret import clickhouse_password
from loader.settings import Settings
from loader.warehouse import Warehouse

# Seconds after which a message comes again that another attempt will most likely not help:
# soon, so that it is in the dead-letter queue, and its alarm rung, within minutes.
SOON = 30

# Longest wait before the next attempt at what may pass, in seconds.
LONGEST_WAIT = 900

# Receipts of messages, and in how many seconds each is to come again.
Delay = Callable[[list[tuple[str, int]]], None]


@dataclass
class Verdict:
    """What became of one message.

    Attributes:
        reasons: why it failed; empty if all it names is loaded (now or before).
        retryable: whether another attempt may help.
    """

    message: events.Message
    reasons: list[str] = field(default_factory=list)
    retryable: bool = False

    def wait(self, base: int) -> int:
        """Seconds until the next attempt: longer each time for what may pass."""
        if not self.retryable:
            return min(SOON, base)
        return min(base * 4 ** min(self.message.receives - 1, 9), LONGEST_WAIT)


class Trigger:
    """What the Lambda handler, `xapi-elt worker` and `xapi-elt invoke` do with an event.

    Args:
        settings: the settings.
        connect: opens the warehouse; it is kept from event to event.
        log: where log events and metrics go.
        delay: told in how many seconds failed messages are to come again; their queue's own
            visibility timeout counts if left out.
        clock: seconds, for durations and deadlines.
        now: the time, for lags.

    Attributes:
        committed: objects it has committed so far.
    """

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], Warehouse],
        log: Log | None = None,
        delay: Delay | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._settings = settings
        self._connect = connect
        self._log = log or Log(settings.log_level)
        self.delay = delay
        self.committed = 0
        self._clock = clock
        self._now = now
        self._warehouse: Warehouse | None = None
        self._deadline: float | None = None

    def answer(self, event: Any, seconds: float | None = None) -> dict[str, Any]:
        """Do what an event asks for.

        Args:
            event: any that `events.read` knows.
            seconds: time to do it in, if there is a limit.

        Returns:
            For messages of a queue those to be handed out again (`batchItemFailures`); else what
            was done.

        Raises:
            LoaderError: something failed and there is no queue to tell.
        """
        self._deadline = None if seconds is None else self._clock() + seconds
        try:
            request = events.read(event)
        except events.UnknownEventError as error:
            self._log("ERROR", "unknown_event", error=str(error), body=event)
            raise
        if isinstance(request, events.Notifications):
            return self._load_messages(request)
        if isinstance(request, events.Bundle):
            return self._load_bundle(request)
        if isinstance(request, events.Bulk):
            return self._load_bulk(request)
        return health.answer(self._open, self._settings, request.diagnostics)

    def prepare(self) -> None:
        """Make an embedded database ready, so that dbt finds it also before the first load; refuse
        an engine that could lose or double rows. A server that is down is no reason to stop.

        Raises:
            UnavailableError: another process has an embedded database open.
            UnsafeEngineError: the engine is refused (see `guard`).
        """
        try:
            self._open()
        except LoaderError as error:
            unsafe = isinstance(error, guard.UnsafeEngineError)
            if unsafe or self._settings.target == "embedded":
                raise
            self._log("WARNING", "no_warehouse", error=str(error))

    def close(self) -> None:
        """Let go of the warehouse; the next event opens it again."""
        if self._warehouse:
            self._warehouse.close()
        self._warehouse = None

    def _open(self) -> Warehouse:
        warehouse = self._warehouse or self._connect()
        if isinstance(warehouse, HttpWarehouse):
            warehouse.deadline = self._deadline
            if not self._warehouse:
                # The others are guarded where they are opened.
                guard.require(warehouse)
        self._warehouse = warehouse
        return warehouse

    def _load_messages(self, request: events.Notifications) -> dict[str, Any]:
        tally = _Tally(self._log, Metrics(self._settings.environment), self._clock, self._now)
        objects = [item for message in request.messages for item in message.objects]
        error = self._load(objects, tally)
        verdicts = [tally.verdict(message, error) for message in request.messages]
        failed = [verdict for verdict in verdicts if verdict.reasons]
        for verdict in failed:
            self._log_rejected(verdict)
        self._finish(tally, len(request.messages), len(failed))
        if request.queued:
            self._say_when(failed)
            return {"batchItemFailures": [{"itemIdentifier": v.message.id} for v in failed]}
        if failed:
            kind = RetryableError if failed[0].retryable else PermanentError
            raise kind("; ".join(failed[0].reasons[:3]))
        return tally.summary()

    def _load_bundle(self, request: events.Bundle) -> dict[str, Any]:
        tally = _Tally(self._log, Metrics(self._settings.environment), self._clock, self._now)
        body = request.body.encode("utf-8", "surrogatepass")
        item = bundles.bundle(body, request.key, self._now())
        error = self._load([item], tally, mode="test", body=body)
        verdict = tally.verdict(events.Message(objects=(item,)), error)
        self._finish(tally, 1, len(verdict.reasons))
        if verdict.reasons:
            raise (RetryableError if verdict.retryable else PermanentError)(verdict.reasons[0])
        return tally.summary() | {"key": item.key}

    def _load_bulk(self, request: events.Bulk) -> dict[str, Any]:
        tally = _Tally(self._log, Metrics(self._settings.environment), self._clock, self._now)
        deadline = self._deadline

        def remaining() -> float:
            return float("inf") if deadline is None else deadline - self._clock()

        answer = bulk.run(self._open, self._settings, request, remaining, tally.add)
        if not request.dry_run:
            self._finish(tally)
        return answer

    def _load(
        self, objects: list[S3Object], tally: "_Tally", mode: str = "event", body: bytes = b""
    ) -> Exception | None:
        """Load objects; returns what stopped it before it had tried them all."""
        if not objects:
            return None
        try:
            warehouse = self._open()
            source = None
            if mode == "test":
                source = bundles.BundleSource(warehouse, self._settings, body)
            for batch in load(warehouse, self._settings, objects, mode=mode, source=source):
                tally.add(batch)
        except LoaderError as error:
            self._log("ERROR", "load_stopped", error=str(error))
            return error
        except Exception as error:
            # A fault of ours must not acknowledge anything either.
            self._log("ERROR", "load_broke", error=repr(error), trace=traceback.format_exc())
            self.close()
            return error
        return None

    def _finish(self, tally: "_Tally", messages: int = 0, rejected: int = 0) -> None:
        tally.finish(messages, rejected)
        self.committed += tally.committed

    def _log_rejected(self, verdict: Verdict) -> None:
        message = verdict.message
        about = {"message_id": message.id, "receives": message.receives, "error": verdict.reasons}
        if message.error:
            self._log("ERROR", "unknown_message", **about, body=message.body)
        else:
            self._log("WARNING", "message_rejected", **about, retryable=verdict.retryable)

    def _say_when(self, failed: list[Verdict]) -> None:
        """Tell the queue when failed messages are to come again. Where that does not work, they
        come after the queue's own visibility timeout."""
        if not failed or not self.delay:
            return
        base = self._settings.retry_seconds
        try:
            self.delay([(verdict.message.receipt, verdict.wait(base)) for verdict in failed])
        except QueueError as error:
            self._log("WARNING", "delay_refused", error=str(error))


class _Tally:
    """Counts, logs and measures the outcomes of one event."""

    def __init__(self, log: Log, metrics: Metrics, clock, now):
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._started = clock()
        self._by_path: dict[str, Outcome] = {}
        self._counts: Counter[str] = Counter()
        self._rows = 0

    def add(self, batch: list[Outcome]) -> None:
        """Take the outcomes of a batch: one log event each."""
        for outcome in batch:
            item = outcome.item
            self._by_path[item.path] = outcome
            self._counts[outcome.outcome] += 1
            self._rows += outcome.rows
            failed = outcome.outcome in ("failed", "unknown")
            self._log(
                "WARNING" if failed else "INFO",
                "object",
                object=item.uri,
                etag=item.etag,
                outcome=outcome.outcome,
                rows=outcome.rows,
                duration_ms=self._milliseconds(),
                load_id=outcome.load_id,
                **({"error": outcome.error} if outcome.error else {}),
            )
            if outcome.outcome == "committed" and item.event_time:
                lag = (self._now() - item.event_time).total_seconds() * 1000
                self._metrics.add("CommitLag", max(0, round(lag)))

    def verdict(self, message: events.Message, error: Exception | None) -> Verdict:
        """What became of a message; one that names several objects fails with any of them."""
        if message.error:
            return Verdict(message, [message.error])
        verdict = Verdict(message)
        for item in message.objects:
            outcome = self._by_path.get(item.path)
            if outcome is None:
                # It was not tried, or not to its end: that says nothing against it, so it may come
                # again.
                verdict.reasons.append(f"{item.uri} was not loaded: {error}")
                verdict.retryable = True
            elif outcome.outcome in ("failed", "unknown"):
                verdict.reasons.append(outcome.error)
                verdict.retryable |= outcome.retryable or outcome.outcome == "unknown"
        return verdict

    def finish(self, messages: int, rejected: int) -> None:
        """Write the event's summary and its metrics."""
        duration = self._milliseconds()
        about = {"messages": messages, "rejected": rejected, "duration_ms": duration}
        self._log("INFO", "loaded", objects=dict(self._counts), rows=self._rows, **about)
        self._metrics.add("ObjectsLoaded", self._counts["committed"])
        self._metrics.add("RowsLoaded", self._rows)
        self._metrics.add("MessagesRejected", rejected)
        if self._counts:
            self._metrics.add("LoadDuration", duration)
        self._log.metrics(self._metrics)

    @property
    def committed(self) -> int:
        """Objects committed."""
        return self._counts["committed"]

    def summary(self) -> dict[str, Any]:
        """What was done, for who asked."""
        return {"objects": dict(self._counts), "rows": self._rows}

    def _milliseconds(self) -> int:
        return round((self._clock() - self._started) * 1000)


def from_settings(
    settings: Settings, delay: Delay | None = None, log: Log | None = None
) -> Trigger:
    """The trigger for the target of the settings: over HTTP, or in this process."""
    return Trigger(settings, lambda: _connect(settings), log, delay)


def for_lambda() -> Trigger:
    """The trigger of the deployed function: settings from its environment, its own queue."""
    settings = Settings.from_env()
    delay = Queue(settings.queue_url).delay if settings.queue_url else None
    return from_settings(settings, delay)


def _connect(settings: Settings) -> Warehouse:
    if settings.target != "embedded":
        return HttpWarehouse(settings, lambda: clickhouse_password(settings))
    # Not in the Lambda: they need the engine.
    from loader import schema
    from loader.warehouse import open_warehouse

    warehouse = open_warehouse(settings)
    schema.init(warehouse, settings)
    return warehouse

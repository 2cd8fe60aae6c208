"""Answer an event: load the objects it names, and return the messages to deliver again."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from loader.aws.password import clickhouse_password
from loader.aws.sqs import Queue
from loader.bulk import resumable
from loader.bulk.selection import BulkRequest
from loader.clickhouse.http import open_http
from loader.clickhouse.safety import UnsafeEngineError
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError, PermanentError, RetryableError, describe
from loader.events import health, messages
from loader.events.notifications import UnknownEventError
from loader.events.shapes import for_log
from loader.events.tally import Tally
from loader.events.verdicts import Verdict, verdict
from loader.files import BundleSource, bundle
from loader.load import load
from loader.log import Log, Metrics
from loader.objects import S3Object
from loader.outcomes import Summary
from loader.settings import Settings

# Sets after how many seconds each message (by its receipt handle) is delivered again.
Delay = Callable[[list[tuple[str, int]]], None]

# Opens the warehouse; all its statements must be done by the deadline, if there is one.
Connect = Callable[[float | None], Warehouse]


@dataclass
class Trigger:
    """Handles events for the Lambda handler, `xapi-elt worker` and `xapi-elt invoke`.

    Attributes:
        settings: the settings.
        connect: opens the warehouse, which stays open between events.
        log: writes log events and metrics.
        delay: sets when failed messages are delivered again; None to leave that to the queue's
            visibility timeout.
        clock: seconds, monotonic; for durations and deadlines.
        now: the time; for the lag between a notification and its commit.
        committed: number of objects committed so far.
        on_load: called after each load with its summary and its duration in seconds.
    """

    settings: Settings
    connect: Connect
    log: Log = field(default_factory=Log)
    delay: Delay | None = None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    committed: int = 0
    on_load: Callable[[Summary, float], None] | None = None
    _warehouse: Warehouse | None = None
    _deadline: float | None = None

    def answer(self, event: Any, seconds: float | None = None) -> dict[str, Any]:
        """Do what an event requests.

        Args:
            event: an event that `messages.read` accepts.
            seconds: time limit; None for no limit.

        Returns:
            For messages of a queue, those to deliver again (`batchItemFailures`); else a report of
            what was done.

        Raises:
            LoaderError: something failed, and there is no queue to report it to.
        """
        self._deadline = None if seconds is None else self.clock() + seconds
        try:
            return self._answer(event)
        except LoaderError:
            raise
        except Exception as error:
            # Lambda logs the text of what it is given, and that of a bug may quote a password.
            self.log("ERROR", "broke", error=describe(error))
            raise RetryableError(describe(error)) from None

    def _answer(self, event: Any) -> dict[str, Any]:
        try:
            request = messages.read(event)
        except UnknownEventError as error:
            self.log("ERROR", "unknown_event", error=str(error), **for_log(event))
            raise
        if isinstance(request, messages.Notifications):
            return self._load_notifications(request)
        if isinstance(request, messages.Bundle):
            return self._load_bundle(request)
        if isinstance(request, BulkRequest):
            return self._load_bulk(request)
        return health.answer(self._open, self.settings, request.diagnostics)

    def prepare(self) -> None:
        """Open the warehouse before the first event.

        This creates the tables of an embedded database, for dbt, and refuses an unsafe engine. A
        server that does not respond is only logged, because it may respond later.

        Raises:
            UnavailableError: another process has the embedded database open.
            SettingsError: the folder of the embedded database cannot be used.
            UnsafeEngineError: the engine is refused (see `clickhouse.safety`).
        """
        try:
            self._open()
        except LoaderError as error:
            if isinstance(error, UnsafeEngineError) or self.settings.target == "embedded":
                raise
            self.log("WARNING", "no_warehouse", error=str(error))

    def close(self) -> None:
        """Close the warehouse; the next event opens it again."""
        if self._warehouse:
            self._warehouse.close()
        self._warehouse = None

    def _open(self) -> Warehouse:
        if self._warehouse is None:
            self._warehouse = self.connect(self._deadline)
        self._warehouse.deadline = self._deadline
        return self._warehouse

    def _load_notifications(self, request: messages.Notifications) -> dict[str, Any]:
        """Load the objects of all messages, decide which messages failed, and answer."""
        objects = [item for message in request.messages for item in message.objects]
        tally, stopped = self._load(
            objects,
            lambda warehouse: load(warehouse, self.settings, objects, mode="event"),
        )
        verdicts = [verdict(message, tally.outcomes, stopped) for message in request.messages]
        failed = [one for one in verdicts if one.failed]
        for one in failed:
            self._log_rejected(one)
        self._finish(tally, len(verdicts), len(failed))
        if request.queued:
            self._set_delays(failed)
            return {"batchItemFailures": [{"itemIdentifier": one.message.id} for one in failed]}
        _raise_first(failed)
        return _numbers(tally)

    def _load_bundle(self, request: messages.Bundle) -> dict[str, Any]:
        body = request.body.encode("utf-8", "surrogatepass")
        item = bundle(body, request.key, self.now())

        def load_body(warehouse: Warehouse) -> Iterable:
            source = BundleSource(warehouse, self.settings, body)
            return load(warehouse, self.settings, [item], mode="test", source=source)

        tally, stopped = self._load([item], load_body)
        failed = [verdict(messages.Message(objects=(item,)), tally.outcomes, stopped)]
        failed = [one for one in failed if one.failed]
        self._finish(tally, 1, len(failed))
        _raise_first(failed)
        return _numbers(tally) | {"key": item.key}

    def _load_bulk(self, request: BulkRequest) -> dict[str, Any]:
        tally, deadline = self._tally(), self._deadline

        def remaining() -> float:
            return float("inf") if deadline is None else deadline - self.clock()

        answer = resumable.run(self._open, self.settings, request, remaining, tally.add)
        if not request.dry_run:
            self._finish(tally)
        return answer

    def _load(
        self, objects: list[S3Object], batches: Callable[[Warehouse], Iterable]
    ) -> tuple[Tally, Exception | None]:
        """Load objects.

        Returns:
            Their outcomes, and the error that ended the load before all were attempted, if any.
        """
        tally = self._tally()
        try:
            for outcomes in batches(self._open()) if objects else ():
                tally.add(outcomes)
        except LoaderError as error:
            self.log("ERROR", "load_stopped", error=str(error))
            return tally, error
        except Exception as error:
            # After a bug in this program nothing may be acknowledged either.
            self.log("ERROR", "load_broke", error=describe(error))
            self.close()
            return tally, error
        return tally, None

    def _tally(self) -> Tally:
        metrics = Metrics(self.settings.environment, self.settings.stack)
        return Tally(self.log, metrics, self.clock, self.now)

    def _finish(self, tally: Tally, messages: int = 0, rejected: int = 0) -> None:
        tally.finish(messages, rejected)
        self.committed += tally.summary.committed
        if self.on_load:
            self.on_load(tally.summary, tally.seconds)

    def _log_rejected(self, failed: Verdict) -> None:
        message = failed.message
        about = {"message_id": message.id, "receives": message.receives, "error": failed.reasons}
        if message.error:
            self.log("ERROR", "unknown_message", **about, **message.shape)
        else:
            self.log("WARNING", "message_rejected", **about, retryable=failed.retryable)

    def _set_delays(self, failed: list[Verdict]) -> None:
        """Set when failed messages are delivered again. If that fails, the queue's visibility
        timeout applies."""
        if not failed or not self.delay:
            return
        base = self.settings.retry_seconds
        try:
            self.delay([(one.message.receipt, one.wait(base)) for one in failed])
        except LoaderError as error:
            self.log("WARNING", "delay_refused", error=str(error))


def from_settings(
    settings: Settings, delay: Delay | None = None, log: Log | None = None
) -> Trigger:
    """Make the trigger for the target of the settings: a server, or the embedded engine.

    Args:
        settings: the settings.
        delay: see `Trigger`.
        log: see `Trigger`; standard output if left out.
    """
    connect = _connect_embedded if settings.target == "embedded" else _connect_server
    return Trigger(settings, partial(connect, settings), log or Log(settings.log_level), delay)


def for_lambda() -> Trigger:
    """Make the trigger of the deployed function, with the settings of its environment.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = Settings.from_env()
    delay = Queue(settings.queue_url).delay if settings.queue_url else None
    return from_settings(settings, delay)


def _connect_server(settings: Settings, deadline: float | None) -> Warehouse:
    return open_http(settings, lambda: clickhouse_password(settings), deadline)


def _connect_embedded(settings: Settings, deadline: float | None) -> Warehouse:
    # Imported here: the Lambda has no engine.
    from loader.clickhouse import schema
    from loader.clickhouse.connect import open_warehouse

    warehouse = open_warehouse(settings)
    schema.init(warehouse, settings)
    return warehouse


def _numbers(tally: Tally) -> dict[str, Any]:
    return {"objects": dict(tally.summary.counts), "rows": tally.summary.rows}


def _raise_first(failed: list[Verdict]) -> None:
    """Raise the first failure; used if there is no queue to report it to."""
    if failed:
        kind = RetryableError if failed[0].retryable else PermanentError
        raise kind("; ".join(failed[0].reasons[:3]))

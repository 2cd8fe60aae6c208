"""Consume the queue without Lambda, in the way of Lambda's event source mapping."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loader.aws.sqs import Queue
from loader.dbt_run import Transform
from loader.errors import LoaderError, SettingsError, describe
from loader.events.trigger import Trigger
from loader.log import Log
from loader.outcomes import Summary
from loader.supervisor import Link, LocalLink

# Seconds of one long poll; a stop waits at most this long for it.
POLL = 5

# Messages of one answer of SQS.
MOST_AT_ONCE = 10

# Seconds for which messages of a window gather between two requests.
PAUSE = 0.25

# Seconds between two looks at how many messages wait.
DEPTH_EVERY = 30

# Longest pause in seconds after the queue did not respond.
LONGEST_PAUSE = 30


@dataclass
class Totals:
    """Numbers of what a worker has done: batches and messages received, messages that failed, runs
    of dbt, and those that failed; reports that failed."""

    batches: int = 0
    messages: int = 0
    failed: int = 0
    transforms: int = 0
    failed_transforms: int = 0
    failed_reports: int = 0


class Worker:
    """Receives batches from a queue, loads them and acknowledges the messages that are done.

    Args:
        queue: where the messages come from. SQS itself moves messages that failed too often to the
            dead-letter queue.
        trigger: loads the batches; the worker sets its `delay`.
        log: writes log events.
        batch_size: largest number of messages in a batch.
        window: seconds to wait for a full batch, from its first message.
        transform: runs dbt after loads; None to run it elsewhere.
        report: updates the pages after a run of dbt, and returns whether it succeeded; None for no
            pages.
        poll: seconds of one long poll.
        release: whether to close the warehouse after each batch and the run of dbt that may follow
            it, so that other processes can open an embedded database.
        link: where progress and numbers are reported.
        stop: when set, the worker ends after the current batch; that of the link if left out.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        queue: Queue,
        trigger: Trigger,
        log: Log,
        *,
        batch_size: int = 100,
        window: float = 5,
        transform: Transform | None = None,
        report: Callable[[], bool] | None = None,
        poll: int = POLL,
        release: bool = False,
        link: Link | None = None,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.totals = Totals()
        self._queue = queue
        self._trigger = trigger
        self._log = log
        self._batch_size = batch_size
        self._window = window
        self._transform = transform
        self._report = report
        self._poll = poll
        self._release = release
        self._link = link or LocalLink()
        self._stop = stop or self._link.stop
        self._clock = clock
        self._delays: list[tuple[str, int]] = []
        self._depth_at = 0.0
        self._is_drained = False
        trigger.delay = self._delays.extend
        trigger.on_load = self._report_load

    def run(self, once: bool = False) -> Totals:
        """Work until `stop` is set.

        Args:
            once: whether to end when the queue is empty.

        Raises:
            LoaderError: with `once`, the queue does not respond.
            UnavailableError: another process has the embedded database open.
            SettingsError: the engine is unsafe, or the embedded database cannot be used.
        """
        self._trigger.prepare()
        if self._release:
            self._trigger.close()
        visibility = self._visibility(once)
        self._log("INFO", "started", queue=self._queue.url, visibility_seconds=visibility)
        pause = 1.0
        while not self._stop.is_set():
            self._link.alive("idle")
            try:
                records = self._collect(once)
                pause = 1.0
            except LoaderError as error:
                if once:
                    raise
                self._log("ERROR", "queue_silent", error=str(error), pause_seconds=pause)
                self._stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            self._report_queue(records)
            if records:
                self._link.alive("loading")
                self._process(records, visibility)
            # If messages always arrive, no batch is empty, and dbt would run only after loads have
            # waited for 30 seconds.
            self._build(idle=self._is_drained)
            if once and not records:
                break
            if self._release:
                self._trigger.close()
            # A run with an end is short; a new process would begin it again.
            if self._transform and not once and self._transform.is_worn:
                break
        self._trigger.close()
        self._log("INFO", "stopped", **vars(self.totals))
        return self.totals

    def _visibility(self, once: bool) -> int:
        """The queue's visibility timeout in seconds; 30 if the queue does not respond."""
        try:
            return max(self._queue.visibility(), 1)
        except LoaderError as error:
            if once or isinstance(error, SettingsError):
                raise
            self._log("WARNING", "queue_silent", error=str(error))
            return 30

    def _collect(self, once: bool) -> list[dict[str, Any]]:
        """Receive a batch: the messages that arrive within the window, at most a full batch; with
        `once`, those that are in the queue now. Sets whether nothing is left in the queue: the last
        answer had less than it could."""
        records = self._queue.receive(self._batch_size, min(self._poll, 1) if once else self._poll)
        self._is_drained = len(records) < min(self._batch_size, MOST_AT_ONCE)
        until = self._clock() + self._window
        while 0 < len(records) < self._batch_size and not self._stop.is_set():
            if self._is_drained and not once:
                left = until - self._clock()
                if left <= 0:
                    break
                # A long poll would take a request for each message, because it ends with the first.
                self._stop.wait(min(left, PAUSE))
            try:
                room = self._batch_size - len(records)
                more = self._queue.receive(room, 0)
            except LoaderError:
                break  # process the messages received so far
            self._is_drained = len(more) < min(room, MOST_AT_ONCE)
            records += more
            if once and not more:
                break
        return records

    def _process(self, records: list[dict[str, Any]], visibility: int) -> None:
        """Load a batch and acknowledge the messages that are done."""
        self._delays.clear()
        receipts = {record["messageId"]: record["receiptHandle"] for record in records}
        failed = set(receipts)
        try:
            with self._kept_hidden(list(receipts.values()), visibility):
                answer = self._trigger.answer({"Records": records})
            failed = _failed_ids(answer, receipts)
        except Exception as error:
            # No message is acknowledged; SQS delivers all again after the visibility timeout.
            self._log("ERROR", "batch_broke", error=describe(error))
        try:
            self._queue.delete(receipt for id_, receipt in receipts.items() if id_ not in failed)
            self._queue.delay(self._delays)
        except LoaderError as error:
            # SQS delivers these messages again; the ledger then skips their objects.
            self._log("WARNING", "queue_refused", error=str(error))
        self.totals.batches += 1
        self.totals.messages += len(records)
        self.totals.failed += len(failed)

    @contextmanager
    def _kept_hidden(self, receipts: list[str], visibility: int):
        """Keep messages hidden from other workers while this one processes them."""
        done = threading.Event()

        def extend() -> None:
            while not done.wait(max(visibility / 3, 0.3)):
                try:
                    self._queue.delay((receipt, visibility) for receipt in receipts)
                except LoaderError as error:
                    self._log("WARNING", "heartbeat_refused", error=str(error))

        thread = threading.Thread(target=extend, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _report_load(self, summary: Summary, seconds: float) -> None:
        self._link.report(
            "load", objects=dict(summary.counts), lines=summary.rows, seconds=round(seconds, 3)
        )

    def _report_queue(self, records: list[dict[str, Any]]) -> None:
        """Report how old the oldest message of a batch is, and now and then how many wait."""
        sent = [int(record["attributes"].get("SentTimestamp") or 0) for record in records]
        oldest = max(0.0, time.time() - min(sent) / 1000) if sent and min(sent) else 0.0
        about: dict[str, float] = {"oldest_seconds": round(oldest, 1)}
        if self._clock() - self._depth_at >= DEPTH_EVERY or not self._depth_at:
            self._depth_at = self._clock()
            try:
                about["waiting"], about["in_flight"] = self._queue.depth()
            except LoaderError as error:
                self._log("WARNING", "queue_silent", error=str(error))
        self._link.report("queue", **about)

    def _build(self, idle: bool) -> None:
        """Run dbt if it is due, and update the pages."""
        if not self._transform or self._stop.is_set():
            return
        self._transform.note(self._trigger.committed)
        if self._transform.is_due(idle):
            outcome = self._transform.update()
            if outcome == "nothing":
                return
            self.totals.transforms += 1
            if outcome == "failed":
                self.totals.failed_transforms += 1
            elif self._report and not self._report():
                self.totals.failed_reports += 1


def _failed_ids(answer: dict[str, Any], receipts: dict[str, str]) -> set[str]:
    """The ids of messages that must not be acknowledged: those in the answer, or all if the answer
    has one that was not in the batch (as Lambda does)."""
    named = {failure.get("itemIdentifier") for failure in answer["batchItemFailures"]}
    return named if named <= receipts.keys() else set(receipts)

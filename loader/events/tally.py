"""Count and log the objects that one event loads, and write its metrics."""

from collections.abc import Callable, Iterable
from datetime import datetime

from loader.log import Log, Metrics
from loader.outcomes import Outcome, Summary


class Tally:
    """The outcomes of one event: a log event for each object, a summary and metrics at the end.

    Args:
        log: writes the log events and metrics.
        metrics: where the numbers of the event are added.
        clock: seconds, monotonic; for durations.
        now: the time; for the lag between a notification and its commit.

    Attributes:
        outcomes: the latest outcome of each object, by path; a failure stays.
        summary: counts of all outcomes.
    """

    def __init__(
        self,
        log: Log,
        metrics: Metrics,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ):
        self.outcomes: dict[str, Outcome] = {}
        self.summary = Summary()
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._started = clock()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count the outcomes of a batch and log each."""
        outcomes = list(outcomes)
        self.summary.add(outcomes)
        for outcome in outcomes:
            # Two messages may name two versions of one object: if one fails, both are repeated.
            earlier = self.outcomes.get(outcome.item.path)
            if not earlier or not earlier.is_failed:
                self.outcomes[outcome.item.path] = outcome
            self._log_outcome(outcome)
            event_time = outcome.item.event_time
            if outcome.is_committed and event_time:
                lag = (self._now() - event_time).total_seconds() * 1000
                self._metrics.add("CommitLag", max(0, round(lag)))

    def finish(self, messages: int = 0, rejected: int = 0) -> None:
        """Write the summary and the metrics of the event.

        Args:
            messages: number of messages in it.
            rejected: number of those that must be delivered again.
        """
        duration, summary = self._milliseconds(), self.summary
        about = {"messages": messages, "rejected": rejected, "duration_ms": duration}
        self._log("INFO", "loaded", objects=dict(summary.counts), rows=summary.rows, **about)
        self._metrics.add("ObjectsLoaded", summary.committed)
        self._metrics.add("RowsLoaded", summary.rows)
        self._metrics.add("MessagesRejected", rejected)
        if summary.done:
            self._metrics.add("LoadDuration", duration)
        self._log.metrics(self._metrics)

    def _log_outcome(self, outcome: Outcome) -> None:
        self._log(
            "WARNING" if outcome.is_failed or outcome.outcome == "missed" else "INFO",
            "object",
            object=outcome.item.uri,
            etag=outcome.item.etag,
            outcome=outcome.outcome,
            rows=outcome.rows,
            duration_ms=self._milliseconds(),
            load_id=outcome.load_id,
            **({"error": outcome.error} if outcome.error else {}),
        )

    @property
    def seconds(self) -> float:
        """How long the event has taken so far."""
        return self._clock() - self._started

    def _milliseconds(self) -> int:
        return round(self.seconds * 1000)

"""The outcomes of loading objects: one for each, and their summary."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from loader.objects import S3Object


@dataclass(frozen=True)
class Outcome:
    """The outcome of one object.

    Attributes:
        item: the object; if it was read, with the version that was read.
        outcome: committed, skipped (the ledger already has this version), ignored (by policy: the
            ledger has another version), failed, unknown (no response in time) or missed (this
            version was overwritten before it was read, and cannot be read any more). Only
            committed rows count.
        rows: number of lines loaded.
        error: why it failed, in one line; '' if it did not.
        retryable: whether another attempt may succeed.
        load_id: the attempt; None if there was none.
    """

    item: S3Object
    outcome: str
    rows: int = 0
    error: str = ""
    retryable: bool = False
    load_id: UUID | None = None

    @property
    def is_committed(self) -> bool:
        """Whether its lines are visible now."""
        return self.outcome == "committed"

    @property
    def is_failed(self) -> bool:
        """Whether it must be loaded again: it failed, or its outcome is unknown."""
        return self.outcome in ("failed", "unknown")


@dataclass
class Summary:
    """The outcomes of many objects.

    Attributes:
        requested: number of objects to load.
        counts: number of objects by outcome (see `Outcome`).
        rows: number of lines loaded.
        bytes: bytes of the loaded objects, as stored.
        inserts: number of load attempts that committed something.
        failed: the outcomes failed and unknown.
        missed: the outcomes missed; the version that is there now has an outcome of its own.
        seconds: how long it took.
        stopped: why the rest was not attempted; '' if everything was.
    """

    requested: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    bytes: int = 0
    inserts: int = 0
    failed: list[Outcome] = field(default_factory=list)
    missed: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = ""

    @property
    def done(self) -> int:
        """Number of objects that were attempted."""
        return self.counts.total() - self.counts["missed"]

    @property
    def committed(self) -> int:
        """Number of objects that were committed."""
        return self.counts["committed"]

    @property
    def complete(self) -> bool:
        """Whether every requested object is loaded."""
        return not self.failed and not self.stopped

    def __add__(self, other: "Summary") -> "Summary":
        """Both summaries as one."""
        return Summary(
            self.requested + other.requested,
            self.counts + other.counts,
            self.rows + other.rows,
            self.bytes + other.bytes,
            self.inserts + other.inserts,
            self.failed + other.failed,
            self.missed + other.missed,
            self.seconds + other.seconds,
            self.stopped or other.stopped,
        )

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count the outcomes of a batch."""
        load_ids = set()
        for outcome in outcomes:
            self.counts[outcome.outcome] += 1
            if outcome.is_committed:
                self.rows += outcome.rows
                self.bytes += outcome.item.size
                load_ids.add(outcome.load_id)
            elif outcome.is_failed:
                self.failed.append(outcome)
            elif outcome.outcome == "missed":
                self.missed.append(outcome)
        self.inserts += len(load_ids)

"""What became of many objects, in numbers."""

from collections import Counter
from dataclasses import dataclass, field

from loader.ledger import Outcome


@dataclass
class Summary:
    """What became of many objects.

    Attributes:
        asked: how many objects there are to load.
        counts: objects by outcome (see `Outcome`).
        rows: lines loaded.
        bytes: bytes of the loaded objects, as stored.
        inserts: load attempts that committed something.
        failed: the outcomes failed and unknown.
        seconds: how long it took.
        stopped: why the rest was not tried; '' if all was.
    """

    asked: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    bytes: int = 0
    inserts: int = 0
    failed: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = ""

    @property
    def done(self) -> int:
        """Objects that were tried."""
        return self.counts.total()

    @property
    def complete(self) -> bool:
        """Whether all that was asked is done."""
        return not self.failed and not self.stopped

    def add(self, outcomes: list[Outcome]) -> None:
        """Count outcomes."""
        committed = [outcome for outcome in outcomes if outcome.outcome == "committed"]
        self.counts.update(outcome.outcome for outcome in outcomes)
        self.rows += sum(outcome.rows for outcome in committed)
        self.bytes += sum(outcome.item.size for outcome in committed)
        self.inserts += len({outcome.load_id for outcome in committed})
        self.failed += [item for item in outcomes if item.outcome in ("failed", "unknown")]

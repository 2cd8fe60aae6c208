"""What a measurement found: one row of the report."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One comparison, or one figure.

    Attributes:
        what: in words.
        ours: our figure.
        reference: what it is compared with; None if it stands alone.
        unit: of both.
        ratio: the figure that has a target; None if there is none.
        at_least: target of the ratio, or of `ours` without one.
        at_most: target likewise.
        ceiling: the ratio if all but the engine's bare work (bench/bare.py) took no time.
        note: what one must know to read it.
        counts: exact figures.
    """

    what: str
    ours: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    ceiling: float | None = None
    note: str = ""
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        value = self.ours if self.ratio is None else self.ratio
        if self.at_least is not None:
            return value >= self.at_least
        if self.at_most is not None:
            return value <= self.at_most
        return None

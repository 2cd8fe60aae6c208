"""The result of a measurement: one row of the report."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One comparison, or a single figure.

    Attributes:
        what: what was measured.
        ours: the pipeline's figure.
        unit: unit of both figures.
        reference: the figure it is compared with; None if there is none.
        ratio: the ratio of both, for which the target is; None if the target is for `ours`.
        at_least: lower limit that is the target; None if there is none.
        at_most: upper limit that is the target; None if there is none.
        ceiling: the ratio if everything but the engine's bare work (bench/bare.py) took no time.
        note: explanation.
        counts: further figures.
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

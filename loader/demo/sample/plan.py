"""The parameters of the sample data."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta


@dataclass(frozen=True)
class SamplePlan:
    """What to generate; sections, months, learners and visits scale the volume."""

    seed: int = 7
    sections: int = 4
    months: int = 3
    learners: int = 12  # in each section
    visits: int = 1  # page visits of an active learner in a week
    start: date = date(2025, 9, 1)
    lines_per_object: int = 30
    bad_lines: int = 18  # spread over the whole lake, each kind in turn
    duplicates: int = 25  # lines repeated inside their object
    replays: int = 1  # objects uploaded again two months later, under a new key
    foreign_sessions: int = 6  # viewings of producers other than Torus
    odd_objects: bool = True  # one gzip, one empty, one with a space and a plus in its key

    @property
    def weeks(self) -> int:
        """Course weeks that fit into the months."""
        return self.months * 13 // 3


def midnight(plan: SamplePlan, day: int) -> datetime:
    """The start of a UTC day, counted from the plan's first day."""
    return datetime.combine(plan.start + timedelta(days=day), time.min, UTC)

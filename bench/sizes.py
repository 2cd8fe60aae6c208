"""The volumes of a benchmark run."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class Shape:
    """What a history looks like, besides its number of lines.

    Attributes:
        sections: course sections that the lines are of.
        start: when the first line happened.
        days: over how many days they are spread.
        per_object: lines of an object, all of one section.
        is_live: whether each load was committed when its last line had happened; otherwise all
            were committed now, as after a backfill.
    """

    sections: int = 300
    start: datetime = datetime(2025, 1, 1, tzinfo=UTC)
    days: int = 364
    per_object: int = 20
    is_live: bool = False

    @property
    def end(self) -> datetime:
        """When the last line happened."""
        return self.start + timedelta(days=self.days)


USUAL = Shape()
# Two years of a large platform: a hundred million lines are ten million objects.
LONG = Shape(
    sections=3_000,
    start=datetime(2024, 11, 1, tzinfo=UTC),
    days=728,
    per_object=10,
    is_live=True,
)


@dataclass(frozen=True)
class Size:
    """Volumes.

    Attributes:
        repeats: number of runs of each timed piece; the median counts.
        large_objects: number of large objects.
        loaded_large: number of those that the load measurement reads.
        lines_per_large: lines of a large object.
        tiny_objects: number of objects of 20 lines, in 300 folders.
        tiny_sample: number of objects that the slow references read; their times are scaled.
        short_history: rows of the history that the long one is compared with.
        history: rows of the long history of the increments and of growth.
        refresh: rows of the history that growth refreshes as a whole.
        section_rows: rows of the section queries.
        queries: number of runs of each section query.
        memory: statements of the two memory measurements.
        memory_runs: number of runs of both.
        fresh_rows: rows of the history that fresh objects arrive onto.
        fresh_seconds: seconds for which they arrive.
    """

    repeats: int
    large_objects: int
    loaded_large: int
    lines_per_large: int
    tiny_objects: int
    tiny_sample: int
    short_history: int
    history: int
    refresh: int
    section_rows: int
    queries: int
    memory: tuple[int, int]
    memory_runs: int
    fresh_rows: int
    fresh_seconds: int


_SMALL = Size(
    repeats=1,
    large_objects=4,
    loaded_large=2,
    lines_per_large=37_500,
    tiny_objects=2_000,
    tiny_sample=100,
    short_history=100_000,
    history=500_000,
    refresh=250_000,
    section_rows=500_000,
    queries=11,
    memory=(75_000, 150_000),
    memory_runs=1,
    fresh_rows=100_000,
    fresh_seconds=20,
)
_DEFAULT = replace(
    _SMALL,
    repeats=3,
    large_objects=12,
    loaded_large=8,
    tiny_objects=10_000,
    tiny_sample=300,
    section_rows=2_000_000,
    queries=31,
    memory=(150_000, 450_000),
    fresh_rows=1_000_000,
    fresh_seconds=60,
)
_LARGE = replace(
    _DEFAULT,
    large_objects=32,
    tiny_sample=500,
    history=10_000_000,
    section_rows=10_000_000,
    queries=51,
    memory=(1_000_000, 5_000_000),
    memory_runs=3,
    fresh_rows=10_000_000,
    fresh_seconds=180,
)
SIZES = {
    "small": _SMALL,
    "default": _DEFAULT,
    "large": _LARGE,
    # For growth alone.
    "huge": replace(_LARGE, short_history=10_000_000, history=100_000_000, refresh=30_000_000),
}

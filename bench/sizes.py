"""The volumes of a benchmark run."""

from dataclasses import dataclass


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
        history: rows of the long history of the increments.
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
    history: int
    section_rows: int
    queries: int
    memory: tuple[int, int]
    memory_runs: int
    fresh_rows: int
    fresh_seconds: int


SIZES = {
    "small": Size(
        1, 4, 2, 37_500, 2_000, 100, 500_000, 500_000, 11, (75_000, 150_000), 1, 100_000, 20
    ),
    "default": Size(
        3, 12, 8, 37_500, 10_000, 300, 500_000, 2_000_000, 31, (150_000, 450_000), 1, 1_000_000, 60
    ),
    "large": Size(
        3,
        32,
        8,
        37_500,
        10_000,
        500,
        10_000_000,
        10_000_000,
        51,
        (1_000_000, 5_000_000),
        3,
        10_000_000,
        180,
    ),
}

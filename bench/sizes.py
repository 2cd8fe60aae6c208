"""How much of everything a run of the benchmarks takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Volumes.

    Attributes:
        repeats: runs of each timed piece; the middle one counts.
        large_objects: objects of `lines_per_large` lines.
        loaded_large: how many of them the load measurement reads.
        tiny_objects: objects of 20 lines, in 300 folders.
        tiny_sample: objects that the slow references read; scaled.
        history: rows of the large history of the increments.
        section_rows: rows of the section queries.
        queries: runs of each section query.
        memory: statements of the two memory runs.
        memory_runs: how often both are run.
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


SIZES = {
    "small": Size(1, 4, 2, 37_500, 2_000, 100, 500_000, 500_000, 11, (75_000, 150_000), 1),
    "default": Size(3, 12, 8, 37_500, 10_000, 300, 500_000, 2_000_000, 31, (150_000, 450_000), 1),
    "large": Size(
        3, 32, 8, 37_500, 10_000, 500, 10_000_000, 10_000_000, 51, (1_000_000, 5_000_000), 3
    ),
}

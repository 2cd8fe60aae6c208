"""The objects that several measurements use; they are created once and kept between runs."""

from datetime import UTC, datetime

from bench import lake
from bench.engine import Site
from bench.sizes import Size
from bench.statements import Lines
from loader.objects import S3Object


def buckets(size: Size) -> tuple[str, ...]:
    """The buckets of the measurements, one for each set of objects."""
    return (
        f"large-{size.large_objects}-{size.lines_per_large}",
        f"tiny-{size.tiny_objects}",
        *(f"memory-{count}" for count in size.memory),
    )


def large(site: Site) -> list[S3Object]:
    """Large objects: mixed lines of 300 sections and 12 months, sorted by time."""
    size = site.size
    lines = Lines(0, size.large_objects * size.lines_per_large)
    return lake.write_large(site.lake.root, buckets(size)[0], lines, size.large_objects)


def tiny(site: Site) -> list[S3Object]:
    """Tiny objects: each has 20 lines of one section and category; four weeks in total."""
    count = 20 * site.size.tiny_objects
    start = datetime(2026, 1, 1, tzinfo=UTC)
    lines = Lines(50_000_000, count, sections=100, start=start, days=28, per_object=20)
    return lake.write_tiny(site.lake.root, buckets(site.size)[1], lines)

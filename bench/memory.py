"""Memory: the most that a load and a transform keep resident, for few and for many statements."""

from bench import data, lake
from bench.engine import Site, empty_database, load_apart
from bench.rows import Row
from bench.statements import Lines

LIMIT = 2 * 1024**3


def measure(site: Site) -> list[Row]:
    """Measure both volumes several times in turn, because memory for merges varies."""
    runs = [[_peaks(site, place) for place in range(2)] for _ in range(site.size.memory_runs)]
    found = []
    for what in ("load", "transform"):
        few, many = (sorted(run[place][what] for run in runs) for place in range(2))
        middle = len(runs) // 2
        found.append(
            Row(
                f"{what} of {site.size.memory[1]:,} statements: peak resident memory",
                many[-1] / 1024**2,
                "MiB",
                at_most=LIMIT / 1024**2,
                note=f"the largest of {len(runs)}",
            )
        )
        found.append(
            Row(
                f"{what}: peak of {site.size.memory[1]:,} statements, of {site.size.memory[0]:,}",
                many[middle] / 1024**2,
                "MiB",
                reference=few[middle] / 1024**2,
                ratio=many[middle] / few[middle],
                at_most=1.25,
                note=f"flat; the middle of {len(runs)} each",
            )
        )
    return found


def _peaks(site: Site, place: int) -> dict[str, int]:
    count = site.size.memory[place]
    objects = count // 25_000
    bucket = data.buckets(site.size)[2 + place]
    written = lake.write_large(site.lake.root, bucket, Lines(0, count), objects)
    database = empty_database(site, f"memory-{count}")
    load = load_apart(database, written).peak
    transform = database.dbt("run", "--select", "marts.events").peak
    database.remove()
    site.say(f"{count:,}: load {load / 1024**2:.0f} MiB, transform {transform / 1024**2:.0f} MiB")
    return {"load": load, "transform": transform}

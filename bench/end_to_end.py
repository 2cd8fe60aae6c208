"""From S3 to the tables: load and dbt, compared with Lambdas in Python and SQL of blog posts."""

from dataclasses import dataclass
from functools import partial

from bench import bare, data, references
from bench.engine import (
    Database,
    Site,
    Time,
    empty_database,
    interleaved,
    load_objects,
    number,
    timed,
)
from bench.python_full import FAMILIES
from bench.rows import Row
from loader.objects import S3Object

FULL = {
    "a Python Lambda that does the same work (json)": "json",
    "a Python Lambda that does the same work (orjson)": "orjson",
}
THIN = {
    "does less: a Python Lambda, video statements only (json)": "json",
    "does less: a Python Lambda, video statements only (orjson)": "orjson",
}
BLOG = "does less: an INSERT with s3() and JSON_VALUE per object, video statements only"
TABLES = ("--select", "marts.events")


@dataclass(frozen=True)
class Times:
    """The times of one comparison.

    Attributes:
        ours: load and dbt run.
        idle: a dbt run with nothing to do: its start-up.
        bare: the engine's bare work.
        others: the references, scaled to all objects.
    """

    ours: Time
    idle: Time
    bare: Time
    others: dict[str, Time]


def measure(site: Site) -> list[Row]:
    """Measure large objects, then tiny ones."""
    database = empty_database(site, "end-to-end")
    database.keep()
    large = data.large(site)[: site.size.loaded_large]
    tiny = data.tiny(site)
    sample = tiny[:: max(len(tiny) // site.size.tiny_sample, 1)][: site.size.tiny_sample]
    return [
        *_compare(site, database, "large", large, large, 5),
        *_compare(site, database, "tiny", tiny, sample, 12),
    ]


def _compare(
    site: Site,
    database: Database,
    kind: str,
    objects: list[S3Object],
    sample: list[S3Object],
    target: int,
) -> list[Row]:
    works = {
        "ours": lambda: _ours(database, objects),
        "idle": lambda: database.dbt("run", *TABLES),
        "bare": lambda: _bare(database, objects),
        **{
            name: partial(references.thin, site, database, parser, sample)
            for name, parser in THIN.items()
        },
        BLOG: lambda: references.blog(site, database, sample),
        **{
            name: partial(references.full, site, database, parser, sample)
            for name, parser in FULL.items()
        },
    }
    found = dict(zip(works, interleaved(site.size.repeats, *works.values()), strict=True))
    with database.open() as (warehouse, _):
        events = {
            family: number(warehouse, f"select count() from xapi.{family}_events")
            for family in FAMILIES
        }
        theirs = {
            family: number(warehouse, f"select count() from xapi.python_{family}")
            for family in FAMILIES
        }
    if len(sample) == len(objects) and events != theirs:
        raise RuntimeError(f"we have {events} events, the reference {theirs}")
    share = len(objects) / len(sample)
    others = {name: _scaled(found[name], share) for name in [*FULL, *THIN, BLOG]}
    times = Times(found["ours"], found["idle"], found["bare"], others)
    scaled = "" if share == 1 else f"{len(sample)} of {len(objects):,} objects, scaled"
    counts = {"events": sum(events.values()), "bytes": sum(item.size for item in objects)}
    return rows(f"{len(objects):,} {kind} objects", times, target, scaled, counts)


def rows(title: str, times: Times, target: int, note: str, counts: dict[str, int]) -> list[Row]:
    """The rows of a comparison: with dbt's start-up, then without it for what does the same work.

    Args:
        title: which objects.
        times: what was measured.
        target: how many times as fast as the reference with orjson.
        note: explanation of the references.
        counts: further figures.
    """
    alone = times.ours.wall - times.idle.wall
    found = []
    for name, other in times.others.items():
        judged = name.endswith("(orjson)") and name in FULL
        for ours, words in ((times.ours.wall, ""), (alone, ", without dbt's start-up")):
            if words and name not in FULL:
                continue
            found.append(
                Row(
                    f"{title}, S3 to tables, against {name}{words}",
                    ours,
                    "s",
                    reference=other.wall,
                    ratio=other.wall / ours,
                    ceiling=other.wall / times.bare.wall,
                    at_least=target if judged else None,
                    note=note,
                    counts={
                        "dbt's start-up, s": round(times.idle.wall, 2),
                        "bare work, s": round(times.bare.wall, 2),
                        "CPU s": round(times.ours.cpu, 2),
                        "CPU s of the reference": round(other.cpu, 2),
                        **counts,
                    },
                )
            )
    return found


def _ours(database: Database, objects: list[S3Object]) -> Time:
    database.restore()
    with database.open() as (warehouse, settings):
        loaded = timed(lambda: load_objects(warehouse, settings, objects))
    built = database.dbt("run", *TABLES)
    return Time(loaded.wall + built.wall, loaded.cpu + built.cpu)


def _bare(database: Database, objects: list[S3Object]) -> Time:
    with database.open() as (warehouse, _):
        return timed(
            lambda: (
                bare.read(warehouse, objects),
                bare.parse(warehouse, database),
                bare.insert_again(warehouse, bare.WRITTEN),
            )
        )


def _scaled(time: Time, share: float) -> Time:
    return Time(time.wall * share, time.cpu * share)

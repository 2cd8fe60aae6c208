"""Transforming: raw lines to tables by dbt, compared with only a JSONExtract of the same lines."""

from collections.abc import Callable

from bench import bare, data
from bench.engine import Database, Site, Time, empty_database, interleaved, load_objects, timed
from bench.rows import Row
from loader.clickhouse.connect import Warehouse

VIDEO, FIVE = ("--select", "video_events"), ("--select", "marts.events")
VIDEO_WRITTEN = (bare.STORE, "video_events")
BARE = (
    "reference, the ceiling: one JSONExtract of the same lines into a Null table, then bare "
    "INSERTs of everything that the run writes, the statement store included"
)


def measure(site: Site) -> list[Row]:
    """Measure `video_events` alone, then all families."""
    objects = data.large(site)
    database = empty_database(site, "transform")
    with database.open() as (warehouse, settings):
        lines = load_objects(warehouse, settings, objects)
        # Merge the new lines now, so that no merge runs during a measurement.
        warehouse.command("optimize table {raw:Identifier}.statements final")
    site.say(f"loaded {lines:,} lines")
    database.keep()

    def run(*selection: str) -> Time:
        database.restore()
        return database.dbt("run", *selection)

    video, five, parse, stage, insert, insert_five, idle, idle_five = interleaved(
        site.size.repeats,
        lambda: run(*VIDEO),
        lambda: run(*FIVE),
        lambda: _timed(database, lambda warehouse: bare.parse(warehouse, database)),
        lambda: _timed(database, bare.stage),
        lambda: _timed(database, lambda warehouse: bare.insert_again(warehouse, VIDEO_WRITTEN)),
        lambda: _timed(database, lambda warehouse: bare.insert_again(warehouse, bare.WRITTEN)),
        lambda: database.dbt("run", *VIDEO),
        lambda: database.dbt("run", *FIVE),
    )
    return _rows(lines, video, five, idle, idle_five, parse, stage, insert, insert_five)


def _timed(database: Database, work: Callable[[Warehouse], None]) -> Time:
    with database.open() as (warehouse, _):
        return timed(lambda: work(warehouse))


def _rows(
    lines: int,
    video: Time,
    all_families: Time,
    idle: Time,
    idle_all: Time,
    parse: Time,
    stage: Time,
    insert: Time,
    insert_all: Time,
) -> list[Row]:
    alone, five = video.wall - idle.wall, all_families.wall - idle_all.wall
    least, least_all = parse.wall + insert.wall, parse.wall + insert_all.wall
    return [
        Row(
            f"dbt run: {lines:,} raw lines into video_events",
            lines / video.wall,
            "lines/s",
            reference=lines / least,
            ratio=least / video.wall,
            note=BARE,
            counts={"dbt run, s": round(video.wall, 2), "CPU s": round(video.cpu, 2)},
        ),
        Row(
            f"transform {lines:,} raw lines into video_events, without dbt's start-up",
            lines / alone,
            "lines/s",
            reference=lines / least,
            ratio=least / alone,
            at_least=0.6,
            note=BARE,
            counts={
                "dbt run with nothing to do (start-up), s": round(idle.wall, 2),
                "JSONExtract of the lines, s": round(parse.wall, 2),
                "staging view into a Null table, s": round(stage.wall, 2),
                "INSERT of what is written, s": round(insert.wall, 2),
                "CPU s": round(video.cpu - idle.cpu, 2),
                "CPU s of the JSONExtract": round(parse.cpu, 2),
            },
        ),
        Row(
            f"the same into all families: {lines:,} lines, without dbt's start-up",
            lines / five,
            "lines/s",
            reference=lines / least_all,
            ratio=least_all / five,
            at_least=0.6,
            note=BARE,
            counts={"INSERT of what is written, s": round(insert_all.wall, 2)},
        ),
        Row(
            "all five families, against video_events alone",
            five,
            "s",
            reference=alone,
            ratio=five / alone,
            at_most=1.6,
            counts={
                "dbt run, s": round(all_families.wall, 2),
                "start-up, s": round(idle_all.wall, 2),
                "CPU s": round(all_families.cpu - idle_all.cpu, 2),
            },
        ),
    ]

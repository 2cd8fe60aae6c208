"""Transforming: raw lines to tables by dbt, against one bare JSONExtract of the same lines."""

from bench import data
from bench.engine import (
    Database,
    Site,
    Time,
    bare_parse,
    empty_database,
    load_objects,
    middle,
    timed,
)
from bench.rows import Row

FAMILIES = "path:dbt_project/models/marts/events"


def measure(site: Site) -> list[Row]:
    """`video_events` alone, then all families."""
    objects = data.large(site)
    loaded = empty_database(site, "transform")
    with loaded.open() as (warehouse, settings):
        lines = load_objects(warehouse, settings, objects)
    site.say(f"loaded {lines:,} lines")
    video, all_families, idle, idle_all, bare = [], [], [], [], []
    for _ in range(site.size.repeats):
        video.append(_run(loaded, idle, "--select", "video_events"))
        all_families.append(_run(loaded, idle_all, "--select", "marts.events"))
        bare.append(_bare(loaded))
        site.say(f"video {video[-1]}, all {all_families[-1]}, idle {idle[-1]}, bare {bare[-1]}")
    return _rows(lines, *map(middle, (video, all_families, idle, idle_all, bare)))


def _run(loaded: Database, idle: list[Time], *selection: str) -> Time:
    """Apply all loads in a copy; then once more, with nothing to do."""
    copy = loaded.copy("transform-run")
    took = copy.dbt("run", *selection)
    idle.append(copy.dbt("run", *selection))
    copy.remove()
    return took


def _bare(loaded: Database) -> Time:
    with loaded.open() as (warehouse, _):
        warehouse.command(
            f"create table if not exists xapi_raw.parsed engine = Null as "
            f"select {bare_parse(loaded)} as statement from xapi_raw.statements where 0"
        )
        sql = (
            f"insert into xapi_raw.parsed select {bare_parse(loaded)} as statement "
            "from xapi_raw.statements"
        )
        return timed(lambda: warehouse.command(sql))


def _rows(
    lines: int, video: Time, all_families: Time, idle: Time, idle_all: Time, bare: Time
) -> list[Row]:
    alone, five = video.wall - idle.wall, all_families.wall - idle_all.wall
    return [
        Row(
            f"transform {lines:,} raw lines into video_events: dbt run, without its start-up",
            lines / alone,
            "lines/s",
            reference=lines / bare.wall,
            ratio=bare.wall / alone,
            at_least=0.6,
            note="reference: one JSONExtract of the same lines into a Null table",
            counts={
                "dbt run, s": round(video.wall, 2),
                "dbt run with nothing to do (start-up), s": round(idle.wall, 2),
                "reference, s": round(bare.wall, 2),
                "CPU s": round(video.cpu - idle.cpu, 2),
                "CPU s of the reference": round(bare.cpu, 2),
                "peak memory of dbt, MB": round(video.peak / 1e6),
            },
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

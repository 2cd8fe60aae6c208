"""From S3 to `video_events`: load and dbt, compared with a Lambda that transforms in Python."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any
from uuid import uuid4

import clickhouse_connect
import orjson

from bench import bare, data
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
from bench.python_lambda import PythonLambda
from bench.rows import Row
from loader.objects import S3Object

PARSERS = {"the standard library": json.loads, "orjson": orjson.loads}


def measure(site: Site) -> list[Row]:
    """Measure large objects, then tiny ones."""
    database = empty_database(site, "end-to-end")
    database.keep()
    large = data.large(site)[: site.size.loaded_large]
    tiny = data.tiny(site)
    sample = tiny[:: max(len(tiny) // site.size.tiny_sample, 1)][: site.size.tiny_sample]
    return [
        *_compare(site, database, "large", large, large, (8, 4)),
        *_compare(site, database, "tiny", tiny, sample, (15, 15)),
    ]


def _compare(
    site: Site,
    database: Database,
    kind: str,
    objects: list[S3Object],
    sample: list[S3Object],
    targets: tuple[int, int],
) -> list[Row]:
    def ours() -> Time:
        database.restore()
        with database.open() as (warehouse, settings):
            loaded = timed(lambda: load_objects(warehouse, settings, objects))
        built = database.dbt("run", "--select", "video_events")
        return Time(loaded.wall + built.wall, loaded.cpu + built.cpu)

    def idle() -> Time:
        return database.dbt("run", "--select", "video_events")

    def bare_work() -> Time:
        with database.open() as (warehouse, _):
            return timed(
                lambda: (
                    bare.read(warehouse, objects),
                    bare.parse(warehouse, database),
                    bare.insert_events(warehouse),
                )
            )

    took, start_up, least, *references = interleaved(
        site.size.repeats,
        ours,
        idle,
        bare_work,
        *(lambda loads=loads: _python(site, database, loads, sample) for loads in PARSERS.values()),
    )
    with database.open() as (warehouse, _):
        events = number(warehouse, "select count() from xapi.video_events")
        in_sample = number(warehouse, "select count() from xapi.python_events")
    if len(sample) == len(objects) and events != in_sample:
        raise RuntimeError(f"we have {events} events, the reference {in_sample}")
    alone = took.wall - start_up.wall
    share = len(objects) / len(sample)
    scaled = "" if share == 1 else f"; {len(sample)} of {len(objects):,} objects, scaled"
    return [
        Row(
            f"{len(objects):,} {kind} objects, S3 to video_events, against Python with {parser}",
            alone,
            "s",
            reference=reference.wall * share,
            ratio=reference.wall * share / alone,
            ceiling=reference.wall * share / least.wall,
            at_least=target,
            note=f"ours without dbt's start-up of {start_up.wall:.1f} s{scaled}; ceiling: a bare "
            "read, a bare parse of all lines and a bare INSERT of the finished events",
            counts={
                "events": events,
                "bare work, s": round(least.wall, 2),
                "CPU s": round(took.cpu - start_up.cpu, 2),
                "CPU s of the reference": round(reference.cpu * share, 2),
                "ratio with dbt's start-up": round(reference.wall * share / took.wall, 2),
                "bytes through our Lambda": 0,
                "bytes through theirs": sum(item.size for item in objects),
            },
        )
        for (parser, reference, target) in zip(PARSERS, references, targets, strict=True)
    ]


def _python(
    site: Site, database: Database, loads: Callable[[bytes], Any], sample: list[S3Object]
) -> Time:
    """Time the reference on the sample; it inserts into an empty table like `video_events`."""
    with (
        database.open() as (warehouse, _),
        closing(clickhouse_connect.get_client(interface="chdb", path=str(database.path))) as client,
    ):
        warehouse.command("drop table if exists xapi.python_events")
        warehouse.command("create table xapi.python_events as xapi.video_events")

        def insert(parquet: bytes) -> None:
            client.raw_insert("xapi.python_events", insert_block=parquet, fmt="Parquet")

        function = PythonLambda(site.lake.endpoint, loads, insert)
        return timed(lambda: [function.handle(item, uuid4()) for item in sample])

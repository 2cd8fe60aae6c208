"""Increments: add 10,000 statements to a long history, compared with a short one."""

import os
import sys
from datetime import datetime
from pathlib import Path

from bench import lake
from bench.engine import Database, Site, Time, interleaved, load_objects, timed
from bench.history import history
from bench.rows import Row
from bench.sizes import USUAL
from bench.statements import Lines
from loader.objects import S3Object
from tests.helpers.clickhouse_http import ClickHouseHttp

NEW = 10_000
VIDEO = ("--select", "video_events")


def measure(site: Site) -> list[Row]:
    """Measure the same increments on both histories, then the rows that an empty run reads."""
    short_rows = site.size.short_history
    histories = [history(site, rows) for rows in (short_rows, site.size.history)]
    batches = iter(range(100))
    numbers = [[next(batches) for _ in range(site.size.repeats)]] * 2
    runs = [iter(each) for each in numbers]

    def apply(place: int) -> Time:
        objects = new_objects(site, next(runs[place]), USUAL.end)
        with histories[place].open() as (warehouse, settings):
            loaded = timed(lambda: load_objects(warehouse, settings, objects))
        built = histories[place].dbt("run", *VIDEO)
        return Time(loaded.wall + built.wall, loaded.cpu + built.cpu)

    short, short_idle, long, long_idle = interleaved(
        site.size.repeats,
        lambda: apply(0),
        lambda: histories[0].dbt("run", *VIDEO),
        lambda: apply(1),
        lambda: histories[1].dbt("run", *VIDEO),
    )
    reads = rows_read(histories[1], *VIDEO)
    for database in histories:
        database.remove()
    alone, alone_short = long.wall - long_idle.wall, short.wall - short_idle.wall
    # Small differences between seconds: on a busy machine they are only noise.
    is_clear = min(alone, alone_short) > 0.2
    title = f"{NEW:,} statements onto {site.size.history:,} rows against {short_rows:,}"
    return [
        Row(
            f"{title}: load and dbt run",
            long.wall,
            "s",
            reference=short.wall,
            ratio=long.wall / short.wall,
            at_most=1.3,
            counts={"CPU s": round(long.cpu, 2), "CPU s of the reference": round(short.cpu, 2)},
        ),
        Row(
            f"{title}: without dbt's start-up",
            alone,
            "s",
            reference=alone_short,
            ratio=alone / alone_short if is_clear else None,
            at_most=1.3 if is_clear else None,
            note="" if is_clear else "lost in the noise of this run: not judged",
            counts={
                "start-up, s": round(long_idle.wall, 2),
                "start-up of the reference, s": round(short_idle.wall, 2),
            },
        ),
        Row(
            f"a run with nothing to do on {site.size.history:,} rows: rows read of raw lines",
            reads["raw"],
            "rows",
            at_most=2,
            note="read by statements that name the raw lines or the view of them; the key of the "
            "pseudonyms has one row, which two statements may read",
            counts={"rows read by all statements": reads["all"], "statements": reads["statements"]},
        ),
    ]


def new_objects(site: Site, batch: int, start: datetime) -> list[S3Object]:
    """Write 10,000 new statements, in objects of 20 lines of a hundred sections.

    Args:
        site: has the bucket.
        batch: its number; a number always gives the same statements.
        start: the beginning of their day.
    """
    lines = Lines(
        900_000_000 + NEW * batch, NEW, sections=100, start=start, days=0.9, per_object=20
    )
    bucket = f"increment-{lines.first}-{start:%Y-%m-%d}"
    objects = lake.write_tiny(site.lake.root, bucket, lines)
    if bucket not in os.environ["XAPI_ALLOWED_BUCKETS"].split(","):
        os.environ["XAPI_ALLOWED_BUCKETS"] += f",{bucket}"
    return objects


def rows_read(database: Database, *selection: str) -> dict[str, int]:
    """Rows that the statements of a dbt run read: of raw lines, to fill `video_events`, and in all.

    dbt uses an engine in this process over HTTP, which counts the rows. Statements on raw lines
    also read the ledger; lines are read in granules of a megabyte.
    """
    with ClickHouseHttp(database.path) as server:
        database.process(
            str(Path(sys.executable).with_name("dbt")),
            "run",
            *selection,
            "--no-use-colors",
            *("--target-path", str(database.folder / "target-server")),
            *("--log-path", str(database.folder / "logs")),
            XAPI_TARGET="server",
            CLICKHOUSE_HOST="127.0.0.1",
            CLICKHOUSE_PORT=str(server.port),
        )
        reads = server.reads
    # Statements that only describe tables are left out: their rows are columns. (An insert compares
    # the comment of the staging view.)
    described = ("describe table", "system.columns", "system.tables")
    sent = [
        (sql, rows)
        for sql, rows in reads
        if "insert into" in sql or not any(word in sql for word in described)
    ]
    raw = [rows for sql, rows in sent if "`stg_xapi__statements`" in sql or ".`statements`" in sql]
    video = [rows for sql, rows in reads if "insert into `xapi`.`video_events`" in sql]
    return {
        "raw": sum(raw),
        "into video_events": sum(video),
        "all": sum(rows for _, rows in reads),
        "statements": len(reads),
    }

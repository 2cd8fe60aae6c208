"""Queries for a section on `video_events`, compared with the same rows in other orders."""

from collections.abc import Iterator
from datetime import date, timedelta
from statistics import median
from time import perf_counter
from typing import Any

import chdb

from bench.engine import Database, Site, empty_database
from bench.rows import Row
from loader.clickhouse.connect import Warehouse

MONTHS = 12
FIRST_DAY = date(2025, 1, 1)

# SQL for each column. There is one row for each number, evenly over a year.
_COLUMNS = {
    "event_id": "reinterpretAsUUID(bitShiftLeft(toUInt128(h1), 64) + h2)",
    "timestamp": "toDateTime64('2025-01-01', 3, 'UTC') + number * 364 * 86400 / {rows}",
    "verb": "['played', 'played', 'paused', 'paused', 'seeked', 'completed'][h2 % 6 + 1]",
    "user_id": "toString(learner)",
    "home_page": "'https://proton.oli.cmu.edu'",
    "learner_id": "lower(hex(sipHash128(learner)))",
    "section_id": "section",
    "course_id": "''",
    "project_id": "intDiv(section, 2)",
    "publication_id": "5 * intDiv(section, 2)",
    "page_id": "page",
    "page_attempt_guid": "toString(reinterpretAsUUID(toUInt128(cityHash64(learner, page))))",
    "page_attempt_number": "1",
    "content_element_id": "toString(1000000000 + cityHash64(page) % 3000000000)",
    "video_url": "concat('https://cdn.example.org/media/', toString(page), '/part-1.mp4')",
    "video_title": "concat('Part ', toString(page % 60))",
    "video_time": "h2 % 60000 / 100",
    "video_length": "120 + cityHash64(page) % 54000 / 100",
    "video_progress": "h2 % 1000 / 1000",
    "video_played_segments": "concat('0[.]', toString(h2 % 60000 / 100))",
    "registration": "concat(toString(section), '-', toString(page))",
    "load_id": "reinterpretAsUUID(toUInt128(cityHash64(intDiv(number, 10000))))",
    "source_path": "concat('lake/section/', toString(section), '/video/', hex(cityHash64(block)))",
    "source_line": "1 + number % 20",
    "loaded_at": "toDateTime64('2025-01-01', 3, 'UTC') + number * 364 * 86400 / {rows}",
}
_TERMS = """
    cityHash64(number) as h1,
    cityHash64(number, 1) as h2,
    intDiv(number, 20) as block,
    2161 + cityHash64(block) % {sections} as section,
    section * 1000 + h1 % 60 as learner,
    section * 100 + h2 % 40 as page
"""
# Other sorting keys for the same rows.
LAYOUTS = {
    "event hash, minmax index on section": "(event_id)",
    "timestamp, section, user": "(timestamp, section_id, user_id)",
}
QUERIES = {
    "section": "section_id = {section}",
    "section + 30 days": "section_id = {section} "
    "and timestamp >= '{first}' and timestamp < '{end}'",
    "section + video": "section_id = {section} and video_url = "
    "'https://cdn.example.org/media/{video}/part-1.mp4'",
    "section + learner": "section_id = {section} and user_id = '{learner}'",
}
ASK = "select verb, count(), uniqExact(user_id) from {table} where {where} group by verb"


def measure(site: Site) -> list[Row]:
    """Measure 300 sections, then 3,000."""
    database = empty_database(site, "sections")
    rows = []
    for sections in (300, 3_000):
        with database.open() as (warehouse, _):
            tables = fill(warehouse, site.size.section_rows, sections)
        site.say(f"{sections} sections: {site.size.section_rows:,} rows in {len(tables)} orders")
        rows += _compare(site, database, sections, tables)
    database.remove()
    return rows


def fill(warehouse: Warehouse, rows: int, sections: int) -> list[str]:
    """Fill a table like `video_events`, and copies of it in other orders; merge all.

    Returns:
        The tables, ours first.
    """
    tables = [f"xapi.ours_{sections}", *(f"xapi.other_{n}_{sections}" for n in range(len(LAYOUTS)))]
    warehouse.command(f"drop table if exists {tables[0]}")
    warehouse.command(f"create table {tables[0]} as xapi.video_events")
    insert_events(warehouse, tables[0], rows, sections)
    for table, order in zip(tables[1:], LAYOUTS.values(), strict=True):
        warehouse.command(f"drop table if exists {table}")
        warehouse.command(
            f"create table {table} engine = MergeTree partition by toYYYYMM(timestamp) "
            f"order by {order} as select * from {tables[0]} where 0"
        )
        if order == "(event_id)":
            warehouse.command(
                f"alter table {table} add index of_section section_id type minmax granularity 1"
            )
        warehouse.command(f"insert into {table} select * from {tables[0]}")
    for table in tables:
        warehouse.command(f"optimize table {table} final")
    return tables


def insert_events(
    warehouse: Warehouse, table: str, rows: int, sections: int, first: int = 0
) -> None:
    """Insert made-up video events, evenly over a year.

    Args:
        warehouse: the ClickHouse to fill.
        table: a table like `video_events`.
        rows: number of events.
        sections: number of course sections that they are of.
        first: number of the first event; an event is the same in every run.
    """
    held = {row["name"] for row in warehouse.query(f"describe {table}")}
    columns = {
        name: sql.format(rows=first + rows) for name, sql in _COLUMNS.items() if name in held
    }
    warehouse.command(
        f"insert into {table} ({', '.join(columns)}) with {_TERMS.format(sections=sections)} "
        f"select {', '.join(columns.values())} from numbers({first}, {rows})"
    )


def ask(path: str, table: str, wheres: list[str]) -> dict[str, Any]:
    """Run a query for each condition; return medians of rows and bytes read and of milliseconds."""
    connection = chdb.connect(path)
    try:
        found = []
        for where in wheres:
            started = perf_counter()
            answer = connection.query(ASK.format(table=table, where=where), "JSONEachRow")
            took = (perf_counter() - started) * 1000
            found.append((answer.storage_rows_read(), answer.storage_bytes_read(), took))
    finally:
        connection.close()
    rows, size, took = (median(column) for column in zip(*found, strict=True))
    return {"rows": int(rows), "bytes": int(size), "ms": round(took, 2)}


def conditions(kind: str, sections: int, count: int) -> Iterator[str]:
    """Generate conditions of one kind, with varying sections and days."""
    for place in range(count):
        section = 2161 + place * 37 % sections
        first = FIRST_DAY + timedelta(days=place * 7 % 330)
        video, learner = section * 100 + place % 40, section * 1000 + place % 60
        yield condition(kind, section, first, video, learner)


def condition(kind: str, section: int, first: date, video: int, learner: int) -> str:
    """A condition of one kind.

    Args:
        kind: see `QUERIES`.
        section: the course section.
        first: the first of thirty days.
        video: the page that the video is on.
        learner: the user id.
    """
    return QUERIES[kind].format(
        section=section,
        first=first,
        end=first + timedelta(days=30),
        video=video,
        learner=learner,
    )


def _compare(site: Site, database: Database, sections: int, tables: list[str]) -> list[Row]:
    found = []
    for kind in QUERIES:
        wheres = list(conditions(kind, sections, site.size.queries))
        ours, *others = (ask(str(database.path), table, wheres) for table in tables)
        counts = {"ours": ours} | dict(zip(LAYOUTS, others, strict=True))
        has_target = kind == "section + 30 days"
        found.append(
            Row(
                f"{kind}, {sections:,} sections: rows read",
                ours["rows"],
                "rows",
                reference=others[0]["rows"],
                ratio=others[0]["rows"] / ours["rows"],
                at_least=50 if has_target else None,
                note=f"reference: {next(iter(LAYOUTS))}; middle of {len(wheres)} queries",
                counts=counts,
            )
        )
        found.append(Row(f"{kind}, {sections:,} sections: p50", ours["ms"], "ms", at_most=20))
    return found

"""What the pipeline is compared with end to end: Lambdas in Python, and the SQL of blog posts."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pyarrow

from bench.engine import Database, Site, Time, timed
from bench.python_full import FAMILIES, SCHEMAS, PythonFull
from bench.python_full import RAW as RAW_COLUMNS
from bench.python_full import REJECTED as REJECTED_COLUMNS
from bench.python_lambda import SCHEMA, PythonLambda
from loader.clickhouse.connect import Warehouse
from loader.objects import S3Object

PARSERS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], str]]] = {
    "json": (json.loads, json.dumps),
    "orjson": (orjson.loads, lambda value: orjson.dumps(value).decode()),
}
# Objects of an invocation, and bytes after which it gets no more.
BATCH, BATCH_BYTES = 100, 32_000_000

RAW = """
create table xapi.python_raw (load_id UUID, key LowCardinality(String), source_line UInt32,
    line String codec(ZSTD(1)), loaded_at DateTime default now())
engine = MergeTree order by (load_id, key, source_line)
"""
REJECTED = """
create table xapi.python_rejected (load_id UUID, source_path String, source_line UInt32,
    reason LowCardinality(String), raw_line String)
engine = MergeTree order by (load_id, source_path, source_line)
"""
# A function would send the Parquet with its statement. The embedded engine takes no binary data,
# so it reads a file in memory.
INSERT = """
insert into xapi.{table} ({columns})
select {columns} from file({{file:String}}, 'Parquet', '{structure}')
"""
INSERT_NEW = f"""{INSERT}
where event_id not in (
    select event_id from xapi.{{table}}
    where timestamp between {{{{first:DateTime64(3, 'UTC')}}}} and {{{{last:DateTime64(3, 'UTC')}}}}
)
"""

# As posts show it: the function runs this statement for each object.
_OLI, _MEDIA = "http://oli.cmu.edu/extensions/", "https://w3id.org/xapi/video/extensions/"
_PATHS = {
    "user_id": "$.actor.account.name",
    "home_page": "$.actor.account.homePage",
    "verb": "$.verb.id",
    "video_url": "$.object.id",
    "video_title": '$.object.definition.name."en-US"',
    "timestamp": "$.timestamp",
    "registration": "$.registration",
    "section_id": f'$.context.extensions."{_OLI}section_id"',
    "project_id": f'$.context.extensions."{_OLI}project_id"',
    "publication_id": f'$.context.extensions."{_OLI}publication_id"',
    "page_id": f'$.context.extensions."{_OLI}resource_id"',
    "page_attempt_guid": f'$.context.extensions."{_OLI}page_attempt_guid"',
    "content_element_id": f'$.context.extensions."{_OLI}content_element_id"',
    "video_length": f'$.context.extensions."{_MEDIA}length"',
    "video_time": f'$.result.extensions."{_MEDIA}time"',
    "video_progress": f'$.result.extensions."{_MEDIA}progress"',
    "video_played_segments": f'$.result.extensions."{_MEDIA}played-segments"',
    "video_seek_from": f'$.result.extensions."{_MEDIA}time-from"',
    "video_seek_to": f'$.result.extensions."{_MEDIA}time-to"',
}
_TYPES = {
    "timestamp": "parseDateTime64BestEffortOrZero({}, 3, 'UTC')",
    **dict.fromkeys(
        ("section_id", "project_id", "publication_id", "page_id"), "toUInt64OrZero({})"
    ),
    **dict.fromkeys(
        ("video_length", "video_time", "video_progress", "video_seek_from", "video_seek_to"),
        "toFloat64OrNull({})",
    ),
}
_VALUES = {name: f"JSON_VALUE(line, '{path}')" for name, path in _PATHS.items()}
_COLUMNS = ", ".join(
    f"{_TYPES.get(name, '{}').format(value)} as {name}" for name, value in _VALUES.items()
)
BLOG = f"""
insert into xapi.blog_events
select
    {_COLUMNS}
from s3({{url:String}}, NOSIGN, 'LineAsString', 'line String')
where JSON_VALUE(line, '$.object.definition.type') = 'https://w3id.org/xapi/video/activity-type/video'
"""
BLOG_TABLE = (
    "create table xapi.blog_events engine = MergeTree order by (section_id, timestamp) as "
    f"select {_COLUMNS} from (select '' as line) where 0"
)


def full(site: Site, database: Database, parser: str, objects: list[S3Object]) -> Time:
    """Time the function that does the pipeline's work; its tables are empty at first."""
    with database.open() as (warehouse, _):
        _recreate(warehouse, "python_raw", RAW)
        _recreate(warehouse, "python_rejected", REJECTED)
        for family in FAMILIES:
            _recreate(
                warehouse,
                f"python_{family}",
                f"create table xapi.python_{family} as xapi.{family}_events",
            )
        schemas = {f"python_{family}": schema for family, schema in SCHEMAS.items()}
        schemas |= {"python_raw": RAW_COLUMNS, "python_rejected": REJECTED_COLUMNS}
        with _inserter(warehouse, schemas) as insert:
            function = PythonFull(site.lake.endpoint, *PARSERS[parser], insert)
            return timed(lambda: [function.handle(some, uuid4()) for some in invocations(objects)])


def thin(site: Site, database: Database, parser: str, objects: list[S3Object]) -> Time:
    """Time the function that keeps only video statements, an object per invocation."""
    with database.open() as (warehouse, _):
        _recreate(
            warehouse, "python_events", "create table xapi.python_events as xapi.video_events"
        )
        with _inserter(warehouse, {"python_events": SCHEMA}) as insert:
            write = partial(insert, "python_events", first=None, last=None)
            function = PythonLambda(site.lake.endpoint, PARSERS[parser][0], write)
            return timed(lambda: [function.handle(item, uuid4()) for item in objects])


@contextmanager
def _inserter(
    warehouse: Warehouse, schemas: dict[str, pyarrow.Schema]
) -> Iterator[Callable[[str, bytes, datetime | None, datetime | None], None]]:
    """A function that inserts Parquet into a table (see `PythonFull`)."""
    texts = {}
    for table, schema in schemas.items():
        columns, structure = _structure(warehouse, table, schema.names)
        texts[table] = {"table": table, "columns": columns, "structure": structure}
    # A repeat of a statement with a random id may name another time within the hour.
    hour = timedelta(hours=1)
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".parquet") as file:

        def insert(
            table: str, parquet: bytes, first: datetime | None, last: datetime | None
        ) -> None:
            Path(file.name).write_bytes(parquet)
            if first is None or last is None:
                warehouse.command(INSERT.format(**texts[table]), file=file.name)
                return
            span = {"first": _time(first - hour), "last": _time(last + hour)}
            warehouse.command(INSERT_NEW.format(**texts[table]), file=file.name, **span)

        yield insert


def blog(site: Site, database: Database, objects: list[S3Object]) -> Time:
    """Time one INSERT per object with JSON_VALUE, video statements only."""
    with database.open() as (warehouse, _):
        _recreate(warehouse, "blog_events", BLOG_TABLE)
        urls = [f"{site.lake.endpoint}/{item.path}" for item in objects]
        return timed(lambda: [warehouse.command(BLOG, url=url) for url in urls])


def invocations(objects: list[S3Object]) -> list[list[S3Object]]:
    """The objects of each invocation: a hundred, or fewer large ones."""
    found: list[list[S3Object]] = [[]]
    size = 0
    for item in objects:
        if found[-1] and (len(found[-1]) == BATCH or size + item.size > BATCH_BYTES):
            found.append([])
            size = 0
        found[-1].append(item)
        size += item.size
    return found


def _recreate(warehouse: Warehouse, table: str, statement: str) -> None:
    warehouse.command(f"drop table if exists xapi.{table} sync")
    warehouse.command(statement)


def _structure(warehouse: Warehouse, table: str, names: list[str]) -> tuple[str, str]:
    """The columns of a table in this order, and the same with their types."""
    rows = warehouse.query(
        "select name, type from system.columns where database = 'xapi' and table = {table:String}",
        table=table,
    )
    types = {row["name"]: row["type"].replace("'", "\\'") for row in rows}
    return ", ".join(names), ", ".join(f"{name} {types[name]}" for name in names)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"

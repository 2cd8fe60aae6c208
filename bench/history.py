"""Create a history of loads, to add increments to: lines and ledger by SQL, tables by dbt."""

import hashlib

from bench.engine import ROOT, Database, Site, empty_database
from bench.sizes import USUAL, Shape
from bench.statements import Lines
from loader.clickhouse.connect import Warehouse

START, DAYS, PER_OBJECT = USUAL.start, USUAL.days, USUAL.per_object
# Video statements only, so that the table has as many rows as there are lines.
VIDEO_ONLY = "h2 % 58"

_TABLES = (
    "xapi_raw.statements",
    "xapi_raw.loads",
    "xapi.int_xapi__statements",
    "xapi.video_events",
)


_LOAD = "reinterpretAsUUID(toUInt128(sipHash64(intDiv(number, 10000))))"


def fill(warehouse: Warehouse, rows: int, bucket: str = "history", shape: Shape = USUAL) -> None:
    """Insert committed loads, each of 10,000 lines, into raw and the ledger.

    Args:
        warehouse: the ClickHouse to fill.
        rows: number of lines: a multiple of 10,000 up to 250,000, then of 250,000.
        bucket: bucket of the objects in the ledger.
        shape: what the lines and objects look like.
    """
    loaded_at = "now64(3, 'UTC')"
    if shape.is_live:
        start, end = (int(at.timestamp() * 1_000_000) for at in (shape.start, shape.end))
        of_load = (end - start) * 10_000 // rows
        until = f"toInt64({start} + (intDiv(number, 10000) + 1) * {of_load})"
        loaded_at = f"fromUnixTimestamp64Micro({until}, 'UTC')"
    whole = Lines(
        0,
        rows,
        sections=shape.sections,
        start=shape.start,
        days=shape.days,
        per_object=shape.per_object,
        family=VIDEO_ONLY,
    )
    size = 1_250 * shape.per_object
    for first in range(0, rows, 250_000):
        count = min(250_000, rows - first)
        lines = whole.part(first // count, rows // count)
        warehouse.command(
            "insert into xapi_raw.statements "
            "(load_id, bucket, key, etag, object_size, last_modified, source_line, line, "
            "loaded_at) "
            f"select load_id, '{bucket}', key, 'v1', {size}, "
            f"toDateTime64('{shape.start:%Y-%m-%d}', 3), "
            f"source_line, line, {loaded_at} from ({lines.sql(_place(lines))}) "
            "settings max_insert_threads = 1"
        )
        warehouse.command(
            "insert into xapi_raw.loads (load_id, bucket, key, etag, size, last_modified, rows, "
            "outcome, error, mode, policy, started_at, committed_at, duration_ms) "
            f"select load_id, bucket, key, etag, {size}, any(last_modified), count(), 'committed', "
            "'', 'load', 'append', max(loaded_at), max(loaded_at), 1 from xapi_raw.statements "
            f"where load_id in (select {_LOAD} from numbers({first}, {count})) "
            "group by load_id, bucket, key, etag"
        )


def _place(lines: Lines) -> str:
    """Columns that say where a line is. The time in a key is that of the object's first line."""
    start, span = (
        int(seconds * 1_000_000) for seconds in (lines.start.timestamp(), lines.days * 86400)
    )
    line = f"number - number % {lines.per_object} - {lines.first}"
    first_at = (
        f"fromUnixTimestamp64Micro(toInt64({start} + intDiv(({line}) * {span}, {lines.count})))"
    )
    return (
        f"number, {_LOAD} as load_id, number % {lines.per_object} + 1 as source_line, "
        "concat('section/', toString(section_number), '/video/', "
        f"formatDateTime(toDateTime({first_at}, 'UTC'), '%Y-%m-%dT%H-%i-%S'), '.000000Z_', "
        f"hex(sipHash128(intDiv(number, {lines.per_object}))), '.jsonl') as key"
    )


def history(site: Site, rows: int) -> Database:
    """Create a database with a history that is applied to `video_events`. It is kept between runs
    while the models do not change.

    Args:
        site: where it is.
        rows: number of lines.
    """
    name = f"history-{rows}"
    mark = site.folder / f"{name}-kept" / "models"
    database = Database(site.folder / name)
    if mark.exists() and mark.read_text() == _models():
        database.restore()
        return database
    database = filled(site, name, rows, USUAL)
    site.say(f"history: {rows:,} lines in raw")
    database.dbt("run", "--select", "video_events")
    site.say(f"history: {rows:,} lines applied")
    with database.open() as (warehouse, _):
        # Merge everything now, so that merges of the history do not count for an increment.
        for table in _TABLES:
            warehouse.command(f"optimize table {table} final")
    (database.folder / "models").write_text(_models())
    database.keep()
    return database


def filled(site: Site, name: str, rows: int, shape: Shape) -> Database:
    """Create a database with a history in raw and ledger, and empty tables.

    Args:
        site: where it is.
        name: of its folder.
        rows: number of lines (see `fill`).
        shape: what they look like.
    """
    database = empty_database(site, name)
    with database.open() as (warehouse, _):
        fill(warehouse, rows, shape=shape)
    return database


def _models() -> str:
    """A digest of the files that determine a history's content."""
    digest = hashlib.sha256()
    for folder in ("macros", "dbt_project/models", "loader/clickhouse/sql", "bench"):
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in (".sql",) or path.name in ("history.py", "statements.py"):
                digest.update(path.read_bytes())
    return digest.hexdigest()

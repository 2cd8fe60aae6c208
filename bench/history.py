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
        rows: number of lines; a multiple of 10,000.
        bucket: bucket of the objects in the ledger.
        shape: what the lines and objects look like.
    """
    number = f"intDiv(number, {shape.per_object})"
    key = (
        "concat('section/', toString(section_number), '/video/', "
        f"formatDateTime(toDateTime(at, 'UTC'), '%Y-%m-%dT%H-%i-%S'), '.000000Z_', "
        f"hex(sipHash128({number})), '.jsonl')"
    )
    more = (
        f"{_LOAD} as load_id, {number} as object, "
        f"first_value({key}) over (partition by {number} order by number) as key, "
        f"number % {shape.per_object} + 1 as source_line"
    )
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
            "(load_id, bucket, key, etag, object_size, last_modified, source_line, line) "
            f"select load_id, '{bucket}', key, 'v1', {size}, "
            f"toDateTime64('{shape.start:%Y-%m-%d}', 3), "
            f"source_line, line from ({lines.sql(more)}) settings max_insert_threads = 1"
        )
        warehouse.command(
            "insert into xapi_raw.loads (load_id, bucket, key, etag, size, last_modified, rows, "
            "outcome, error, mode, policy, started_at, duration_ms) "
            f"select load_id, bucket, key, etag, {size}, any(last_modified), count(), 'committed', "
            "'', 'load', 'append', now64(3), 1 from xapi_raw.statements "
            f"where load_id in (select {_LOAD} from numbers({first}, {count})) "
            "group by load_id, bucket, key, etag"
        )


def history(site: Site, rows: int, shape: Shape = USUAL) -> Database:
    """Create a database with a history that is applied to `video_events`. It is kept between runs
    while the models do not change.

    Args:
        site: where it is.
        rows: number of lines.
        shape: what they look like.
    """
    name = f"history-{rows}" if shape == USUAL else f"history-{rows}-{shape.sections}"
    mark = site.folder / f"{name}-kept" / "models"
    database = Database(site.folder / name)
    if mark.exists() and mark.read_text() == _models():
        database.restore()
        return database
    database = empty_database(site, name)
    with database.open() as (warehouse, _):
        fill(warehouse, rows, shape=shape)
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


def _models() -> str:
    """A digest of the files that determine a history's content."""
    digest = hashlib.sha256()
    for folder in ("macros", "dbt_project/models", "loader/clickhouse/sql", "bench"):
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in (".sql",) or path.name in ("history.py", "statements.py"):
                digest.update(path.read_bytes())
    return digest.hexdigest()

"""The engine's bare work: reading, storing, parsing and inserting, without anything around it.

References of some measurements; and, added up, ceilings: the ratio if all but this work took no
time.
"""

import re
from typing import Any

from bench.engine import Database
from loader.clickhouse.connect import Warehouse
from loader.load import pieces
from loader.objects import S3Object, pattern
from loader.sources import THREADS

READ = f"""
insert into {{raw:Identifier}}.nothing (line)
select line
from s3(
    {{collection:Identifier}},
    filename = {{pattern:String}},
    format = 'LineAsString',
    structure = 'line String'
)
where _path in {{paths:Array(String)}}
settings
    use_hive_partitioning = 0, remote_filesystem_read_prefetch = 0, max_threads = {THREADS}
"""

# As the pipeline inserts (macro insert_settings); with ClickHouse's own, twice as long.
_AS_DBT = """
    optimize_on_insert = 0,
    preferred_block_size_bytes = 8388608,
    min_insert_block_size_bytes = 33554432,
    short_circuit_function_evaluation = 'disable'
"""

# Where a Redirected warehouse writes: a table without storage, and one without order.
NOTHING, HEAP = "nothing", "heap"
_ENGINES = {NOTHING: "Null", HEAP: "MergeTree order by tuple()"}


class Redirected:
    """A warehouse whose inserts into raw go to another table, which is empty at first."""

    def __init__(self, warehouse: Warehouse, table: str):
        self._warehouse = warehouse
        self.version = warehouse.version
        self._table = table
        _create(warehouse, table)

    def command(self, sql: str, **values: Any) -> None:
        """See `Warehouse.command`."""
        raw, other = "{raw:Identifier}.statements", f"{{raw:Identifier}}.{self._table}"
        self._warehouse.command(sql.replace(raw, other), **values)

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """See `Warehouse.query`."""
        return self._warehouse.query(sql, **values)

    def drop(self) -> None:
        """Drop the table, so that its parts do not merge beside what is measured next."""
        self._warehouse.command(f"drop table xapi_raw.{self._table} sync")


def read(warehouse: Warehouse, objects: list[S3Object]) -> None:
    """Read objects, and keep nothing."""
    _create(warehouse, NOTHING)
    for batch in pieces(objects):
        warehouse.command(READ, pattern=pattern(batch), paths=[item.path for item in batch])


def parse(warehouse: Warehouse, database: Database) -> None:
    """Parse all raw lines with the one JSONExtract of the staging view, and keep nothing."""
    expression = _expression(database)
    warehouse.command(
        "create table if not exists xapi_raw.parsed engine = Null as "
        f"select {expression} as statement from xapi_raw.statements where 0"
    )
    warehouse.command(
        f"insert into xapi_raw.parsed select {expression} as statement from xapi_raw.statements"
    )


def stage(warehouse: Warehouse) -> None:
    """All that the staging view makes of the raw lines (ids, families, types), and keep nothing."""
    warehouse.command(
        "create table if not exists xapi_raw.staged engine = Null as "
        "select * from xapi.stg_xapi__statements where 0"
    )
    warehouse.command(
        f"insert into xapi_raw.staged select * from xapi.stg_xapi__statements settings {_AS_DBT}"
    )


def insert_events(warehouse: Warehouse) -> None:
    """Insert the rows of `video_events`, which lie in order there, into a table like it."""
    warehouse.command("create table xapi.same_events as xapi.video_events")
    warehouse.command(
        f"insert into xapi.same_events select * from xapi.video_events settings {_AS_DBT}"
    )
    warehouse.command("drop table xapi.same_events")


def _create(warehouse: Warehouse, table: str) -> None:
    warehouse.command(f"drop table if exists xapi_raw.{table} sync")
    warehouse.command(
        f"create table xapi_raw.{table} as xapi_raw.statements engine = {_ENGINES[table]}"
    )


def _expression(database: Database) -> str:
    view = database.compiled("stg_xapi__statements")
    found = re.search(r"JSONExtract\(\s*line\s*,\s*'Tuple\(.*?\)'\s*\)", view, re.DOTALL)
    if not found:
        raise RuntimeError("the staging view has no JSONExtract(line, 'Tuple(...)')")
    return found[0]

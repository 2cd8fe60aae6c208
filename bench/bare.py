"""The engine's bare work: plain statements that only read, store, parse or insert.

They are the references of some measurements. Their sum gives the ceilings: the ratio if everything
but this work took no time.
"""

import re
from collections.abc import Iterable
from typing import Any

from bench.engine import Database
from loader.batches import pieces
from loader.clickhouse.connect import Warehouse
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

# The pipeline's settings (macro insert_settings). ClickHouse's defaults take twice as long.
_AS_DBT = """
    optimize_on_insert = 0,
    preferred_block_size_bytes = 8388608,
    min_insert_block_size_bytes = 33554432,
    short_circuit_function_evaluation = 'disable'
"""

# What a run of all families writes: the statement store and the tables of events and rejects.
FAMILIES = ("video", "activity_attempt", "page_attempt", "part_attempt", "page_viewed")
STORE = "int_xapi__statements"
WRITTEN = (STORE, "rejected_statements", *(f"{family}_events" for family in FAMILIES))

# Tables that a Redirected warehouse writes to: one without storage, one without sorting key.
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
        """Drop the table, so that merges of its parts do not disturb the next measurement."""
        self._warehouse.command(f"drop table xapi_raw.{self._table} sync")


def read(warehouse: Warehouse, objects: list[S3Object]) -> None:
    """Read objects without storing their lines."""
    _create(warehouse, NOTHING)
    for batch in pieces(objects):
        warehouse.command(READ, pattern=pattern(batch), paths=[item.path for item in batch])


def parse(warehouse: Warehouse, database: Database) -> None:
    """Parse all raw lines with the JSONExtract of the staging view, without storing the result."""
    expression = _expression(database)
    warehouse.command(
        "create table if not exists xapi_raw.parsed engine = Null as "
        f"select {expression} as statement from xapi_raw.statements where 0"
    )
    warehouse.command(
        f"insert into xapi_raw.parsed select {expression} as statement from xapi_raw.statements"
    )


def stage(warehouse: Warehouse) -> None:
    """Compute the staging view of all raw lines (ids, families, types), without storing it."""
    warehouse.command(
        "create table if not exists xapi_raw.staged engine = Null as "
        "select * from xapi.stg_xapi__statements where 0"
    )
    warehouse.command(
        f"insert into xapi_raw.staged select * from xapi.stg_xapi__statements settings {_AS_DBT}"
    )


def insert_again(warehouse: Warehouse, tables: Iterable[str]) -> None:
    """Insert the rows of tables, already sorted, into tables like them.

    Args:
        warehouse: the ClickHouse.
        tables: tables of the models.
    """
    for table in tables:
        warehouse.command(f"create table xapi.same_rows as xapi.{table}")
        warehouse.command(
            f"insert into xapi.same_rows select * from xapi.{table} settings {_AS_DBT}"
        )
        warehouse.command("drop table xapi.same_rows sync")


def _create(warehouse: Warehouse, table: str) -> None:
    warehouse.command(f"drop table if exists xapi_raw.{table} sync")
    warehouse.command(
        f"create table xapi_raw.{table} as xapi_raw.statements engine = {_ENGINES[table]}"
    )


def _expression(database: Database) -> str:
    view = database.compiled("stg_xapi__statements")
    found = re.search(r"JSONExtract\(\s*json\s*,\s*('\s*Tuple\(.*?\)\s*')\s*\)", view, re.DOTALL)
    if not found:
        raise RuntimeError("the staging view has no JSONExtract(json, 'Tuple(...)')")
    return f"JSONExtract(line, {found[1]})"

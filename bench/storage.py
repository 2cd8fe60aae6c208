"""Storage: bytes of a statement in raw and of an event in `video_events`, by column and codec."""

from bench import data
from bench.engine import Site, empty_database, load_objects, number
from bench.rows import Row
from loader.clickhouse.connect import Warehouse

# Codecs that `alternatives` tries for each column.
CODECS = ("LZ4", "ZSTD(1)", "ZSTD(3)", "Delta, ZSTD(1)", "DoubleDelta, ZSTD(1)", "T64, ZSTD(1)")
_NUMBERS = ("UInt", "Int", "DateTime")


def measure(site: Site) -> list[Row]:
    """Measure what a load and a transform of the large objects store."""
    database = empty_database(site, "storage")
    with database.open() as (warehouse, settings):
        load_objects(warehouse, settings, data.large(site))
    database.dbt("run", "--select", "video_events")
    with database.open() as (warehouse, _):
        return [
            stored(warehouse, "xapi_raw", "statements"),
            stored(warehouse, "xapi", "int_xapi__statements"),
            stored(warehouse, "xapi", "video_events"),
        ]


def stored(warehouse: Warehouse, database: str, table: str) -> Row:
    """Bytes per row, in total and by column. They are measured on a merged copy, because small
    parts have all columns in one file."""
    warehouse.command("drop table if exists xapi.wide")
    warehouse.command(f"create table xapi.wide as {database}.{table}")
    warehouse.command("alter table xapi.wide modify setting min_bytes_for_wide_part = 0")
    warehouse.command(f"insert into xapi.wide select * from {database}.{table}")
    warehouse.command("optimize table xapi.wide final")
    rows = number(warehouse, f"select count() from {database}.{table}")
    columns = warehouse.query(
        """
        select name, data_compressed_bytes as bytes
        from system.columns
        where database = 'xapi' and table = 'wide'
        order by bytes desc
        """
    )
    total = sum(column["bytes"] for column in columns)
    by_column = {column["name"]: round(column["bytes"] / rows, 2) for column in columns}
    return Row(f"{table}: bytes a row", total / rows, "bytes", counts={"rows": rows} | by_column)


def alternatives(warehouse: Warehouse, database: str, table: str) -> list[dict[str, object]]:
    """Bytes per row of each column with each codec, and as LowCardinality, in the table's order.
    Call it by hand to choose codecs."""
    columns = warehouse.query(f"describe {database}.{table}")
    return [_trials(warehouse, f"{database}.{table}", column) for column in columns]


def _trials(warehouse: Warehouse, table: str, column: dict[str, str]) -> dict[str, object]:
    name, kind = column["name"], column["type"]
    is_number = kind.replace("Nullable(", "").startswith(_NUMBERS)
    found: dict[str, object] = {"column": name, "type": kind, "codec": column["codec_expression"]}
    for codec in CODECS:
        if is_number or codec[:1] in "LZ":
            found[codec] = _size(warehouse, table, name, kind, codec)
    if kind in ("String", "Nullable(String)"):
        found["low, ZSTD(1)"] = _size(warehouse, table, name, f"LowCardinality({kind})", "ZSTD(1)")
    return found


def _size(warehouse: Warehouse, table: str, name: str, kind: str, codec: str) -> float:
    """Bytes per row of one column, stored alone in the table's order with this type and codec."""
    low = "allow_suspicious_low_cardinality_types = 1"
    warehouse.command("drop table if exists xapi.trial")
    warehouse.command(
        f"create table xapi.trial (value {kind} codec({codec})) engine = MergeTree "
        f"order by tuple() settings min_bytes_for_wide_part = 0, {low}"
    )
    # One thread reads the merged parts in order.
    warehouse.command(
        f"insert into xapi.trial select {name} from {table} "
        f"settings max_threads = 1, max_insert_threads = 1, {low}"
    )
    warehouse.command("optimize table xapi.trial final")
    return number(
        warehouse,
        "select round(sum(column_data_compressed_bytes) / sum(rows), 2) from system.parts_columns "
        "where active and database = 'xapi' and table = 'trial'",
    )

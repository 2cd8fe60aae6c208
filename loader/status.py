"""What is loaded, what is waiting for dbt and what failed: `xapi-elt status`."""

from dataclasses import dataclass, field
from typing import Any

from loader.clickhouse.warehouse import Warehouse
from loader.errors import PermanentError
from loader.lag import Numbers, numbers
from loader.settings import Settings

LEDGER = """
select
    outcome,
    count() as objects,
    uniqExact(load_id) as loads,
    sum(rows) as lines,
    toString(max(committed_at)) as last
from {raw:Identifier}.loads
group by outcome
order by outcome
"""

LATEST_ERRORS = """
select toString(committed_at) as at, outcome, error
from {raw:Identifier}.loads
where error != ''
order by committed_at desc
limit 5
"""

# The tables that dbt keeps, each with the id in its comment.
TABLES = """
select
    name,
    extract(comment, '\\\\[table ([0-9a-f-]+)\\\\]') as table_id,
    coalesce(total_rows, 0) as rows,
    coalesce(total_bytes, 0) as bytes
from system.tables
where database = {models:String} and engine like '%MergeTree' and table_id != ''
order by name
"""

# What dbt recorded of a table: the rows that it had, and the committed loads that it does not hold.
WAITING = """
with recorded as (
    select
        argMax(applied_under, version) as applied_under,
        argMax(table_rows, version) as table_rows
    from {database:Identifier}.elt_tables
    where model = {model:String} and table_id = {table_id:UUID}
)
select
    (select table_rows from recorded) as recorded_rows,
    count() as loads,
    sum(lines) as lines
from (
    select load_id, sum(rows) as lines
    from {raw:Identifier}.loads
    where outcome = 'committed'
    group by load_id
)
where load_id not in (
    select load_id
    from {database:Identifier}.elt_applied_loads
    where model = {model:String} and table_id = (select applied_under from recorded)
)
"""

REJECTED = """
select reject_reason as reason, count() as lines
from {database:Identifier}.int_xapi__statements
where family = 'rejected'
group by reason
order by lines desc
"""

MODELS = "select name from system.tables where database = {models:String}"

# By title: an operations model and the query that shows it. The models are views that dbt creates
# (docs/models.md).
OPERATIONS = {
    "Freshness": (
        "ops_freshness",
        """
        select
            table_name as name,
            formatDateTime(newest_event_at, '%F') as newest_event,
            formatDateTime(newest_load_at, '%F %R') as newest_load,
            lag_seconds
        from {database:Identifier}.ops_freshness
        order by table_name
        """,
    ),
    "Last seven days with loads": (
        "ops_daily",
        """
        select
            toString(day) as day,
            objects_visible as objects,
            objects_failed as failed,
            lines,
            events,
            duplicates as repeats,
            rejected,
            other
        from {database:Identifier}.ops_daily
        order by day desc
        limit 7
        """,
    ),
    "Largest sections": (
        "ops_sections",
        """
        select
            if(section_id = 0, course_id, toString(section_id)) as section,
            statements as lines,
            events,
            duplicates as repeats,
            rejected,
            formatDateTime(last_event_at, '%F') as last_event
        from {database:Identifier}.ops_sections
        order by statements desc
        limit 10
        """,
    ),
    "Other statements": (
        "ops_other_statements",
        """
        select verb_iri as verb, object_type, statements
        from {database:Identifier}.ops_other_statements
        order by statements desc
        limit 5
        """,
    ),
    "Statement ids of several events": (
        "ops_id_conflicts",
        """
        select statement_id, events, formatDateTime(last_seen_at, '%F %R') as last_seen
        from {database:Identifier}.ops_id_conflicts
        order by events desc, statement_id
        limit 5
        """,
    ),
}


@dataclass(frozen=True)
class Status:
    """What `xapi-elt status` shows.

    Attributes:
        ledger: one row per outcome: objects, loads, lines, last (time of the last one).
        errors: the latest errors.
        tables: one row per table that dbt maintains: name, rows, bytes, waiting_loads and
            waiting_lines (committed, but not yet in the table), missing_rows (by how many it has
            fewer than when dbt last changed it: it was truncated or restored by itself).
        rejected: one row per reason: lines.
        operations: rows of the operations models, by title.
        numbers: what worker and transform export as metrics (see `lag.Numbers`); None if dbt has
            built nothing yet.
    """

    ledger: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    tables: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    operations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    numbers: Numbers | None = None


def status(warehouse: Warehouse, settings: Settings) -> Status:
    """Query the ledger and the tables.

    Args:
        warehouse: the ClickHouse to query.
        settings: names of its databases.

    Raises:
        PermanentError: the raw tables do not exist.
    """
    names = {row["name"] for row in warehouse.query(MODELS, models=settings.database)}
    # dbt creates its bookkeeping tables before the tables of events.
    built = "elt_tables" in names
    tables = []
    for table in warehouse.query(TABLES, models=settings.database) if built else []:
        known = warehouse.query(WAITING, model=table["name"], table_id=table["table_id"])[0]
        tables.append(
            {
                "name": table["name"],
                "rows": table["rows"],
                "bytes": table["bytes"],
                "waiting_loads": known["loads"],
                "waiting_lines": known["lines"],
                "missing_rows": max(0, known["recorded_rows"] - table["rows"]),
            }
        )
    return Status(
        ledger=warehouse.query(LEDGER),
        errors=warehouse.query(LATEST_ERRORS),
        tables=tables,
        rejected=warehouse.query(REJECTED) if "int_xapi__statements" in names else [],
        operations={
            title: warehouse.query(sql)
            for title, (model, sql) in OPERATIONS.items()
            if model in names
        },
        numbers=_numbers(warehouse, settings),
    )


def _numbers(warehouse: Warehouse, settings: Settings) -> Numbers | None:
    try:
        return numbers(warehouse, settings, last_day=True)
    except PermanentError:
        return None

"""What is loaded, what is waiting for dbt and what failed: `xapi-elt status`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from loader.clickhouse.schema import is_there
from loader.clickhouse.warehouse import Warehouse
from loader.errors import MissingRightError, PermanentError
from loader.lag import LAG, Numbers, numbers
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

EXPIRED = """
select count() as loads, sum(lines) as lines, toString(max(expired_at)) as last
from {raw:Identifier}.expired_loads
"""

# Objects that failed in the last week and of which no attempt has succeeded.
UNLOADED = """
select count() as objects
from (
    select bucket, key
    from {raw:Identifier}.loads
    where (bucket, key) in (
        select bucket, key
        from {raw:Identifier}.loads
        where outcome in ('failed', 'unknown') and committed_at > now64(3) - interval 7 day
    )
    group by bucket, key
    having countIf(outcome = 'committed') = 0
)
"""

# The statement store, from which the other tables are filled.
STORE = "int_xapi__statements"

# The tables that follow the ledger. Other tables of the marts follow these.
TABLES = """
select
    name,
    coalesce(total_rows, 0) as rows,
    coalesce(total_bytes, 0) as bytes
from system.tables
where database = {models:String} and engine like '%MergeTree'
    and name in (select model from {database:Identifier}.elt_tables)
order by name
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
        unloaded: number of objects that failed in the last week and are not loaded.
        ledger: one row per outcome: objects, loads, lines, last (time of the last one).
        errors: the latest errors.
        tables: one row per table that dbt maintains: name, rows, bytes, waiting_loads and
            waiting_lines (committed, but not yet in the table), has_late_loads (some became visible
            late, or the bookkeeping lost some; these are not counted), missing_rows (by how many it
            has fewer than when dbt last changed it: it was truncated or restored by itself),
            is_known (whether dbt's bookkeeping has it).
        rejected: one row per reason: lines.
        operations: rows of the operations models, by title.
        not_allowed: what the user may not see, with the right that is missing.
        expired: loads and lines that `expire` removed from raw, and when last; empty if none.
        numbers: what worker and transform export as metrics (see `lag.Numbers`); None if dbt has
            built nothing yet.
    """

    unloaded: int
    ledger: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    tables: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    operations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    not_allowed: list[str] = field(default_factory=list)
    expired: dict[str, Any] = field(default_factory=dict)
    numbers: Numbers | None = None

    @property
    def problems(self) -> list[str]:
        """What is not as it should be, and what to do, one line each; none if all is well."""
        return list(_problems(self))

    @property
    def headline(self) -> str:
        """One line: whether all is well and, if not, what to do."""
        if problems := self.problems:
            return f"To do: {'; '.join(problems)}"
        lines = sum(row["lines"] for row in self.ledger if row["outcome"] == "committed")
        return f"All is well: {lines:,} lines are loaded, and the tables have all of them"


def _problems(page: Status) -> Iterator[str]:
    if page.not_allowed:
        yield "this user may not see everything (below: which rights are missing)"
    committed = [row for row in page.ledger if row["outcome"] == "committed"]
    if not committed:
        yield "nothing is loaded yet: xapi-elt load or xapi-elt backfill"
    elif not page.tables and not page.not_allowed:
        lines = committed[0]["lines"]
        yield f"{lines:,} lines are loaded, and no tables are built yet: dbt run"
    if page.unloaded:
        yield (
            f"{page.unloaded:,} objects failed in the last week and are not loaded (below: why); "
            "repair the cause, then: xapi-elt reconcile s3://<bucket>/<prefix> --load-missing"
        )
    for table in page.tables:
        refresh = f"dbt run --full-refresh --select {table['name']}"
        if not table["is_known"]:
            yield f"dbt's bookkeeping does not have {table['name']} as it is now: {refresh}"
        if table["missing_rows"]:
            if page.expired and table["name"] == STORE:
                refresh = (
                    f"restore both databases from a backup, or try {refresh}, which stops if raw "
                    "lines of these rows have expired"
                )
            yield (
                f"{table['name']} lost {table['missing_rows']:,} rows since dbt last changed it: "
                f"{refresh}"
            )
    if waiting := max((table["waiting_lines"] for table in page.tables), default=0):
        yield f"{waiting:,} lines wait for dbt: dbt run"
    elif any(table["has_late_loads"] for table in page.tables):
        yield "loads that became visible late, or were lost by the bookkeeping, wait: dbt run"


def status(warehouse: Warehouse, settings: Settings) -> Status:
    """Query the ledger and the tables.

    Args:
        warehouse: the ClickHouse to query.
        settings: names of its databases.

    Raises:
        MissingRightError: the user may not read the ledger.
        PermanentError: the raw tables do not exist.
    """
    reader = _Reader(warehouse, settings)
    ledger, errors = warehouse.query(LEDGER), warehouse.query(LATEST_ERRORS)
    return Status(
        unloaded=warehouse.query(UNLOADED)[0]["objects"],
        ledger=ledger,
        errors=errors,
        tables=reader.tables(),
        rejected=reader.rows("int_xapi__statements", REJECTED) or [],
        operations={
            title: rows
            for title, (model, sql) in OPERATIONS.items()
            if (rows := reader.rows(model, sql)) is not None
        },
        not_allowed=list(dict.fromkeys(reader.not_allowed)),
        expired=_expired(warehouse, settings),
        numbers=_numbers(warehouse, settings),
    )


class _Reader:
    """Reads what dbt built, and notes what the user may not see."""

    def __init__(self, warehouse: Warehouse, settings: Settings):
        self._warehouse = warehouse
        self._models = settings.database
        self._names = {row["name"] for row in warehouse.query(MODELS, models=self._models)}
        self.not_allowed: list[str] = []

    def rows(self, table: str, sql: str, **values: Any) -> list[dict[str, Any]] | None:
        """Rows of a query on a table; None if it is not there or may not be read."""
        try:
            if table in self._names or is_there(self._warehouse, self._models, table):
                return self._warehouse.query(sql, **values)
        except MissingRightError as error:
            self.not_allowed.append(str(error))
        return None

    def tables(self) -> list[dict[str, Any]]:
        """The rows of `Status.tables`."""
        # dbt creates its bookkeeping tables before the tables of events.
        tables = self.rows("elt_tables", TABLES, models=self._models) or []
        lag = self.rows("elt_applied_loads", LAG, models=self._models) if tables else None
        if lag is None:
            return []
        behind = {row["name"]: row for row in lag if row["kind"] == "table"}
        return [table | _state(behind.get(table["name"])) for table in tables]


def _state(behind: dict[str, Any] | None) -> dict[str, Any]:
    """What dbt knows of a table."""
    known = behind or {}
    counts = ("waiting_loads", "waiting_lines", "missing_rows")
    return {name: known.get(name, 0) for name in counts} | {
        "has_late_loads": bool(known.get("has_late_loads")),
        "is_known": behind is not None,
    }


def _expired(warehouse: Warehouse, settings: Settings) -> dict[str, Any]:
    if not is_there(warehouse, settings.raw_database, "expired_loads"):
        return {}  # a database of an earlier release, before `init`
    [row] = warehouse.query(EXPIRED)
    return row if row["loads"] else {}


def _numbers(warehouse: Warehouse, settings: Settings) -> Numbers | None:
    try:
        return numbers(warehouse, settings, last_day=True)
    except PermanentError:
        return None

"""Remove raw lines beyond their retention, whole months at a time: `xapi-elt expire`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from loader.clickhouse.safety import check_visible
from loader.clickhouse.schema import is_there
from loader.clickhouse.warehouse import Warehouse
from loader.errors import PermanentError, SettingsError
from loader.settings import Settings

# Loads that are named when they are not transformed yet. All are counted.
MOST_NAMED = 5

TODAY = "select toString(toDate(now('UTC'))) as today"

# Also months in which every row is deleted: until their parts merge, the lines are on the disk.
PARTITIONS = """
select toUInt32(partition) as month, sum(bytes_on_disk) as bytes
from system.parts
where active and database = {raw:String} and table = 'statements'
    and toUInt32(partition) < {first_kept:UInt32}
group by month
order by month
"""

LINES = """
select
    toYYYYMM(loaded_at) as month,
    uniqExact(load_id) as loads,
    uniqExact(load_id, bucket, key) as objects,
    count() as lines
from {raw:Identifier}.statements
where toYYYYMM(loaded_at) < {first_kept:UInt32}
group by month
"""

# Committed loads whose lines the statement store does not hold. What a later load superseded may
# still be in the store, or not.
WAITING = """
with
    old as (
        select distinct load_id
        from {raw:Identifier}.statements
        where toYYYYMM(loaded_at) < {first_kept:UInt32}
            and load_id not in (select load_id from {raw:Identifier}.expired_loads)
    ),
    objects as (
        select
            load_id,
            if(bucket = '', key, concat(bucket, '/', key)) as source_path,
            status = 'visible' as is_visible,
            rows
        from {raw:Identifier}.committed_objects
        where load_id in (select load_id from old)
    ),
    committed as (
        select load_id, min(source_path) as object, sumIf(rows, is_visible) as lines
        from objects
        group by load_id
    ),
    stored as (
        select load_id, count() as lines
        from {database:Identifier}.int_xapi__statements
        where load_id in (select load_id from old)
            and source_item <= 1
            and (load_id, source_path) not in (
                select load_id, source_path from objects where not is_visible
            )
        group by load_id
    ),
    applied as (
        select load_id
        from {database:Identifier}.elt_applied_loads
        where model = 'int_xapi__statements' and table_id in (
            select argMax(applied_under, version)
            from {database:Identifier}.elt_tables
            where model = 'int_xapi__statements' and toString(table_id) in (
                select extract(comment, '\\\\[table ([0-9a-f-]+)\\\\]')
                from system.tables
                where database = {models:String} and name = 'int_xapi__statements'
            )
            group by table_id
        )
    )
select toString(committed.load_id) as load_id, committed.object as object
from committed
left join stored on committed.load_id = stored.load_id
where committed.lines > stored.lines or committed.load_id not in (select load_id from applied)
order by object, load_id
settings join_use_nulls = 0
"""

# Before any line is removed: from now on dbt keeps what came from these loads.
RECORD = """
insert into {raw:Identifier}.expired_loads (load_id, lines)
select load_id, count() as lines
from {raw:Identifier}.statements
where toYYYYMM(loaded_at) < {first_kept:UInt32}
    and load_id in (select load_id from {raw:Identifier}.loads where outcome = 'committed')
    and load_id not in (select load_id from {raw:Identifier}.expired_loads)
group by load_id
"""

# No line is of this month: with it the right to remove is tried before loads are recorded.
NO_MONTH = 0
DROP = """
alter table {raw:Identifier}.statements drop partition {month:UInt32}
settings alter_sync = 2, max_partition_size_to_drop = 0
"""


@dataclass(frozen=True)
class Month:
    """Lines of one partition of the raw table.

    Attributes:
        month: when they were loaded, e.g. 2024-05.
        loads, objects, lines: what the partition holds, also of loads that never committed.
        bytes: its size on disk.
    """

    month: str
    loads: int
    objects: int
    lines: int
    bytes: int


@dataclass(frozen=True)
class Expiry:
    """What `remove` removes.

    Attributes:
        before: the first month that stays, e.g. 2025-05.
        months: the months that go.
        waiting: number of loads among them that are not transformed; then nothing is removed.
        examples: some of these loads, each as load_id and object.
    """

    before: str
    months: list[Month]
    waiting: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def check(self) -> None:
        """Refuse to remove lines that no table holds.

        Raises:
            PermanentError: loads are not transformed; it names some.
        """
        if self.waiting:
            names = ", ".join(f"{one['load_id']} ({one['object']})" for one in self.examples)
            raise PermanentError(
                f"{self.waiting} loads before {self.before} are not transformed, and their lines "
                f"would be lost: {names}{', …' if self.waiting > len(self.examples) else ''}. "
                "Run dbt run, then the same command again. Nothing was removed"
            )


def first_kept_month(older_than: str, today: date) -> date:
    """The first day of the first month that is not wholly older than an age.

    Args:
        older_than: a number and a unit: d (days), w (weeks), m (months) or y (years), e.g. 18m.
        today: the UTC day.

    Raises:
        SettingsError: it is no age.
    """
    found = re.fullmatch(r"([1-9]\d{0,3})([dwmy])", older_than)
    if not found:
        raise SettingsError(
            f"--older-than is {older_than!r}; accepted: a whole number from 1 to 9999 and d, w, m "
            "or y (days, weeks, months, years), e.g. 18m"
        )
    count, unit = int(found[1]), found[2]
    if unit in "dw":
        return (today - timedelta(days=count * (7 if unit == "w" else 1))).replace(day=1)
    months = today.year * 12 + today.month - 1 - count * (12 if unit == "y" else 1)
    return date(max(months // 12, 1), months % 12 + 1, 1)


def plan(warehouse: Warehouse, settings: Settings, older_than: str) -> Expiry:
    """Find the months of raw lines that are wholly older than an age. Changes nothing.

    Args:
        warehouse: the ClickHouse to query.
        settings: names of its databases.
        older_than: see `first_kept_month`.

    Raises:
        SettingsError: it is no age, or rows of the ledger are hidden.
        LoaderError: ClickHouse refuses, or the raw tables are missing.
    """
    first = first_kept_month(older_than, date.fromisoformat(warehouse.query(TODAY)[0]["today"]))
    check_visible(warehouse)
    kept = {"first_kept": first.year * 100 + first.month}
    counts = {row["month"]: row for row in warehouse.query(LINES, **kept)}
    none = {"loads": 0, "objects": 0, "lines": 0}
    months = [
        Month(**(none | counts.get(row["month"], {}) | row | {"month": _name(row["month"])}))
        for row in warehouse.query(PARTITIONS, raw=settings.raw_database, **kept)
    ]
    waiting = _waiting(warehouse, settings, kept) if any(one.loads for one in months) else []
    return Expiry(f"{first:%Y-%m}", months, len(waiting), waiting[:MOST_NAMED])


def remove(warehouse: Warehouse, expiry: Expiry) -> Iterator[Month]:
    """Record the loads as expired, then remove the lines. If it is interrupted, plan and
    run it again.

    Args:
        warehouse: the ClickHouse to change.
        expiry: a plan.

    Yields:
        Each month, after its lines are removed.

    Raises:
        PermanentError: loads are not transformed.
        LoaderError: ClickHouse refuses or does not respond.
    """
    expiry.check()
    warehouse.command(DROP, month=NO_MONTH)
    warehouse.command(RECORD, first_kept=_number(expiry.before))
    for one in expiry.months:
        warehouse.command(DROP, month=_number(one.month))
        yield one


def _waiting(warehouse: Warehouse, settings: Settings, kept: dict[str, int]) -> list[dict]:
    """Loads of these months that the statement store does not hold."""
    models = settings.database
    if not is_there(warehouse, models, "int_xapi__statements"):
        raise PermanentError(
            f"dbt has not built {models}.int_xapi__statements, so the lines are nowhere else: dbt "
            "run, then the same command again. Nothing was removed"
        )
    return warehouse.query(WAITING, models=models, **kept)


def _name(month: int) -> str:
    return f"{month // 100}-{month % 100:02}"


def _number(month: str) -> int:
    return int(month.replace("-", ""))

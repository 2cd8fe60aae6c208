"""How far the tables that dbt builds are behind the ledger: one query, which reads little."""

from dataclasses import dataclass, field
from typing import Any

from loader.clickhouse.warehouse import Warehouse
from loader.settings import Settings

# One row per table that follows the ledger, and per mart that follows such tables. There is no list
# of them here: a table has its id in its comment, a mart also the state of the tables that it was
# made from. Like dbt, it compares single loads only after a table's horizon, and before it
# their number; has_late_loads says that dbt will compare all, because some became visible late or
# the bookkeeping lost those of before (macros/ledger_incremental/applied.sql).
LAG = """
with
    stored as (
        select
            name,
            total_rows,
            extract(comment, '\\\\[table ([0-9a-f-]+)\\\\]') as id,
            extract(comment, '\\\\[after ([^\\\\]]*)\\\\]') as made_after
        from system.tables
        where database = {models:String} and id != ''
    ),
    recorded as (
        select
            model,
            toString(table_id) as id,
            max(version) as newest,
            argMax(applied_under, version) as applied_under,
            argMax(table_rows, version) as table_rows,
            argMax(horizon, version) as horizon,
            argMax(loads_before_horizon, version) as loads_before
        from {database:Identifier}.elt_tables
        group by model, id
    ),
    followers as (
        select recorded.*, stored.total_rows as total_rows
        from recorded
        inner join stored on stored.name = recorded.model and stored.id = recorded.id
    ),
    oldest as (select min(horizon) from followers),
    committed as (
        select load_id, min(committed_at) as at, sum(rows) as lines
        from {raw:Identifier}.loads
        where outcome = 'committed' and committed_at >= (select * from oldest)
        group by load_id
    ),
    applied as (
        select model, load_id
        from {database:Identifier}.elt_applied_loads
        where (model, table_id) in (select model, applied_under from followers)
            and committed_at >= (select * from oldest)
    ),
    applied_by_day as (
        select model, toDate(committed_at) as day, count() as loads
        from {database:Identifier}.elt_applied_loads
        where (model, table_id) in (select model, applied_under from followers)
            and step != 'rebuild'
        group by model, day
    ),
    by_day as (
        select 1 as of_ledger, toDate(committed_at) as day, count() as loads
        from {raw:Identifier}.loads
        where outcome = 'committed'
        group by day
        union all
        select 0 as of_ledger, day, loads
        from applied_by_day
        where model = 'int_xapi__statements'
    ),
    held_before as (
        select followers.model as model, sum(applied_by_day.loads) as loads
        from followers
        inner join applied_by_day on applied_by_day.model = followers.model
        where applied_by_day.day < followers.horizon
        group by model
    ),
    behind as (
        select
            followers.model as model,
            count() as loads,
            sum(committed.lines) as lines,
            min(committed.at) as since
        from followers
        cross join committed
        where committed.at >= followers.horizon
            and (followers.model, committed.load_id) not in (select model, load_id from applied)
        group by model
    ),
    before as (
        select followers.model as model, sum(by_day.loads) as loads
        from followers
        cross join by_day
        where by_day.day < followers.horizon
            and by_day.of_ledger = (followers.model = 'int_xapi__statements')
        group by model
    )
select
    followers.model as name,
    'table' as kind,
    behind.loads as waiting_loads,
    behind.lines as waiting_lines,
    if(
        behind.loads = 0, 0, greatest(0, dateDiff('second', behind.since, now64(3, 'UTC')))
    ) as lag_seconds,
    before.loads != followers.loads_before
        or (followers.loads_before > 0 and held_before.loads = 0) as has_late_loads,
    greatest(0, toInt64(followers.table_rows) - toInt64(followers.total_rows)) as missing_rows
from followers
left join behind on behind.model = followers.model
left join before on before.model = followers.model
left join held_before on held_before.model = followers.model
union all
select
    stored.name as name,
    'mart' as kind,
    0 as waiting_loads,
    0 as waiting_lines,
    0 as lag_seconds,
    arrayExists(
        table -> arraySlice(splitByChar(' ', table), 1, 3) not in (
            select [toString(model), id, toString(newest)] from followers
        ),
        splitByString(', ', stored.made_after)
    ) as has_late_loads,
    0 as missing_rows
from stored
where stored.made_after != ''
settings join_use_nulls = 0
"""

# The last 24 hours of the ledger, and how many of their lines are rejected.
LAST_DAY = """
with recent as (
    select load_id, outcome, rows, committed_at
    from {raw:Identifier}.loads
    where committed_at > now64(3, 'UTC') - interval 1 day
)
select
    countIf(outcome = 'committed') as committed,
    countIf(outcome = 'failed') as failed,
    countIf(outcome = 'unknown') as unknown,
    countIf(outcome = 'missed') as missed,
    sum(rows) as lines,
    (
        select count()
        from {database:Identifier}.rejected_statements
        where load_id in (select load_id from recent where outcome = 'committed')
    ) as rejected_lines,
    least(1, if(lines = 0, 0, rejected_lines / lines)) as rejected_share,
    toUnixTimestamp(maxIf(committed_at, outcome = 'committed')) as last_commit
from recent
"""


@dataclass(frozen=True)
class Numbers:
    """How far the tables are behind, and what was loaded lately.

    Attributes:
        tables: one row per table: `name`; `kind`, table or mart; `waiting_loads` and
            `waiting_lines`, committed but not in the table; `lag_seconds` since the oldest of these
            was committed; `is_behind`, whether dbt has something to do for it.
        last_day: objects by outcome, `lines`, `rejected_lines`, `rejected_share` (0 to 1) and
            `last_commit` (seconds since 1970; 0 if there was none) of the last 24 hours; empty if
            not requested.
    """

    tables: list[dict[str, Any]]
    last_day: dict[str, Any] = field(default_factory=dict)

    @property
    def is_behind(self) -> bool:
        """Whether dbt has something to do."""
        names = {table["name"] for table in self.tables}
        return "int_xapi__statements" not in names or any(
            table["is_behind"] for table in self.tables
        )


def numbers(warehouse: Warehouse, settings: Settings, last_day: bool = False) -> Numbers:
    """Query how far the tables are behind the ledger.

    Args:
        warehouse: the ClickHouse to query, as a user who may read both databases.
        settings: names of the databases.
        last_day: whether to query the loads of the last day, too, by a second statement.

    Raises:
        LoaderError: dbt has built nothing yet, or the user lacks a right.
    """
    tables = []
    for row in warehouse.query(LAG, models=settings.database):
        late, missing = row.pop("has_late_loads"), row.pop("missing_rows")
        tables.append(row | {"is_behind": bool(row["waiting_loads"] or late or missing)})
    tables.sort(key=lambda table: (table["kind"], table["name"]))
    return Numbers(tables, warehouse.query(LAST_DAY)[0] if last_day else {})

"""Remove what attempts left behind that ended half-way: lines and notes nobody will ever see."""

from dataclasses import dataclass

from loader.clickhouse.warehouse import Warehouse
from loader.load import LONGEST_ATTEMPT
from loader.settings import Settings

# Seconds after which nothing of an attempt can still be committed.
SAFE_AGE = 2 * LONGEST_ATTEMPT

# Load ids of one statement: 37 bytes each, and a parameter may have 128 KiB.
MOST_IDS = 2000

LEFTOVER_LOADS = """
select toString(load_id) as load_id, count() as lines
from {raw:Identifier}.statements
where load_id not in (select load_id from {raw:Identifier}.loads where outcome = 'committed')
group by load_id
having max(loaded_at) < now64(3, 'UTC') - toIntervalSecond({age:UInt64})
order by load_id
"""

# The rows are masked at once; their space comes free when their parts merge. A mutation that
# rewrote the parts would rewrite whole months for a few lines.
DELETE_LINES = """
delete from {raw:Identifier}.statements
where load_id in {ids:Array(UUID)}
settings lightweight_deletes_sync = 2
"""

HAS_APPLICATIONS = """
select count() as tables
from system.tables
where database = {models:String} and name = 'load_applications'
"""

# A dbt run reads its own 'started' rows only, while it runs.
OLD_STARTS = """
select count() as starts
from {database:Identifier}.load_applications
where state = 'started' and recorded_at < now64(3, 'UTC') - toIntervalSecond({age:UInt64})
"""

DELETE_STARTS = """
delete from {database:Identifier}.load_applications
where state = 'started'
    and recorded_at < parseDateTime64BestEffort({before:String}, 3, 'UTC')
settings lightweight_deletes_sync = 2
"""

CUTOFF = "select toString(now64(3, 'UTC') - toIntervalSecond({age:UInt64})) as before"


@dataclass(frozen=True)
class Garbage:
    """What was removed, or with a dry run would be.

    Attributes:
        loads: attempts that left lines.
        lines: their lines.
        starts: rows 'started' of dbt runs that are over.
        dry_run: whether everything is still there.
    """

    loads: int
    lines: int
    starts: int
    dry_run: bool


def collect(
    warehouse: Warehouse, settings: Settings, *, age: int = SAFE_AGE, dry_run: bool = False
) -> Garbage:
    """Remove the lines of loads that the ledger does not hold as committed, and the notes of
    dbt runs that are over.

    Args:
        age: seconds since a load wrote its last line; younger ones may be under way.
        dry_run: only count.

    Raises:
        LoaderError: ClickHouse refuses; the raw tables are missing.
    """
    leftovers = warehouse.query(LEFTOVER_LOADS, age=age)
    known = warehouse.query(HAS_APPLICATIONS, models=settings.database)[0]["tables"]
    starts = warehouse.query(OLD_STARTS, age=age)[0]["starts"] if known else 0
    if not dry_run:
        ids = [row["load_id"] for row in leftovers]
        for at in range(0, len(ids), MOST_IDS):
            warehouse.command(DELETE_LINES, ids=ids[at : at + MOST_IDS])
        if starts:
            # Replicas delete the same rows: the time is a value, not now() of each.
            before = warehouse.query(CUTOFF, age=age)[0]["before"]
            warehouse.command(DELETE_STARTS, before=before)
    return Garbage(len(leftovers), sum(row["lines"] for row in leftovers), starts, dry_run)

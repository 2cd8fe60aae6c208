"""Remove leftovers of interrupted work: uncommitted lines, and records of dbt runs that ended."""

from dataclasses import dataclass

from loader.clickhouse.warehouse import Warehouse
from loader.load import LONGEST_ATTEMPT
from loader.settings import Settings

# Seconds after which an attempt can no longer commit.
SAFE_AGE = 2 * LONGEST_ATTEMPT

# Load ids in one statement: 37 bytes each, and a parameter may have 128 KiB.
MOST_IDS = 2000

LEFTOVER_LOADS = """
select toString(load_id) as load_id, count() as lines
from {raw:Identifier}.statements
where load_id not in (select load_id from {raw:Identifier}.loads where outcome = 'committed')
group by load_id
having max(loaded_at) < now64(3, 'UTC') - toIntervalSecond({age:UInt64})
order by load_id
"""

# The rows are hidden at once; their disk space is freed when their parts merge. A mutation would
# rewrite whole months for a few lines.
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

# A dbt run reads only its own 'started' rows, and only while it runs.
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
    """What was removed, or would be removed without the dry run.

    Attributes:
        loads: number of attempts that left lines.
        lines: number of their lines.
        starts: number of 'started' rows of dbt runs that ended.
        dry_run: whether nothing was removed.
    """

    loads: int
    lines: int
    starts: int
    dry_run: bool


def collect(
    warehouse: Warehouse, settings: Settings, *, age: int = SAFE_AGE, dry_run: bool = False
) -> Garbage:
    """Remove lines of loads that the ledger does not have as committed, and 'started' rows of dbt
    runs that ended.

    Args:
        warehouse: the ClickHouse to clean up.
        settings: names of its databases.
        age: seconds since a load wrote its last line; younger loads may still be running.
        dry_run: only count.

    Raises:
        LoaderError: ClickHouse refuses, or the raw tables are missing.
    """
    leftovers = warehouse.query(LEFTOVER_LOADS, age=age)
    known = warehouse.query(HAS_APPLICATIONS, models=settings.database)[0]["tables"]
    starts = warehouse.query(OLD_STARTS, age=age)[0]["starts"] if known else 0
    if not dry_run:
        ids = [row["load_id"] for row in leftovers]
        for at in range(0, len(ids), MOST_IDS):
            warehouse.command(DELETE_LINES, ids=ids[at : at + MOST_IDS])
        if starts:
            # All replicas must delete the same rows, so the time is a value and not their now().
            before = warehouse.query(CUTOFF, age=age)[0]["before"]
            warehouse.command(DELETE_STARTS, before=before)
    return Garbage(len(leftovers), sum(row["lines"] for row in leftovers), starts, dry_run)

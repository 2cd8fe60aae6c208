"""Remove the leftovers of interrupted loads: lines that were never committed."""

from dataclasses import dataclass

from loader.clickhouse.safety import check_visible
from loader.clickhouse.warehouse import Warehouse
from loader.errors import SettingsError
from loader.load import LONGEST_ATTEMPT

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


@dataclass(frozen=True)
class Garbage:
    """What was removed, or would be removed without the dry run.

    Attributes:
        loads: number of attempts that left lines.
        lines: number of their lines.
        dry_run: whether nothing was removed.
    """

    loads: int
    lines: int
    dry_run: bool


def collect(
    warehouse: Warehouse,
    *,
    age: int = SAFE_AGE,
    even_running: bool = False,
    dry_run: bool = False,
) -> Garbage:
    """Remove lines of loads that the ledger does not have as committed.

    Args:
        warehouse: the ClickHouse to clean up.
        age: seconds since a load wrote its last line; younger loads may still be running.
        even_running: accept an age at which a load may still be running and commit later.
        dry_run: only count.

    Raises:
        SettingsError: a load of that age may still be running, or rows of the ledger are hidden.
        LoaderError: ClickHouse refuses, or the raw tables are missing.
    """
    if age < SAFE_AGE and not (even_running or dry_run):
        raise SettingsError(
            f"a load may run for up to {SAFE_AGE // 3600} hours, and gc would remove the lines of "
            f"one that is running; accepted: {SAFE_AGE // 3600} hours or more, or, if no load is "
            "running, --even-running"
        )
    check_visible(warehouse)
    leftovers = warehouse.query(LEFTOVER_LOADS, age=age)
    if not dry_run:
        ids = [row["load_id"] for row in leftovers]
        for at in range(0, len(ids), MOST_IDS):
            warehouse.command(DELETE_LINES, ids=ids[at : at + MOST_IDS])
    return Garbage(len(leftovers), sum(row["lines"] for row in leftovers), dry_run)

"""Wait until what was erased is gone from the disk, not only hidden.

ClickHouse keeps what a mutation replaced for eight minutes, rows masked by `delete from` until
their parts merge, and dropped tables for a while.
"""

import time
from collections.abc import Callable

from loader.clickhouse.warehouse import Warehouse
from loader.errors import PermanentError, RetryableError
from loader.privacy.claims import on_cluster
from loader.settings import Settings

LONGEST_WAIT = 1800

MUTATIONS = """
select database, table, latest_fail_reason as reason
from system.mutations
where database in ({database:String}, {raw:String}) and not is_done and not is_killed
"""
MASKED = """
select distinct database, table
from system.parts
where active and has_lightweight_delete and database in ({database:String}, {raw:String})
order by database, table
"""
APPLY_MASK = """
alter table {schema:Identifier}.{table:Identifier} $on_cluster apply deleted mask
settings mutations_sync = 2
"""
OLD_PARTS = """
select database, table, groupArray(name) as parts
from system.parts
where not active and database in ({database:String}, {raw:String})
group by database, table
order by database, table
"""
SHORTEN = """
alter table {schema:Identifier}.{table:Identifier} $on_cluster modify setting old_parts_lifetime = 0
"""
RESET = """
alter table {schema:Identifier}.{table:Identifier} $on_cluster reset setting old_parts_lifetime
"""
# There is no such partition, and the statement removes what is older than the setting.
REMOVE = """
alter table {schema:Identifier}.{table:Identifier} $on_cluster drop partition id 'none'
"""
DROPPED = """
select toString(uuid) as uuid from system.dropped_tables
where database in ({database:String}, {raw:String})
"""
DETACHED = """
select count() as parts from system.detached_parts
where database in ({database:String}, {raw:String})
"""


def wait_for_mutations(warehouse: Warehouse) -> None:
    """Wait for mutations that a run before this one has left, which read its work.

    Raises:
        PermanentError: one of them fails.
        RetryableError: they take too long.
    """

    def running() -> bool:
        rows = warehouse.query(MUTATIONS)
        for row in rows:
            if row["reason"]:
                raise PermanentError(
                    f"a mutation of {row['database']}.{row['table']} fails: {row['reason']}"
                )
        return bool(rows)

    _wait(running, "mutations")


def purge(
    warehouse: Warehouse,
    settings: Settings,
    on_wait: Callable[[str], None] = lambda _: None,
) -> int:
    """Remove from the disk what is no longer visible in the two databases.

    Args:
        warehouse: has them.
        settings: which kind of ClickHouse this is.
        on_wait: called with what is waited for.

    Returns:
        Parts that ClickHouse has put aside because they were broken: these are not touched.

    Raises:
        RetryableError: something is still there after half an hour.
    """

    def alter(statement: str, row: dict[str, str]) -> None:
        text = on_cluster(statement, settings)
        warehouse.command(text, schema=row["database"], table=row["table"])

    on_wait("rewriting parts with masked rows")
    for row in warehouse.query(MASKED):
        alter(APPLY_MASK, row)
    on_wait("waiting until replaced parts are gone from the disk")
    old = warehouse.query(OLD_PARTS)
    try:
        for row in old:
            alter(SHORTEN, row)

        def still_there() -> bool:
            # Only those of the beginning: other queries and merges replace parts all the time.
            now = {
                (row["database"], row["table"]): row["parts"] for row in warehouse.query(OLD_PARTS)
            }
            left = [
                row
                for row in old
                if set(row["parts"]) & set(now.get((row["database"], row["table"]), ()))
            ]
            for row in left:
                alter(REMOVE, row)
            return bool(left)

        _wait(still_there, "replaced parts")
    finally:
        for row in old:
            alter(RESET, row)
    on_wait("waiting until dropped tables are gone from the disk")
    dropped = {row["uuid"] for row in warehouse.query(DROPPED)}
    _wait(
        lambda: bool(dropped & {row["uuid"] for row in warehouse.query(DROPPED)}), "dropped tables"
    )
    return warehouse.query(DETACHED)[0]["parts"]


def _wait(is_there: Callable[[], bool], what: str) -> None:
    started, pause = time.monotonic(), 0.05
    while is_there():
        if time.monotonic() - started > LONGEST_WAIT:
            raise RetryableError(
                f"{what} are still on the disk after {LONGEST_WAIT // 60} minutes: a query or a "
                "merge uses them. Run xapi-elt erase --pending later"
            )
        time.sleep(pause)
        pause = min(pause * 2, 2)

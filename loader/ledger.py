"""The ledger: what was committed, and the one insert that commits."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from loader.objects import S3Object
from loader.warehouse import Warehouse

COMMITTED_VERSIONS = """
select bucket, key, etag
from {raw:Identifier}.loads
where outcome = 'committed' and bucket = {bucket:String} and key in {keys:Array(String)}
order by committed_at, load_id
"""

# One insert, one block, one partition: all of these rows are there or none.
RECORD = """
insert into {raw:Identifier}.loads
(
    load_id, bucket, key, etag, size, last_modified, rows, outcome, error, mode, policy,
    event_time, started_at, committed_at, duration_ms
)
select
    {load_id:UUID},
    {bucket:String},
    object.1,
    object.2,
    object.3,
    parseDateTime64BestEffortOrNull(object.4, 3, 'UTC'),
    object.5,
    object.6,
    object.7,
    {mode:String},
    {policy:String},
    parseDateTime64BestEffortOrNull(object.8, 3, 'UTC'),
    parseDateTime64BestEffort({started_at:String}, 3, 'UTC') as started,
    now64(3, 'UTC') as committed,
    dateDiff('millisecond', started, committed)
from (
    select arrayJoin(arrayZip(
        {keys:Array(String)}, {etags:Array(String)}, {sizes:Array(UInt64)},
        {modified:Array(String)}, {rows:Array(UInt64)}, {outcomes:Array(String)},
        {errors:Array(String)}, {event_times:Array(String)}
    )) as object
)
settings async_insert = 0
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one object.

    Attributes:
        item: the object, with the version that was read where one was.
        outcome: committed, skipped (this version is in the ledger already), ignored (by policy:
            another version is), failed or unknown (no answer in time). Only committed counts.
        rows: lines loaded.
        error: why it failed, in one line.
        retryable: whether another attempt may succeed.
        load_id: the attempt; None if there was none.
    """

    item: S3Object
    outcome: str
    rows: int = 0
    error: str = ""
    retryable: bool = False
    load_id: UUID | None = None


def committed_versions(
    warehouse: Warehouse, batch: Iterable[S3Object], latest: bool = False
) -> dict[str, set[str]]:
    """The etags that the ledger holds of each object of a batch (one bucket), by path.

    Args:
        latest: only the one that was committed last.
    """
    batch = list(batch)
    versions: dict[str, set[str]] = {item.path: set() for item in batch}
    if batch:
        rows = warehouse.query(
            COMMITTED_VERSIONS, bucket=batch[0].bucket, keys=[item.key for item in batch]
        )
        for row in rows:
            held = versions[S3Object(row["bucket"], row["key"]).path]
            if latest:
                held.clear()
            held.add(row["etag"])
    return versions


def record(
    warehouse: Warehouse,
    outcomes: list[Outcome],
    load_id: UUID,
    mode: str,
    policy: str,
    started_at: datetime,
) -> None:
    """Write the ledger rows of one load attempt: this is the commit of those that are committed.

    Args:
        outcomes: one per object, all of one bucket.
        started_at: when the attempt began.
    """
    items = [outcome.item for outcome in outcomes]
    warehouse.command(
        RECORD,
        load_id=str(load_id),
        bucket=items[0].bucket,
        mode=mode,
        policy=policy,
        started_at=_utc(started_at),
        keys=[item.key for item in items],
        etags=[item.etag for item in items],
        sizes=[item.size for item in items],
        modified=[_utc(item.last_modified) for item in items],
        rows=[outcome.rows for outcome in outcomes],
        outcomes=[outcome.outcome for outcome in outcomes],
        errors=[outcome.error for outcome in outcomes],
        event_times=[_utc(item.event_time) for item in items],
    )


def _utc(time: datetime | None) -> str:
    """A time as ClickHouse reads it; '' for none."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds") if time else ""

"""The ledger of loads: query what is committed, and commit with one insert."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from loader.clickhouse.warehouse import Warehouse
from loader.objects import S3Object
from loader.outcomes import Outcome

COMMITTED_VERSIONS = """
select bucket, key, etag
from {raw:Identifier}.loads
where outcome = 'committed' and bucket = {bucket:String} and key in {keys:Array(String)}
order by committed_at, load_id
"""

# For each key its loaded versions (by the rule of `loaded_versions`), and the error of the latest
# attempt.
LEDGER_PAGE = """
select
    key,
    if(
        countIf(outcome = 'committed' and policy = 'replace') > 0,
        [argMaxIf(etag, committed_at, outcome = 'committed')],
        groupUniqArrayIf(etag, outcome = 'committed')
    ) as versions,
    sumIf(rows, outcome = 'committed') as lines,
    toUnixTimestamp(max(last_modified)) as modified,
    toUnixTimestamp64Milli(minIf(committed_at, outcome = 'committed')) / 1000 as first_committed,
    argMax(error, committed_at) as error
from {raw:Identifier}.loads
where bucket = {bucket:String} and startsWith(key, {prefix:String}) and key > {after:String}
group by key
order by key
limit {most:UInt64}
settings optimize_aggregation_in_order = 1
"""

# One insert, one block, one partition: either all of these rows become visible, or none.
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


def loaded_versions(
    warehouse: Warehouse, batch: Iterable[S3Object], policy: str = "append"
) -> dict[str, set[str]]:
    """The versions (etags) of each object, by path, that need not be loaded again.

    With policy `replace` this is only the version that was committed last: an older version that is
    uploaded again counts as new and replaces it.

    Args:
        warehouse: has the ledger.
        batch: objects of one bucket.
        policy: what another version of a loaded key means: append, replace, ignore or force.
    """
    batch = list(batch)
    versions: dict[str, set[str]] = {item.path: set() for item in batch}
    if batch:
        rows = warehouse.query(
            COMMITTED_VERSIONS, bucket=batch[0].bucket, keys=[item.key for item in batch]
        )
        for row in rows:
            loaded = versions[S3Object(row["bucket"], row["key"]).path]
            if policy == "replace":
                loaded.clear()
            loaded.add(row["etag"])
    return versions


def record(
    warehouse: Warehouse,
    outcomes: list[Outcome],
    load_id: UUID,
    mode: str,
    policy: str,
    started_at: datetime,
) -> None:
    """Write the ledger rows of one load attempt. For outcomes `committed`, this is the commit.

    Args:
        warehouse: has the ledger.
        outcomes: one per object, all of one bucket.
        load_id: the attempt.
        mode: what requested the load.
        policy: what another version of a loaded key means.
        started_at: when the attempt started.

    Raises:
        LoaderError: ClickHouse refuses or does not respond.
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
    """Write a time for ClickHouse; '' for none."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds") if time else ""

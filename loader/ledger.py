"""The ledger of loads: query what is committed, and commit with one insert."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from loader import parameters
from loader.clickhouse import safety
from loader.clickhouse.warehouse import Warehouse
from loader.objects import S3Object
from loader.outcomes import Outcome

# Bytes of an error that are stored. An error may quote a key several times.
MOST_ERROR_BYTES = 1500

# The keys whose latest attempt got no answer in time, with the number of such attempts.
UNANSWERED = """(
    select groupArray((key, attempts))
    from (
        select key, countIf(outcome = 'unknown') as attempts
        from {raw:Identifier}.loads
        where bucket = {bucket:String} and key in {keys:Array(String)}
        group by key
        having argMax(outcome, committed_at) = 'unknown'
    )
)"""

# With those, and with what `safety.check_visible` compares: a load needs no further request.
VISIBLE_VERSIONS = f"""
select
    groupArray((bucket, key, etag)) as versions,
    {UNANSWERED} as unanswered,
    {safety.STORED_ROWS} as stored,
    {safety.VISIBLE_ROWS} as visible
from {{raw:Identifier}}.committed_objects
where bucket = {{bucket:String}} and key in {{keys:Array(String)}} and status = 'visible'
"""

# What the ledger knows of each key, a page at a time.
LEDGER_PAGE = """
select
    key,
    toUnixTimestamp(max(last_modified)) as modified,
    toUnixTimestamp64Milli(minIf(committed_at, outcome = 'committed')) / 1000 as first_committed,
    argMax(error, committed_at) as error,
    groupUniqArrayIf(etag, outcome = 'committed') as loaded,
    length(arrayFilter(
        missing -> not has(loaded, missing), groupUniqArrayIf(etag, outcome = 'missed')
    )) as missed
from {raw:Identifier}.loads
where bucket = {bucket:String} and startsWith(key, {prefix:String}) and key > {after:String}
group by key
order by key
limit {most:UInt64}
settings optimize_aggregation_in_order = 1
"""

# The visible versions of the keys of a page.
VISIBLE_PAGE = """
select key, groupArray(etag) as versions, sum(rows) as lines
from {raw:Identifier}.committed_objects
where bucket = {bucket:String}
    and key > {after:String}
    and key <= {last:String}
    and status = 'visible'
group by key
"""

# One insert, one block, one partition: either all of these rows become visible, or none.
RECORD = """
insert into {raw:Identifier}.loads
(
    load_id, bucket, key, etag, size, last_modified, rows, outcome, error, mode, policy, forced,
    commit_number, event_time, started_at, committed_at, duration_ms
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
    {forced:Bool},
    if(object.6 = 'committed', earlier.commits + 1, 0),
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
) as objects
left join (
    select key, max(commit_number) as commits
    from {raw:Identifier}.loads
    where outcome = 'committed' and bucket = {bucket:String} and key in {keys:Array(String)}
    group by key
) as earlier on object.1 = earlier.key
settings async_insert = 0, join_use_nulls = 0
"""


def visible_versions(warehouse: Warehouse, batch: Iterable[S3Object]) -> dict[str, set[str]]:
    """The versions (etags) of objects that readers see, by path (see `visible_and_unanswered`)."""
    return visible_and_unanswered(warehouse, batch)[0]


def visible_and_unanswered(
    warehouse: Warehouse, batch: Iterable[S3Object]
) -> tuple[dict[str, set[str]], dict[str, int]]:
    """What the ledger says of objects, by path.

    Args:
        warehouse: has the ledger.
        batch: objects of one bucket.

    Returns:
        The versions (etags) that readers see. And for objects whose latest attempt got no answer in
        time (outcome `unknown`), the number of such attempts.

    Raises:
        UnsafeEngineError: rows of the ledger are hidden from the user.
    """
    batch = list(batch)
    versions: dict[str, set[str]] = {item.path: set() for item in batch}
    unanswered: dict[str, int] = {}
    if batch:
        [row] = warehouse.query(
            VISIBLE_VERSIONS, bucket=batch[0].bucket, keys=[item.key for item in batch]
        )
        safety.check_visible(warehouse, row["stored"], row["visible"])
        for bucket, key, etag in row["versions"]:
            versions[S3Object(bucket, key).path].add(etag)
        for key, attempts in row["unanswered"]:
            unanswered[S3Object(batch[0].bucket, key).path] = attempts
    return versions, unanswered


def ledger_keys(
    warehouse: Warehouse, bucket: str, prefix: str, most: int
) -> Iterator[dict[str, Any]]:
    """What the ledger knows of each key below a prefix, in the order of the keys.

    Args:
        warehouse: has the ledger.
        bucket: the bucket.
        prefix: beginning of the keys.
        most: keys of one query.

    Yields:
        key, versions (visible etags), lines (of those), modified and first_committed (Unix times,
        None and 0 if unknown), error (of the latest attempt), missed (number of versions).
    """
    after, rows = "", [{}] * most
    while len(rows) == most:
        about = {"bucket": bucket, "after": after}
        rows = warehouse.query(LEDGER_PAGE, prefix=prefix, most=most, **about)
        if not rows:
            return
        last = rows[-1]["key"]
        visible = {row["key"]: row for row in warehouse.query(VISIBLE_PAGE, last=last, **about)}
        for row in rows:
            yield {"versions": [], "lines": 0} | visible.get(row["key"], {}) | row
        after = last


def settled_by(policy: str, etag: str, visible: set[str], force: bool = False) -> str:
    """Whether the ledger settles an object, so that it needs no load: '' if it does not.

    Args:
        policy: append (all versions count), replace (only the last one) or ignore (only the first).
        etag: the version of the object; '' if unknown.
        visible: its visible versions (see `visible_versions`).
        force: load again what counts already; the new load replaces that of the same version.

    Returns:
        'skipped' if this version counts already, 'ignored' if another one does and the policy is
        `ignore`, else ''.
    """
    if etag in visible:
        is_settled = not force and (policy != "replace" or len(visible) == 1)
        return "skipped" if is_settled else ""
    return "ignored" if visible and policy == "ignore" else ""


def parts(outcomes: Iterable[Outcome]) -> Iterator[list[Outcome]]:
    """Split outcomes into parts that one insert can record. Commits need no splitting, and must not
    be split: their objects were named in one statement before.

    Args:
        outcomes: outcomes that are not committed.
    """
    return parameters.cut(
        outcomes,
        lambda one: parameters.size(one.item.key, one.item.etag, _stored(one.error)),
    )


def record(
    warehouse: Warehouse,
    outcomes: list[Outcome],
    load_id: UUID,
    mode: str,
    policy: str,
    forced: bool,
    started_at: datetime,
) -> None:
    """Write the ledger rows of one load attempt. For outcomes `committed`, this is the commit.

    Args:
        warehouse: has the ledger.
        outcomes: one per object, all of one bucket.
        mode: what requested the load.
        policy: what another version of a loaded key means.
        forced: whether versions that the ledger shows were loaded again.
        started_at: when the attempt began.
    """
    items = [outcome.item for outcome in outcomes]
    warehouse.command(
        RECORD,
        load_id=str(load_id),
        bucket=items[0].bucket,
        mode=mode,
        policy=policy,
        forced=int(forced),
        started_at=_utc(started_at),
        keys=[item.key for item in items],
        etags=[item.etag for item in items],
        sizes=[item.size for item in items],
        modified=[_utc(item.last_modified) for item in items],
        rows=[outcome.rows for outcome in outcomes],
        outcomes=[outcome.outcome for outcome in outcomes],
        errors=[_stored(outcome.error) for outcome in outcomes],
        event_times=[_utc(item.event_time) for item in items],
    )


def _stored(error: str) -> str:
    """As much of an error as is stored."""
    whole = error.encode()
    if len(whole) <= MOST_ERROR_BYTES:
        return error
    return whole[: MOST_ERROR_BYTES - 3].decode(errors="ignore") + "…"


def _utc(time: datetime | None) -> str:
    """Write a time for ClickHouse; '' for none."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds") if time else ""

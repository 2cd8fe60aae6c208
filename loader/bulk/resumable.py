"""Bulk loads in a Lambda function: each invocation loads a part, the next one continues.

ClickHouse lists the bucket, and the ledger shows what is left, so the function needs no permission
on S3.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from string import Template
from typing import Any
from urllib.parse import quote

from loader.batches import pieces
from loader.bulk.selection import KEY_TIME, BulkRequest
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError, SettingsError, UnknownOutcomeError
from loader.load import load
from loader.objects import SUFFIXES, S3Object, check_bucket, check_prefix
from loader.outcomes import Outcome, Summary
from loader.settings import Settings
from loader.sources import s3_names

# Largest number of objects of one listing.
MOST_LISTED = 50_000

# Largest number of failures in the answer; the ledger has all of them.
MOST_NAMED = 100

# Characters that `s3()` does not take literally, and those that are not the same in a URL.
_GLOB = re.compile(r"[{}*?$^]")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._/-]")

# One LIST request per thousand keys, no HEAD and no GET (format 'One').
_LISTING = r"""
select
    substring(_path, length({bucket:String}) + 2) as key,
    replaceAll(_etag, '"', '') as etag,
    ifNull(_size, 0) as size,
    toUnixTimestamp(_time) as modified,
    coalesce(toDateOrNull(extract(key, {key_time:String})), toDate(_time, 'UTC')) as day,
    (key, etag) in (
        select key, etag
        from {raw:Identifier}.committed_objects
        where status = 'visible'
            and bucket = {bucket:String}
            and startsWith(key, {prefix:String})
    ) as held
from $names
where startsWith(key, {prefix:String})
    and arrayExists(suffix -> endsWith(key, suffix), {suffixes:Array(String)})
    and key > {after:String}
    and ({first:String} = '' or day >= toDateOrZero({first:String}))
    and ({last:String} = '' or day <= toDateOrZero({last:String}))
"""

_SETTINGS = """
settings
    use_hive_partitioning = 0,
    enable_parallel_replicas = 0,
    s3_skip_empty_files = 0,
    s3_retry_attempts = 8
"""

LIST_OBJECTS = f"""
select key, etag, size, modified, count() over () as left
from ({_LISTING})
where not held or {{force:UInt8}} = 1
order by key
limit {{most:UInt64}}
{_SETTINGS}
"""

COUNT_OBJECTS = f"""
select
    count() as objects,
    sum(size) as total_bytes,
    countIf(held) as held_objects,
    sumIf(size, not held or {{force:UInt8}} = 1) as bytes_to_load
from ({_LISTING})
{_SETTINGS}
"""


def run(
    connect: Callable[[], Warehouse],
    settings: Settings,
    request: BulkRequest,
    remaining: Callable[[], float],
    on_outcomes: Callable[[Iterable[Outcome]], None] = lambda _: None,
) -> dict[str, Any]:
    """Load listed objects that the ledger does not have, until the time is up.

    Args:
        connect: opens the warehouse; called after the request has been checked.
        settings: the bucket, and which buckets are allowed.
        request: what to load.
        remaining: returns the seconds that are left.
        on_outcomes: called with the outcomes of each batch.

    Returns:
        What was done, how many listed objects are left, and as `next` the event that continues.

    Raises:
        SettingsError: no bucket is given, or bucket or prefix are not allowed.
        LoaderError: it failed before any object was attempted.
    """
    bucket = request.bucket or settings.bucket
    if not bucket:
        raise SettingsError("no bucket: set S3_XAPI_BUCKET_NAME, or add it to the request")
    check_bucket(bucket, settings.allowed_buckets)
    for prefix in request.prefixes:
        check_prefix(prefix, settings.key_prefix)
    request = replace(request, bucket=bucket)
    warehouse = connect()
    about = {"mode": "bulk", "bucket": bucket, "dry_run": request.dry_run}
    if request.dry_run:
        return about | _count(warehouse, settings, request)
    return about | _Run(warehouse, settings, request, remaining, on_outcomes).answer()


class _Run:
    """The part of a bulk load that one invocation does."""

    def __init__(self, warehouse, settings, request: BulkRequest, remaining, on_outcomes):
        self._warehouse = warehouse
        self._settings = settings
        self._request = request
        self._remaining = remaining
        self._on_outcomes = on_outcomes
        self._summary = Summary()
        self._todo = list(request.prefixes)
        self._after = request.after  # the last attempted key of the first prefix
        self._left = 0  # number of objects listed and not attempted
        self._longest = 1.0  # longest time of a group, in seconds

    def answer(self) -> dict[str, Any]:
        """Load until everything is done or the time is up."""
        try:
            while self._todo and self._has_time():
                self._load_listing()
        except LoaderError as error:
            if not self._summary.done:
                raise
            self._summary.stopped = str(error)
        failures = [
            {"object": outcome.item.uri, "error": outcome.error}
            for outcome in self._summary.failed[:MOST_NAMED]
        ]
        return {
            "objects": dict(self._summary.counts),
            "rows": self._summary.rows,
            "failures": failures,
            "error": self._summary.stopped,
            "left": self._left,
            "complete": not self._todo,
            "next": self._next() if self._todo else None,
        }

    def _has_time(self) -> bool:
        return self._remaining() > 2 * self._longest

    def _load_listing(self) -> None:
        """Load the objects of one listing of the first prefix."""
        values = _values(self._request, self._todo[0], self._after)
        try:
            rows = self._warehouse.query(
                _with_s3(LIST_OBJECTS, self._settings), most=MOST_LISTED, **values
            )
        except UnknownOutcomeError as error:
            raise UnknownOutcomeError(
                f"listing s3://{self._request.bucket}/{self._todo[0]} took too long ({error}); "
                "request one section or a longer prefix"
            ) from None
        self._left = rows[0]["left"] if rows else 0
        for group in pieces(_listed(self._request.bucket, row) for row in rows):
            if not self._has_time():
                return
            self._load(group)
        if not self._left:
            self._todo.pop(0)
            self._after = ""

    def _load(self, group: list[S3Object]) -> None:
        started = self._remaining()
        force = self._request.force
        for batch in load(self._warehouse, self._settings, group, mode="bulk", force=force):
            self._on_outcomes(batch)
            self._summary.add(batch)
        self._left -= len(group)
        self._after = group[-1].key
        self._longest = max(self._longest, started - self._remaining())

    def _next(self) -> dict[str, Any]:
        """The event for the next invocation, which continues from here."""
        request = self._request
        event = {"mode": "bulk", "bucket": request.bucket, "prefixes": self._todo}
        event |= {"after": self._after} if self._after else {}
        event |= {"start_date": request.first_day.isoformat()} if request.first_day else {}
        event |= {"end_date": request.last_day.isoformat()} if request.last_day else {}
        return event | ({"force": True} if request.force else {})


def _with_s3(sql: str, settings: Settings) -> str:
    return Template(sql).substitute(names=s3_names(settings, on_cluster=False))


def _count(warehouse: Warehouse, settings: Settings, request: BulkRequest) -> dict[str, Any]:
    total: Counter[str] = Counter()
    sql = _with_s3(COUNT_OBJECTS, settings)
    for prefix in request.prefixes:
        total.update(warehouse.query(sql, **_values(request, prefix))[0])
    objects, held = total["objects"], total["held_objects"]
    return {
        "objects": objects,
        "bytes": total["total_bytes"],
        "held": held,
        "to_load": objects if request.force else objects - held,
        "bytes_to_load": total["bytes_to_load"],
    }


def _values(request: BulkRequest, prefix: str, after: str = "") -> dict[str, Any]:
    return {
        "bucket": request.bucket,
        "prefix": prefix,
        "pattern": listed_pattern(request.bucket, prefix),
        "key_time": KEY_TIME,
        "suffixes": list(SUFFIXES),
        "after": after,
        "first": request.first_day.isoformat() if request.first_day else "",
        "last": request.last_day.isoformat() if request.last_day else "",
        "force": int(request.force),
    }


def listed_pattern(bucket: str, prefix: str) -> str:
    """The glob of the folder that a bulk load lists. The exact prefix is in the `where`.

    Args:
        bucket: the bucket.
        prefix: beginning of the keys.
    """
    folder = prefix[: prefix.rfind("/") + 1]
    return f"{bucket}/{_pattern(folder)}**/*"


def _pattern(folder: str) -> str:
    """The glob that covers a folder. `s3()` reads it as part of a URL; one that has a '?' is not
    decoded, so there all but plain characters become '?'."""
    return _NOT_PLAIN.sub("?", folder) if _GLOB.search(folder) else quote(folder)


def _listed(bucket: str, row: dict[str, Any]) -> S3Object:
    modified = datetime.fromtimestamp(row["modified"], UTC)
    return S3Object(bucket, row["key"], row["etag"], row["size"], last_modified=modified)

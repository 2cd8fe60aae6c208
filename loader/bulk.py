"""Load by listing, within the time of one invocation: ClickHouse lists the bucket, the ledger says
what is left. The function itself needs no right on S3."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from loader.errors import LoaderError, PermanentError, SettingsError, UnknownOutcomeError
from loader.events import Bulk
from loader.ledger import Outcome
from loader.load import load, pieces
from loader.objects import S3Object
from loader.settings import Settings
from loader.warehouse import Warehouse

# Objects of one listing.
MOST_LISTED = 50_000

# Failures that an answer names; the ledger has them all.
MOST_NAMED = 100

# One LIST request per thousand keys, no HEAD and no GET (format 'One').
_LISTING = r"""
select
    substring(_path, length({bucket:String}) + 2) as key,
    replaceAll(_etag, '"', '') as etag,
    ifNull(_size, 0) as size,
    toUnixTimestamp(_time) as modified,
    coalesce(
        toDateOrNull(extract(key, '(\\d{4}-\\d{2}-\\d{2})T\\d{2}-\\d{2}-\\d{2}[^/]*$')),
        toDate(_time, 'UTC')
    ) as day,
    (key, etag) in (
        select key, etag
        from {raw:Identifier}.loads
        where outcome = 'committed'
            and bucket = {bucket:String}
            and startsWith(key, {prefix:String})
    ) as held
from s3({collection:Identifier}, filename = {pattern:String}, format = 'One')
where startsWith(key, {prefix:String})
    and (endsWith(key, '.jsonl') or endsWith(key, '.jsonl.gz'))
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
    wanted: Bulk,
    remaining: Callable[[], float],
    tell: Callable[[list[Outcome]], None] = lambda _: None,
) -> dict[str, Any]:
    """Load what is listed and not yet in the ledger, as far as the time goes.

    Args:
        connect: opens the warehouse, once it is known what to do.
        remaining: seconds that are left.
        tell: hears of each batch.

    Returns:
        What was done; how many listed objects are left, and as `next` the event that goes on.

    Raises:
        LoaderError: nothing was done.
    """
    bucket = wanted.bucket or settings.bucket
    if not bucket:
        raise SettingsError("no bucket: set S3_XAPI_BUCKET_NAME, or name it in the request")
    if bucket not in settings.allowed_buckets:
        raise PermanentError(
            f"bucket {bucket!r} is not allowed; add it to XAPI_ALLOWED_BUCKETS if it may be loaded"
        )
    warehouse = connect()
    about = {"mode": "bulk", "bucket": bucket, "dry_run": wanted.dry_run}
    if wanted.dry_run:
        return about | _count(warehouse, wanted, bucket)
    return about | _Run(warehouse, settings, wanted, bucket, remaining, tell).answer()


class _Run:
    """One invocation's part of a bulk load."""

    def __init__(self, warehouse, settings, wanted: Bulk, bucket: str, remaining, tell):
        self._warehouse = warehouse
        self._settings = settings
        self._wanted = wanted
        self._bucket = bucket
        self._remaining = remaining
        self._tell = tell
        self._outcomes: Counter[str] = Counter()
        self._rows = 0
        self._failures: list[dict[str, str]] = []
        self._todo = list(wanted.prefixes)
        self._after = wanted.after  # the last key asked for, of the first prefix
        self._left = 0  # listed and not asked for
        self._longest = 1.0  # seconds that a group took

    def answer(self) -> dict[str, Any]:
        """Load until all is done or the time is up."""
        error = ""
        try:
            while self._todo and self._has_time():
                self._load_listing()
        except LoaderError as stopped:
            if not self._outcomes:
                raise
            error = str(stopped)
        return {
            "objects": dict(self._outcomes),
            "rows": self._rows,
            "failures": self._failures,
            "error": error,
            "left": self._left,
            "complete": not self._todo,
            "next": self._next() if self._todo else None,
        }

    def _has_time(self) -> bool:
        return self._remaining() > 2 * self._longest

    def _load_listing(self) -> None:
        """Load what one listing of the first prefix names."""
        values = _values(self._wanted, self._bucket, self._todo[0], self._after)
        try:
            rows = self._warehouse.query(LIST_OBJECTS, most=MOST_LISTED, **values)
        except UnknownOutcomeError as error:
            raise UnknownOutcomeError(
                f"listing s3://{self._bucket}/{self._todo[0]} took too long ({error}); ask for "
                "one section or a longer prefix"
            ) from None
        self._left = rows[0]["left"] if rows else 0
        for group in pieces(_listed(self._bucket, row) for row in rows):
            if not self._has_time():
                return
            self._load(group)
        if not self._left:
            self._todo.pop(0)
            self._after = ""

    def _load(self, group: list[S3Object]) -> None:
        started = self._remaining()
        force = self._wanted.force
        for batch in load(self._warehouse, self._settings, group, mode="bulk", force=force):
            self._tell(batch)
            for outcome in batch:
                self._outcomes[outcome.outcome] += 1
                self._rows += outcome.rows
                if outcome.error and len(self._failures) < MOST_NAMED:
                    self._failures.append({"object": outcome.item.uri, "error": outcome.error})
        self._left -= len(group)
        self._after = group[-1].key
        self._longest = max(self._longest, started - self._remaining())

    def _next(self) -> dict[str, Any]:
        """The event that goes on where this invocation stopped."""
        wanted = self._wanted
        event = {"mode": "bulk", "bucket": self._bucket, "prefixes": self._todo}
        event |= {"after": self._after} if self._after else {}
        event |= {"start_date": wanted.start.isoformat()} if wanted.start else {}
        event |= {"end_date": wanted.end.isoformat()} if wanted.end else {}
        return event | ({"force": True} if wanted.force else {})


def _count(warehouse: Warehouse, wanted: Bulk, bucket: str) -> dict[str, Any]:
    total: Counter[str] = Counter()
    for prefix in wanted.prefixes:
        values = _values(wanted, bucket, prefix)
        total.update(warehouse.query(COUNT_OBJECTS, **values)[0])
    objects, held = total["objects"], total["held_objects"]
    return {
        "objects": objects,
        "bytes": total["total_bytes"],
        "held": held,
        "to_load": objects if wanted.force else objects - held,
        "bytes_to_load": total["bytes_to_load"],
    }


def _values(wanted: Bulk, bucket: str, prefix: str, after: str = "") -> dict[str, Any]:
    folder = prefix[: prefix.rfind("/") + 1]
    return {
        "bucket": bucket,
        "prefix": prefix,
        # What the folder has of `{ } * ?` would be a pattern; the exact prefix is in the `where`.
        "pattern": f"{bucket}/{folder.translate({ord(mark): '?' for mark in '{}*?'})}**/*",
        "after": after,
        "first": wanted.start.isoformat() if wanted.start else "",
        "last": wanted.end.isoformat() if wanted.end else "",
        "force": int(wanted.force),
    }


def _listed(bucket: str, row: dict[str, Any]) -> S3Object:
    modified = datetime.fromtimestamp(row["modified"], UTC)
    return S3Object(bucket, row["key"], row["etag"], row["size"], last_modified=modified)

"""Load objects so that each counts exactly once, whatever crashes or repeats.

Every attempt writes its lines under a new load id; readers see none of them until the ledger
names the attempt. So the order below is all there is to it: insert, look what is there, commit.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from loader import ledger
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError, RetryableError, UnavailableError, UnknownOutcomeError
from loader.files import FileSource, UploadSource
from loader.objects import MOST_PATHS, S3Object, places
from loader.outcomes import Outcome
from loader.settings import Settings
from loader.sources import S3Source, Source

# Bytes of names that one statement takes: ClickHouse refuses a parameter above 128 KiB.
MOST_NAME_BYTES = 128_000

# Bytes of objects, as stored, that one INSERT reads. A load is the least that a transform takes in
# one piece (var slice_lines): without a bound its memory had none, either.
MOST_BYTES = 512 * 1024 * 1024

# Seconds after which an attempt must not commit any more (its machine may have slept): `gc` takes
# the lines for leftovers at twice that age.
LONGEST_ATTEMPT = 12 * 3600

# Failures that one insert into the ledger takes, for the same reason: errors are long.
MOST_ERRORS = 50

COUNT_LOADED = """
select
    key,
    any(etag) as version,
    any(object_size) as size,
    toUnixTimestamp64Milli(any(last_modified)) / 1000 as modified,
    count() as lines,
    uniqExact(etag) as versions,
    max(source_line) as last_line,
    uniqExact(source_line) as places,
    lines + sum(length(line)) as bytes
from {raw:Identifier}.statements
where load_id = {load_id:UUID}
group by key
"""


def load(
    warehouse: Warehouse,
    settings: Settings,
    items: Iterable[S3Object],
    *,
    mode: str = "load",
    policy: str = "append",
    force: bool = False,
    most: int = MOST_PATHS,
    most_bytes: int = MOST_BYTES,
    source: Source | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    new_id: Callable[[], UUID] = uuid4,
) -> Iterator[list[Outcome]]:
    """Load objects, batch by batch; one INSERT reads a batch.

    An object that fails does not keep the others of its batch from loading. Objects whose version
    the ledger holds are skipped.

    Args:
        items: objects of buckets, or local files (with bucket ''), not both.
        mode: what asked for it, for the ledger.
        policy: what another version of a loaded key means: append, replace or ignore.
        force: load also what the ledger holds, in its place.
        most: largest number of objects in a batch.
        most_bytes: bytes of objects, as stored, in a batch; a larger one is a batch of its own.
        source: where the lines come from, if the objects do not say so themselves.

    Yields:
        What became of each object, a batch at a time.

    Raises:
        UnavailableError: ClickHouse cannot be reached; outcomes yielded before stand.
    """
    items = list(items)
    source = source or source_for(warehouse, settings, items)
    # What is loaded on request takes the place of what the ledger holds of the key.
    policy = "force" if force else policy
    attempt = _Attempt(warehouse, source, mode, policy, most_bytes, clock, new_id)
    fit, refused = _refuse(source, items)
    for batch in _failed_by_bucket(refused):
        attempt.record(batch, new_id(), clock())
        yield batch
    for group in places(fit):
        for batch in pieces(group, most, most_bytes):
            yield from attempt.load_batch(batch, force)


def pieces(
    items: Iterable[S3Object], most: int = MOST_PATHS, most_bytes: int = MOST_BYTES
) -> Iterator[list[S3Object]]:
    """Cut a stream of objects into pieces that one statement can name and should read.

    Args:
        items: objects.
        most: largest number of objects in a piece.
        most_bytes: bytes of objects, as stored, in a piece; a larger one is a piece of its own.
    """
    piece: list[S3Object] = []
    names = size = 0
    for item in items:
        name = _name_bytes(item)
        if piece and (
            len(piece) == most or names + name > MOST_NAME_BYTES or size + item.size > most_bytes
        ):
            yield piece
            piece, names, size = [], 0, 0
        piece.append(item)
        names += name
        size += item.size
    if piece:
        yield piece


def _name_bytes(item: S3Object) -> int:
    """Bytes of an object's path in an array: with quotes, comma and escapes."""
    path = item.path
    return len(path.encode()) + 4 + path.count("'") + path.count("\\")


def answers(source: Source, item: S3Object) -> bool:
    """Whether the place of an object can be asked at all, with one HEAD request for a key that is
    not there. A refusal is an answer; no connection, a time-out or an error of S3 itself is none.

    Raises:
        UnavailableError: ClickHouse cannot be reached.
    """
    try:
        source.stat([replace(item, key=f"{item.key}.is-not-there", etag="")])
    except UnavailableError:
        raise
    except RetryableError as error:
        return re.search(r"HTTP response code: [34]\d\d", str(error)) is not None
    except LoaderError:
        return True
    return True


def source_for(warehouse: Warehouse, settings: Settings, items: Iterable[S3Object]) -> Source:
    """The source of objects of one kind: of a bucket, or of local files."""
    if any(item.bucket for item in items):
        return S3Source(warehouse, settings)
    if settings.target == "embedded":
        return FileSource(warehouse)
    return UploadSource(warehouse)


class _Attempt:
    """Loads batches: insert, verify, commit."""

    def __init__(
        self, warehouse, source: Source, mode: str, policy: str, most_bytes: int, clock, new_id
    ):
        self._warehouse = warehouse
        self._source = source
        self._mode = mode
        self._policy = policy
        self._most_bytes = most_bytes
        self._clock = clock
        self._new_id = new_id

    def load_batch(self, batch: list[S3Object], force: bool) -> Iterator[list[Outcome]]:
        """Load what of a batch is not there yet."""
        known, outcomes = self._identify(batch)
        if outcomes:
            self.record(outcomes, self._new_id(), self._clock())
            yield outcomes
        fresh, settled = self._not_committed(known, force)
        if settled:
            yield settled
        # Of objects that came without a size it is known only now.
        for piece in pieces(fresh, most_bytes=self._most_bytes):
            yield from self._load_or_split(piece)

    def record(self, outcomes: list[Outcome], load_id: UUID, started: datetime) -> None:
        """Write the ledger rows of an attempt; last and in one insert, those that commit."""
        committed = [outcome for outcome in outcomes if outcome.outcome == "committed"]
        others = [outcome for outcome in outcomes if outcome.outcome != "committed"]
        parts = [others[at : at + MOST_ERRORS] for at in range(0, len(others), MOST_ERRORS)]
        for part in [*parts, committed] if committed else parts:
            ledger.record(self._warehouse, part, load_id, self._mode, self._policy, started)

    def _identify(self, batch: list[S3Object]) -> tuple[list[S3Object], list[Outcome]]:
        """Find version and size of objects that came without; those that are not there fail."""
        unknown = [item for item in batch if not item.etag]
        if not unknown:
            return batch, []
        try:
            found = self._source.stat(unknown)
        except UnavailableError:
            raise
        except LoaderError as error:
            known = [item for item in batch if item.etag]
            if not self._worth_splitting(unknown, error):
                return known, [_failed(item, error) for item in unknown]
            half = len(unknown) // 2
            left, left_failed = self._identify(unknown[:half])
            right, right_failed = self._identify(unknown[half:])
            return known + left + right, left_failed + right_failed
        known = [found.get(item.path, item) for item in batch]
        missing = [item for item in known if not item.etag]
        return [item for item in known if item.etag], [_missing(item) for item in missing]

    def _not_committed(
        self, batch: list[S3Object], force: bool
    ) -> tuple[list[S3Object], list[Outcome]]:
        """Split a batch into what is to be loaded and what the ledger settles."""
        versions = {} if force else ledger.loaded_versions(self._warehouse, batch, self._policy)
        fresh, settled = [], []
        for item in batch:
            held = versions.get(item.path, set())
            if item.etag in held:
                settled.append(Outcome(item, "skipped"))
            elif held and self._policy == "ignore":
                settled.append(Outcome(item, "ignored"))
            else:
                fresh.append(item)
        return fresh, settled

    def _load_or_split(self, batch: list[S3Object]) -> Iterator[list[Outcome]]:
        """Load a batch; where that fails, load its halves, so that only the culprits fail."""
        load_id, started = self._new_id(), self._clock()
        try:
            self._source.insert(batch, load_id)
            outcomes = self._verify(batch, load_id)
            self._check_age(batch[0], started)
        except UnavailableError:
            raise
        except UnknownOutcomeError as error:
            outcomes = [replace(_failed(item, error), outcome="unknown") for item in batch]
        except LoaderError as error:
            if self._worth_splitting(batch, error):
                half = len(batch) // 2
                yield from self._load_or_split(batch[:half])
                yield from self._load_or_split(batch[half:])
                return
            outcomes = [_failed(item, error) for item in batch]
        self.record(outcomes, load_id, started)
        yield [replace(outcome, load_id=load_id) for outcome in outcomes]

    def _check_age(self, item: S3Object, started: datetime) -> None:
        """Refuse to commit what `gc` may have removed meanwhile, with a RetryableError."""
        hours = (self._clock() - started).total_seconds() / 3600
        if hours > LONGEST_ATTEMPT / 3600:
            raise RetryableError(
                f"{item.uri} and what was loaded with it took {hours:.0f} hours; not committed, "
                "because gc may have taken the lines for leftovers"
            )

    def _worth_splitting(self, batch: list[S3Object], error: LoaderError) -> bool:
        """Whether halves of a failed batch may fare better. Not where nobody answers: each try
        takes seconds then, and there would be two for each object."""
        if len(batch) == 1:
            return False
        return not isinstance(error, RetryableError) or answers(self._source, batch[0])

    def _verify(self, batch: list[S3Object], load_id: UUID) -> list[Outcome]:
        """Compare what this attempt wrote with what it was asked to."""
        rows = self._warehouse.query(COUNT_LOADED, load_id=str(load_id))
        loaded = {row["key"]: row for row in rows}
        outcomes = [_committed(item, loaded[item.key]) for item in batch if item.key in loaded]
        silent = [item for item in batch if item.key not in loaded]
        present = self._source.stat(silent) if silent else {}
        for item in silent:
            if item.path not in present:
                outcomes.append(_missing(item))
                continue
            item = present[item.path]
            if item.size and self._source.count_lines(item):
                raise RetryableError(f"{item.uri} has lines, but none of them was loaded")
            outcomes.append(Outcome(item, "committed"))
        return outcomes


def _refuse(source: Source, items: list[S3Object]) -> tuple[list[S3Object], list[Outcome]]:
    """Part objects that can be loaded from those that must not or cannot."""
    fit, refused = [], []
    for item in items:
        try:
            source.check(item)
        except LoaderError as error:
            refused.append(_failed(item, error))
        else:
            fit.append(item)
    return fit, refused


def _failed_by_bucket(outcomes: list[Outcome]) -> Iterator[list[Outcome]]:
    for bucket in sorted({outcome.item.bucket for outcome in outcomes}):
        yield [outcome for outcome in outcomes if outcome.item.bucket == bucket]


def _failed(item: S3Object, error: LoaderError) -> Outcome:
    text = str(error)
    named = text if item.uri in text else f"{item.uri}: {text}"
    return Outcome(item, "failed", error=named, retryable=isinstance(error, RetryableError))


def _missing(item: S3Object) -> Outcome:
    return Outcome(item, "failed", error=f"{item.uri}: no such object (or no right to know of it)")


def _committed(item: S3Object, row: dict) -> Outcome:
    """The outcome of an object whose lines are all there, once.

    Raises:
        RetryableError: they are not: the object changed while it was read.
    """
    if row["versions"] != 1 or not row["lines"] == row["last_line"] == row["places"]:
        raise RetryableError(
            f"{item.uri}: {row['lines']} lines of {row['versions']} versions were read, the last "
            f"is line {row['last_line']}; the object changed while it was read"
        )
    # Of a body that comes short, yet whole by its own account, ClickHouse says nothing. What is
    # compressed cannot be cut unnoticed. The last line may lack its line break.
    if item.key.endswith(".jsonl") and row["bytes"] - row["size"] not in (0, 1):
        raise RetryableError(
            f"{item.uri}: its lines have {row['bytes']} bytes with their line breaks, the object "
            f"has {row['size']}: it was not read as it lies there"
        )
    version = replace(
        item,
        etag=row["version"],
        size=row["size"],
        last_modified=datetime.fromtimestamp(row["modified"], UTC),
    )
    return Outcome(version, "committed", rows=row["lines"])

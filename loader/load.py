"""Load objects so that each counts exactly once, despite crashes and repeated requests.

Each attempt inserts lines under a new load id. Readers ignore lines of a load id that the ledger
does not have as committed, so an attempt that fails halfway leaves nothing visible.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from loader import ledger
from loader.batches import MOST_BYTES, pieces, places
from loader.clickhouse.errors import words
from loader.clickhouse.warehouse import Warehouse
from loader.errors import (
    LoaderError,
    MemoryLimitError,
    MissingRightError,
    PermanentError,
    RetryableError,
    UnavailableError,
    UnknownOutcomeError,
)
from loader.files import FileSource, UploadSource
from loader.objects import MOST_PATHS, S3Object
from loader.outcomes import Outcome
from loader.settings import Settings
from loader.sources import AS_NAMED, S3Source, Source, within_memory
from loader.verify import COUNT_LOADED, CompressedError, check_compression, committed

# Seconds after which an attempt must not commit any more (its machine may have been suspended):
# `gc` removes uncommitted lines at twice that age.
LONGEST_ATTEMPT = 12 * 3600

# S3's answers to a request for a version that is not there, or may not be read.
_VERSION_REFUSED = re.compile(
    r"NoSuchVersion|InvalidArgument|MethodNotAllowed|Access ?Denied|HTTP response code: 4\d\d"
)

# The ETag of an object without content.
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"


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
    """Load objects, batch by batch. Each batch takes three steps:

    1. Insert: one INSERT writes the lines of the batch under a new load id.
    2. Verify: count the inserted lines of each object and compare them with the object.
    3. Commit: one insert into the ledger names the load id and its objects; from then on all their
       lines are visible. After a crash before this step none is, and the batch is loaded again.

    Objects whose version the ledger has are skipped. If a batch fails, its halves are loaded
    separately, so that one bad object does not stop the others. If a batch gets no answer in time,
    there is no time for that: the next load of its objects loads them one by one, after all others.

    Args:
        warehouse: the ClickHouse to load into.
        settings: which buckets are allowed, and which kind of ClickHouse this is.
        items: objects of buckets, or local files (with bucket ''), not both.
        mode: what requested the load, for the ledger: load, file, event, bulk or test.
        policy: what another version of a loaded key means: append, replace or ignore.
        force: load also objects that the ledger has; the new lines replace the old ones.
        most: largest number of objects in a batch.
        most_bytes: bytes of objects, as stored, in a batch; a larger object is a batch by itself.
        source: where the lines come from; S3 or local files, as the objects say, if left out.
        clock: the time.
        new_id: makes load ids.

    Yields:
        The outcome of each object, a batch at a time.

    Raises:
        UnavailableError: ClickHouse cannot be reached; outcomes yielded before remain valid.
    """
    items = list(items)
    versions = S3Source(warehouse, settings)
    source = source or source_for(warehouse, settings, items)
    count_loaded = within_memory(COUNT_LOADED, settings)
    loader = _Loader(
        warehouse, source, versions, count_loaded, mode, policy, force, most_bytes, clock, new_id
    )
    readable, refused = _split_readable(source, items)
    for batch in _failed_by_bucket(refused):
        loader.record(batch, new_id(), clock())
        yield batch
    while readable:
        for group in places(readable):
            for batch in pieces(group, most, most_bytes):
                yield from loader.load_batch(batch)
        readable = _other_versions(readable)
    yield from loader.load_slow()


def s3_responds(source: Source, item: S3Object) -> bool:
    """Whether S3 responds at all: sends a HEAD request for a key that does not exist.

    A response with status 3xx or 4xx counts; a failed connection, a timeout or a status 5xx does
    not.

    Args:
        source: sends the request.
        item: an object of the bucket.

    Raises:
        UnavailableError: ClickHouse cannot be reached.
    """
    try:
        source.stat([replace(item, key=f"{item.key}.is-not-there", etag="")])
    except UnavailableError:
        raise
    except RetryableError as error:
        return re.search(r"HTTP response code: [34]\d\d", words(error.answer)) is not None
    except LoaderError:
        return True
    return True


def source_for(warehouse: Warehouse, settings: Settings, items: Iterable[S3Object]) -> Source:
    """Choose the source for objects: S3 if they are in a bucket, else local files.

    Args:
        warehouse: the ClickHouse to load into.
        settings: which kind of ClickHouse this is.
        items: objects of buckets or local files, not both.
    """
    if any(item.bucket for item in items):
        return S3Source(warehouse, settings)
    if settings.target == "embedded":
        return FileSource(warehouse, settings)
    return UploadSource(warehouse, settings)


class _Loader:
    """Loads batches: insert, verify, commit."""

    def __init__(
        self,
        warehouse: Warehouse,
        source: Source,
        versions: S3Source,
        count_loaded: str,
        mode: str,
        policy: str,
        force: bool,
        most_bytes: int,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ):
        self._warehouse = warehouse
        self._source = source
        self._versions = versions
        self._count_loaded = count_loaded
        self._mode = mode
        self._policy = policy
        self._force = force
        self._most_bytes = most_bytes
        self._clock = clock
        self._new_id = new_id
        self._wants_all_versions = mode == "event" and policy == "append"
        self._slow: list[tuple[int, S3Object, bool]] = []

    def load_batch(self, batch: list[S3Object]) -> Iterator[list[Outcome]]:
        """Load those objects of a batch that the ledger does not have yet."""
        known, outcomes = self._identify(batch)
        if outcomes:
            self.record(outcomes, self._new_id(), self._clock())
            yield outcomes
        named = {item.path for item in batch if item.etag}
        fresh, overwritten, settled = self._not_settled(known, named)
        if settled:
            yield settled
        # Sizes are complete only now: some objects came without one.
        for piece in pieces(fresh, most_bytes=self._most_bytes):
            yield from self._load_or_split(piece)
        for item in overwritten:
            yield self._load_version(item)

    def load_slow(self) -> Iterator[list[Outcome]]:
        """Load the objects that were left for the end, each alone: an object that takes too long
        then fails by name, and its neighbours load.

        Those with the fewest attempts come first: a slow one takes most of the remaining time, so
        the next load begins with those for which no time was left.
        """
        for _, item, is_overwritten in sorted(self._slow, key=lambda one: one[0]):
            if is_overwritten:
                yield self._load_version(item)
            else:
                yield from self._load_or_split([item])

    def record(self, outcomes: list[Outcome], load_id: UUID, started: datetime) -> None:
        """Write the ledger rows of an attempt. Those that commit come last, in one insert."""
        commits = [outcome for outcome in outcomes if outcome.is_committed]
        others = [outcome for outcome in outcomes if not outcome.is_committed]
        parts = list(ledger.parts(others))
        for part in [*parts, commits] if commits else parts:
            ledger.record(
                self._warehouse, part, load_id, self._mode, self._policy, self._force, started
            )

    def _identify(self, batch: list[S3Object]) -> tuple[list[S3Object], list[Outcome]]:
        """Request version and size of objects that came without; missing objects fail."""
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

    def _not_settled(
        self, batch: list[S3Object], named: set[str]
    ) -> tuple[list[S3Object], list[S3Object], list[Outcome]]:
        """Split a batch into objects to load, versions that were overwritten by one that counts,
        and outcomes of objects that the ledger settles. Leaves slow ones for `load_slow`.

        Args:
            batch: objects with their versions.
            named: paths of those whose version was named by an event or a listing.
        """
        visible, unanswered = ledger.visible_and_unanswered(self._warehouse, batch)
        fresh, settled = [], []
        for item in batch:
            outcome = ledger.settled_by(self._policy, item.etag, visible[item.path], self._force)
            if outcome:
                settled.append(Outcome(item, outcome))
            else:
                fresh.append(item)
        # Versions that are not the current one any more can only be those of known keys.
        suspects = [item for item in fresh if visible[item.path] and item.path in named]
        current = self._current(suspects) if self._wants_all_versions else {}
        overwritten = [
            item
            for item in suspects
            if current.get(item.path, item).etag in visible[item.path] - {item.etag}
        ]
        fresh = [item for item in fresh if item not in overwritten]
        for items, is_overwritten in ((fresh, False), (overwritten, True)):
            slow = [item for item in items if item.path in unanswered]
            self._slow += [(unanswered[item.path], item, is_overwritten) for item in slow]
        return _without(fresh, unanswered), _without(overwritten, unanswered), settled

    def _current(self, items: list[S3Object]) -> dict[str, S3Object]:
        """The current versions of objects, by path; none if S3 does not say."""
        try:
            return self._source.stat(items) if items else {}
        except UnavailableError:
            raise
        except LoaderError:
            return {}

    def _load_or_split(
        self, batch: list[S3Object], compression: str = AS_NAMED
    ) -> Iterator[list[Outcome]]:
        """Load a batch; if that fails, load its halves, so that only the bad objects fail."""
        load_id, started = self._new_id(), self._clock()
        try:
            self._source.insert(batch, load_id, compression)
            outcomes = self._verify(batch, load_id, compression)
            self._check_age(batch[0], started)
        except CompressedError as error:
            yield from self._load_or_split(error.items, "gzip")
            if rest := [item for item in batch if item not in error.items]:
                yield from self._load_or_split(rest)
            return
        except UnavailableError:
            raise
        except UnknownOutcomeError as error:
            outcomes = [replace(_failed(item, error), outcome="unknown") for item in batch]
        except LoaderError as error:
            if self._worth_splitting(batch, error):
                for part in _parts(batch, error):
                    yield from self._load_or_split(part, compression)
                return
            outcomes = [_failed(item, error) for item in batch]
        self.record(outcomes, load_id, started)
        yield [replace(outcome, load_id=load_id) for outcome in outcomes]
        found = {one.item.path: one.item.etag for one in outcomes if one.is_committed}
        for item in batch:
            is_overwritten = item.etag and found.get(item.path, item.etag) != item.etag
            if is_overwritten and self._wants_all_versions:
                yield self._load_version(item)

    def _load_version(self, item: S3Object) -> list[Outcome]:
        """Load a version that was overwritten, or record that it was missed.

        Only if an event named the version, and with policy append: a listing means the objects as
        they are, and with the other policies an older version does not count.
        """
        load_id, started = self._new_id(), self._clock()
        try:
            outcome = self._read_version(item, load_id)
            self._check_age(item, started)
        except UnavailableError:
            raise
        except UnknownOutcomeError as error:
            outcome = replace(_failed(item, error), outcome="unknown")
        except LoaderError as error:
            refused = _VERSION_REFUSED.search(words(error.answer))
            if isinstance(error, RetryableError | MemoryLimitError) and not refused:
                outcome = _failed(item, error)
            else:
                outcome = _missed(item, f"S3 answered {refused[0]}" if refused else str(error))
        self.record([outcome], load_id, started)
        return [replace(outcome, load_id=load_id)]

    def _read_version(self, item: S3Object, load_id: UUID) -> Outcome:
        """Read a version that was overwritten.

        Raises:
            PermanentError: it cannot be read.
        """
        if item.etag == EMPTY:
            return Outcome(item, "committed")
        if item.version_id in ("", "null"):
            raise PermanentError("its notification has no version id")
        if not item.size or set(item.key) & set("{}*?"):
            raise PermanentError("without a size, or with one of {}*? in its key, it is not read")
        self._versions.insert_version(item, load_id)
        rows = self._warehouse.query(self._count_loaded, load_id=str(load_id))
        if not rows:
            raise PermanentError("it has more bytes than the current version")
        try:
            check_compression([item], {item.key: rows[0]}, AS_NAMED)
            return committed(item, rows[0], AS_NAMED)
        except (RetryableError, CompressedError) as error:
            raise PermanentError(str(error)) from None

    def _check_age(self, item: S3Object, started: datetime) -> None:
        """Raise a RetryableError if the attempt took so long that `gc` may remove its lines."""
        hours = (self._clock() - started).total_seconds() / 3600
        if hours > LONGEST_ATTEMPT / 3600:
            raise RetryableError(
                f"loading {item.uri} and its batch took {hours:.0f} hours; not committed, because "
                "gc may already have removed the lines"
            )

    def _worth_splitting(self, batch: list[S3Object], error: LoaderError) -> bool:
        """Whether the halves of a failed batch may succeed. Not if S3 does not respond: then each
        attempt takes seconds, and splitting makes up to two attempts per object."""
        if len(batch) == 1 or isinstance(error, MissingRightError):
            return False
        return not isinstance(error, RetryableError) or s3_responds(self._source, batch[0])

    def _verify(self, batch: list[S3Object], load_id: UUID, compression: str) -> list[Outcome]:
        """Compare the lines that this attempt inserted with the objects of the batch."""
        rows = self._warehouse.query(self._count_loaded, load_id=str(load_id))
        loaded = {row["key"]: row for row in rows}
        with_lines = [item for item in batch if item.key in loaded]
        check_compression(with_lines, loaded, compression)
        outcomes = [committed(item, loaded[item.key], compression) for item in with_lines]
        without_lines = [item for item in batch if item.key not in loaded]
        present = self._source.stat(without_lines) if without_lines else {}
        for item in without_lines:
            if item.path not in present:
                outcomes.append(_missing(item))
                continue
            item = present[item.path]
            if item.size and self._source.count_lines(item, compression):
                raise RetryableError(f"{item.uri} has lines, but none of them was inserted")
            outcomes.append(Outcome(item, "committed"))
        return outcomes


def _without(items: list[S3Object], paths: Container[str]) -> list[S3Object]:
    return [item for item in items if item.path not in paths]


def _parts(batch: list[S3Object], error: LoaderError) -> list[list[S3Object]]:
    """Split a batch that failed. An object that broke the memory limit comes alone, so that a few
    attempts at it are enough; ClickHouse's message names the object that was read at the time."""
    name = error.answer.partition("(in file/uri ")[2] if isinstance(error, MemoryLimitError) else ""
    # One key may begin with another one and a parenthesis.
    found = [item for item in batch if name.startswith(f"{item.path})")]
    named = sorted(found, key=lambda item: len(item.path))[-1:]
    rest = [item for item in batch if item not in named]
    half = len(rest) // 2
    return [part for part in (named, rest[:half], rest[half:]) if part]


def _other_versions(items: list[S3Object]) -> list[S3Object]:
    """The objects that `places` left out, because a later one has the same path, if they are of
    another version."""
    last = {item.path: item for item in items}
    others = {(item.path, item.etag): item for item in items if item.etag}
    return [item for item in others.values() if item.etag != last[item.path].etag]


def _split_readable(source: Source, items: list[S3Object]) -> tuple[list[S3Object], list[Outcome]]:
    """Split objects into those that can be read and failures of those that may not or cannot."""
    readable, refused = [], []
    for item in items:
        try:
            source.check(item)
        except LoaderError as error:
            refused.append(_failed(item, error))
        else:
            readable.append(item)
    return readable, refused


def _failed_by_bucket(outcomes: list[Outcome]) -> Iterator[list[Outcome]]:
    for bucket in sorted({outcome.item.bucket for outcome in outcomes}):
        yield [outcome for outcome in outcomes if outcome.item.bucket == bucket]


def _failed(item: S3Object, error: LoaderError) -> Outcome:
    text = str(error)
    named = text if item.uri in text else f"{item.uri}: {text}"
    return Outcome(item, "failed", error=named, retryable=isinstance(error, RetryableError))


def _missed(item: S3Object, reason: str) -> Outcome:
    text = (
        f"{item.uri}: its version {item.etag} was overwritten before it was read, and cannot be "
        f"read any more: {reason}; if S3 still has it (version id "
        f"{item.version_id or 'unknown'}), copy it to a new key"
    )
    return Outcome(item, "missed", error=text)


def _missing(item: S3Object) -> Outcome:
    return Outcome(item, "failed", error=f"{item.uri}: no such object (or no permission to see it)")

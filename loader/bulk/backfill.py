"""Bulk loads: plan what a listing holds and the ledger does not, then load it in batches.

A plan is fixed when it is made; a load that was cut short is planned anew, and the ledger says
what is left. So nothing has to be remembered between two runs.
"""

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import Any

from loader import ledger
from loader.batches import pieces
from loader.bulk.listing import Inventory, Listing
from loader.bulk.selection import Selection, day_of
from loader.clickhouse.warehouse import Warehouse
from loader.errors import UnavailableError
from loader.load import load, s3_responds, source_for
from loader.objects import MOST_PATHS, S3Object, check_bucket
from loader.outcomes import Outcome, Summary
from loader.settings import Settings

# Bytes of objects, as stored, in one INSERT: some seconds of work, so that little is lost with it.
BATCH_BYTES = 256 * 1024 * 1024

# INSERTs at a time. Those on a server spend their time waiting for S3 (docs/backfill.md has the
# figures); the embedded engine runs one statement of a connection at a time.
IN_FLIGHT = {"embedded": 1, "server": 4, "cluster": 4}

# Bytes of a month of a plan that stay in memory, more go to a temporary file; and months that
# have a file of their own.
PLAN_MEMORY = 256 * 1024
PLAN_MONTHS = 300

# Loads whose speed tells how long the next will take.
RATED_LOADS = 50

HAS_LEDGER = """
select count() as tables from system.tables where database = {raw:String} and name = 'loads'
"""

RATES = """
select sum(objects) as objects, sum(bytes) as bytes, sum(milliseconds) / 1000 as seconds
from (
    select count() as objects, sum(size) as bytes, max(duration_ms) as milliseconds
    from {raw:Identifier}.loads
    where outcome = 'committed' and bucket != ''
    group by load_id
    order by any(mode) = 'bulk' desc, max(committed_at) desc
    limit {most:UInt64}
)
"""


@dataclass
class Plan:
    """What a bulk load will do; `objects()` streams it.

    Objects are kept by the month of their day, and no INSERT reads two months: a rebuild of days
    reads the loads that hold events of them, and a listing is ordered by section, not by time.

    Attributes:
        selection: what was asked for.
        policy: what another version of a loaded key means (see `load`).
        force: whether what the ledger holds is loaded, too, in its place.
        listed: JSONL objects of the prefix and the sections, of whatever day.
        found: objects of the days.
        found_bytes: their bytes, as stored.
        held: those that the ledger holds in this version.
        count: objects to load.
        bytes: their bytes, as stored.
        list_requests: requests to S3 that planning took.
        requests: requests to S3 that loading will take at least: HEAD and GET of each object.
        objects_per_second: measured over the latest loads; None if there were none.
        bytes_per_second: likewise.
        in_flight: INSERTs at a time.
        seconds: how long loading will take; None if nothing was measured yet.
    """

    selection: Selection
    policy: str = "append"
    force: bool = False
    listed: int = 0
    found: int = 0
    found_bytes: int = 0
    held: int = 0
    count: int = 0
    bytes: int = 0
    list_requests: int = 0
    requests: int = 0
    objects_per_second: float | None = None
    bytes_per_second: float | None = None
    in_flight: int = 1
    seconds: float | None = None
    _months: dict[str, Any] = field(default_factory=dict, repr=False)

    def add(self, item: S3Object) -> None:
        """Plan to load an object."""
        modified = item.last_modified.timestamp() if item.last_modified else None
        line = json.dumps([item.key, item.etag, item.size, modified])
        print(line, file=self._month_of(item))
        self.count += 1
        self.bytes += item.size
        self.requests += 2 if item.etag else 3

    def months(self) -> Iterator[Iterator[S3Object]]:
        """The objects to load, month by month; within a month in the order of the listing."""
        for _, file in sorted(self._months.items()):
            file.seek(0)
            yield map(self._read, file)
            file.seek(0, io.SEEK_END)

    def objects(self) -> Iterator[S3Object]:
        """The objects to load, month by month."""
        return chain.from_iterable(self.months())

    def _month_of(self, item: S3Object) -> Any:
        day = day_of(item.key, item.last_modified)
        name = f"{day:%Y-%m}" if day else ""
        if name not in self._months and len(self._months) >= PLAN_MONTHS:
            name = ""  # keys may name any number of years
        if name not in self._months:
            self._months[name] = _temporary_file()
        return self._months[name]

    def _read(self, line: str) -> S3Object:
        key, etag, size, modified = json.loads(line)
        changed = None if modified is None else datetime.fromtimestamp(modified, UTC)
        return S3Object(self.selection.bucket, key, etag, size, changed)

    def as_dict(self) -> dict[str, Any]:
        """The plan as numbers, for JSON."""
        days = (self.selection.first_day, self.selection.last_day)
        shown = {name: value for name, value in vars(self).items() if name[0] != "_"}
        return shown | {
            "selection": {
                "uri": self.selection.uri,
                "section_ids": list(self.selection.sections),
                "start_date": days[0].isoformat() if days[0] else None,
                "end_date": days[1].isoformat() if days[1] else None,
            }
        }


def _temporary_file() -> Any:
    """A file that is gone when the plan is."""
    return SpooledTemporaryFile(PLAN_MEMORY, "w+", encoding="utf-8")


def plan(
    warehouse: Warehouse,
    settings: Settings,
    listing: Listing,
    *,
    policy: str = "append",
    force: bool = False,
    in_flight: int | None = None,
    on_progress: Callable[[Plan], None] = lambda _: None,
) -> Plan:
    """List objects and leave out those that the ledger holds. Changes nothing.

    Args:
        listing: what S3 or an inventory lists.
        policy: what another version of a loaded key means (see `load`).
        force: plan also what the ledger holds, to be loaded in its place.
        in_flight: INSERTs at a time; what suits the target if left out.
        on_progress: hears of the plan after each thousand objects.

    Raises:
        SettingsError: the bucket is not allowed, or there is nothing at all to list.
        LoaderError: S3 or ClickHouse refuses or does not answer.
    """
    flying = in_flight or IN_FLIGHT[settings.target]
    made = Plan(listing.selection, policy, force, in_flight=flying)
    check_bucket(made.selection.bucket, settings.allowed_buckets)
    ready = warehouse.query(HAS_LEDGER, raw=settings.raw_database)[0]["tables"]
    for piece in pieces(listing):
        visible = ledger.visible_versions(warehouse, piece) if ready else {}
        for item in piece:
            _consider(made, item, visible.get(item.path, set()), isinstance(listing, Inventory))
        made.listed = listing.seen
        on_progress(made)
    made.listed, made.list_requests = listing.seen, listing.requests
    if ready:
        _estimate(made, warehouse)
    return made


def _consider(made: Plan, item: S3Object, held: set[str], is_old: bool) -> None:
    """Count an object, and plan to load it if it is new."""
    made.found += 1
    made.found_bytes += item.size
    if item.etag in held:
        made.held += 1
        if ledger.settled_by(made.policy, item.etag, held, made.force) == "skipped":
            return
    elif held and is_old:
        # An inventory may tell of a version that was gone when the object was loaded.
        item = replace(item, etag="")
    made.add(item)


def _estimate(made: Plan, warehouse: Warehouse) -> None:
    """How long it will take, by whichever of objects and bytes takes longer."""
    measured = warehouse.query(RATES, most=RATED_LOADS)[0]
    if not measured["seconds"]:
        return
    made.objects_per_second = measured["objects"] * made.in_flight / measured["seconds"]
    made.bytes_per_second = measured["bytes"] * made.in_flight / measured["seconds"]
    made.seconds = made.count / made.objects_per_second
    if made.bytes_per_second:
        made.seconds = max(made.seconds, made.bytes / made.bytes_per_second)


class Throttle:
    """A limit on how fast batches begin. A batch is at most what one second allows.

    Attributes:
        most: objects in a batch.
        most_bytes: bytes in a batch.
    """

    def __init__(
        self,
        objects_per_second: float | None = None,
        bytes_per_second: float | None = None,
        *,
        most: int = MOST_PATHS,
        most_bytes: int = BATCH_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._rates = (objects_per_second, bytes_per_second)
        self._clock, self._sleep, self._next = clock, sleep, 0.0
        self.most = max(1, min(most, int(objects_per_second or most)))
        self.most_bytes = max(1, min(most_bytes, int(bytes_per_second or most_bytes)))

    def wait(self, batch: list[S3Object]) -> None:
        """Wait until the batch may begin."""
        now = self._clock()
        if self._next > now:
            self._sleep(self._next - now)
        amounts = (len(batch), sum(item.size for item in batch))
        costs = [amount / rate for amount, rate in zip(amounts, self._rates, strict=True) if rate]
        self._next = max(now, self._next) + max(costs, default=0.0)


def run(
    warehouse: Warehouse,
    settings: Settings,
    made: Plan,
    *,
    throttle: Throttle | None = None,
    on_progress: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Load what a plan names. What it loaded stays, whatever ends it; the next plan has the rest.

    Args:
        made: the plan.
        throttle: limits on speed and batches.
        on_progress: hears of the summary after each batch.

    Returns:
        What became of the objects. Where S3 or ClickHouse stopped answering, the rest was not
        tried and `stopped` says why.
    """
    throttle = throttle or Throttle()
    summary, started = Summary(requested=made.count), time.monotonic()

    def load_one(batch: list[S3Object]) -> list[Outcome]:
        done = load(warehouse, settings, batch, mode="bulk", policy=made.policy, force=made.force)
        return list(chain.from_iterable(done))

    def batches() -> Iterator[list[S3Object]]:
        for month in made.months():
            for batch in pieces(month, throttle.most, throttle.most_bytes):
                throttle.wait(batch)
                yield batch

    try:
        for outcomes in _in_flight(load_one, batches(), made.in_flight):
            summary.add(outcomes)
            summary.seconds = time.monotonic() - started
            on_progress(summary)
            _stop_if_dead(warehouse, settings, outcomes)
    except UnavailableError as error:
        summary.stopped = str(error)
    summary.seconds = time.monotonic() - started
    return summary


def _in_flight(
    work: Callable[[list[S3Object]], list[Outcome]], batches: Iterator[list[S3Object]], most: int
) -> Iterator[list[Outcome]]:
    """Do the work for each batch, several at a time; yields results as they come."""
    if most == 1:
        yield from map(work, batches)
        return
    with ThreadPoolExecutor(most) as pool:
        running: set[Future] = set()
        for batch in batches:
            running.add(pool.submit(work, batch))
            if len(running) == most:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in finished)
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in finished)


def _stop_if_dead(warehouse: Warehouse, settings: Settings, outcomes: list[Outcome]) -> None:
    """Raise an error where nothing of a batch could be read and S3 answers nobody."""
    if any(outcome.outcome != "failed" or not outcome.retryable for outcome in outcomes):
        return
    first = outcomes[0]
    if not s3_responds(source_for(warehouse, settings, [first.item]), first.item):
        raise UnavailableError(f"S3 does not answer: {first.error}")

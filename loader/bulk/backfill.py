"""Bulk loads: plan which listed objects the ledger does not have, then load them in batches.

A plan does not change once it is made. After an interrupted load, a new plan finds what is left by
the ledger, so no state is kept between two runs.
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
from loader.clickhouse.schema import is_there
from loader.clickhouse.warehouse import Warehouse
from loader.errors import UnavailableError
from loader.load import load, s3_responds, source_for
from loader.objects import MOST_PATHS, S3Object, check_bucket
from loader.outcomes import Outcome, Summary
from loader.settings import Settings

# Bytes of objects, as stored, in one INSERT: some seconds of work, so a failure costs little.
BATCH_BYTES = 256 * 1024 * 1024

# Number of concurrent INSERTs. On a server they mostly wait for S3 (docs/backfill.md has the
# figures); the embedded engine runs one statement of a connection at a time.
IN_FLIGHT = {"embedded": 1, "server": 4, "cluster": 4}

# Bytes of each month of a plan that are kept in memory; the rest goes to a temporary file.
PLAN_MEMORY = 256 * 1024

# Largest number of months with their own file; further months share one.
PLAN_MONTHS = 300

# Number of the latest loads whose speed is used to estimate how long a plan takes.
RATED_LOADS = 50

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
    """What a bulk load will do; `objects()` streams the objects to load.

    Objects are grouped by month, and no INSERT reads two months. A rebuild of some days reads all
    loads with events of those days, so a load should span little time; a listing is ordered by
    section, not by time.

    Attributes:
        selection: the selected objects.
        policy: what another version of a loaded key means (see `load`).
        force: whether to load also objects that the ledger has.
        listed: number of JSONL objects of the prefix and the sections, of any day.
        found: number of those of the selected days.
        found_bytes: their bytes, as stored.
        held: number of those whose version the ledger has.
        count: number of objects to load.
        bytes: their bytes, as stored.
        list_requests: number of requests to S3 that planning took.
        requests: least number of requests to S3 for loading: HEAD and GET of each object.
        objects_per_second: speed of the latest loads; None if there were none.
        bytes_per_second: likewise.
        in_flight: number of concurrent INSERTs.
        seconds: estimated time of loading; None if nothing was loaded yet.
        left_out: number of other objects of the selection, by the ending of their name: they are
            not read.
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
    left_out: dict[str, int] = field(default_factory=dict)
    _months: dict[str, Any] = field(default_factory=dict, repr=False)

    def add(self, item: S3Object) -> None:
        """Add an object to load."""
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
            name = ""  # keys may have any years in them
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
    """A file that is deleted with the plan."""
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
    """List objects and select those that the ledger does not have. Changes nothing.

    Args:
        warehouse: has the ledger.
        settings: the allowed buckets.
        listing: what S3 or an inventory lists.
        policy: what another version of a loaded key means (see `load`).
        force: plan also objects that the ledger has; the new lines replace the old ones.
        in_flight: number of concurrent INSERTs; depends on the target if left out.
        on_progress: called with the unfinished plan after each thousand objects.

    Raises:
        SettingsError: the bucket is not allowed, or nothing is listed.
        LoaderError: S3 or ClickHouse refuses or does not respond.
    """
    concurrent = in_flight or IN_FLIGHT[settings.target]
    new_plan = Plan(listing.selection, policy, force, in_flight=concurrent)
    check_bucket(new_plan.selection.bucket, settings.allowed_buckets)
    has_ledger = is_there(warehouse, settings.raw_database, "loads")
    is_inventory = isinstance(listing, Inventory)
    for piece in pieces(listing):
        visible = ledger.visible_versions(warehouse, piece) if has_ledger else {}
        for item in piece:
            _count(new_plan, item, visible.get(item.path, set()), is_inventory)
        new_plan.listed = listing.seen
        on_progress(new_plan)
    new_plan.listed, new_plan.list_requests = listing.seen, listing.requests
    new_plan.left_out = dict(listing.left_out)
    if has_ledger:
        _estimate(new_plan, warehouse)
    return new_plan


def _count(plan: Plan, item: S3Object, visible: set[str], is_inventory: bool) -> None:
    """Count an object, and plan to load it unless the ledger settles it."""
    plan.found += 1
    plan.found_bytes += item.size
    if item.etag in visible:
        plan.held += 1
        if ledger.settled_by(plan.policy, item.etag, visible, plan.force) == "skipped":
            return
    elif visible and is_inventory:
        # The inventory may be older than the loaded version, so the load requests the current one.
        item = replace(item, etag="")
    plan.add(item)


def _estimate(plan: Plan, warehouse: Warehouse) -> None:
    """Estimate how long the plan takes, by objects or by bytes, whichever takes longer."""
    measured = warehouse.query(RATES, most=RATED_LOADS)[0]
    if not measured["seconds"]:
        return
    plan.objects_per_second = measured["objects"] * plan.in_flight / measured["seconds"]
    plan.bytes_per_second = measured["bytes"] * plan.in_flight / measured["seconds"]
    plan.seconds = plan.count / plan.objects_per_second
    if plan.bytes_per_second:
        plan.seconds = max(plan.seconds, plan.bytes / plan.bytes_per_second)


class Throttle:
    """Limits how fast batches start. A batch has at most the amount that one second allows.

    Args:
        objects_per_second: limit on objects; None for no limit.
        bytes_per_second: limit on bytes, as stored; None for no limit.
        most: largest number of objects in a batch.
        most_bytes: largest number of bytes in a batch.
        clock: seconds, monotonic.
        sleep: waits for a number of seconds.

    Attributes:
        most: largest number of objects in a batch, within the limit.
        most_bytes: largest number of bytes in a batch, within the limit.
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
        """Wait until the batch may start."""
        now = self._clock()
        if self._next > now:
            self._sleep(self._next - now)
        amounts = (len(batch), sum(item.size for item in batch))
        costs = [amount / rate for amount, rate in zip(amounts, self._rates, strict=True) if rate]
        self._next = max(now, self._next) + max(costs, default=0.0)


def run(
    warehouse: Warehouse,
    settings: Settings,
    plan: Plan,
    *,
    throttle: Throttle | None = None,
    on_progress: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Load the objects of a plan. If it is interrupted, what it loaded remains; a new plan has the
    rest.

    Args:
        warehouse: the ClickHouse to load into.
        settings: its settings.
        plan: the plan.
        throttle: limits on speed and batches.
        on_progress: called with the summary after each batch.

    Returns:
        The outcomes. If S3 or ClickHouse stopped responding, the rest was not attempted, and
        `stopped` says why.
    """
    throttle = throttle or Throttle()
    summary, started = Summary(requested=plan.count), time.monotonic()

    def load_one(batch: list[S3Object]) -> list[Outcome]:
        done = load(warehouse, settings, batch, mode="bulk", policy=plan.policy, force=plan.force)
        return list(chain.from_iterable(done))

    def batches() -> Iterator[list[S3Object]]:
        for month in plan.months():
            for batch in pieces(month, throttle.most, throttle.most_bytes):
                throttle.wait(batch)
                yield batch

    try:
        for outcomes in _in_flight(load_one, batches(), plan.in_flight):
            summary.add(outcomes)
            summary.seconds = time.monotonic() - started
            on_progress(summary)
            _stop_without_s3(warehouse, settings, outcomes)
    except UnavailableError as error:
        summary.stopped = str(error)
    summary.seconds = time.monotonic() - started
    return summary


def _in_flight(
    work: Callable[[list[S3Object]], list[Outcome]], batches: Iterator[list[S3Object]], most: int
) -> Iterator[list[Outcome]]:
    """Run `work` for each batch, several at a time, and yield the results as they arrive."""
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


def _stop_without_s3(warehouse: Warehouse, settings: Settings, outcomes: list[Outcome]) -> None:
    """Raise an UnavailableError if a whole batch failed because S3 does not respond."""
    # After a timeout (unknown) ClickHouse may be the slow one, so that does not stop the load.
    if not all(outcome.outcome == "failed" and outcome.retryable for outcome in outcomes):
        return
    first = outcomes[0]
    if not s3_responds(source_for(warehouse, settings, [first.item]), first.item):
        raise UnavailableError(f"S3 does not answer: {first.error}")

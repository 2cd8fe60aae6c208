"""Check that everything is loaded: compare S3 with the ledger, and the ledger with raw."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from loader.bulk.backfill import IN_FLIGHT, Plan
from loader.bulk.listing import Listing
from loader.bulk.selection import Selection
from loader.clickhouse.warehouse import Warehouse
from loader.ledger import ledger_keys
from loader.objects import S3Object, check_bucket
from loader.settings import Settings

# Keys of the ledger that are in memory at a time.
PAGE = 5000

# Largest number of differences that are listed, and of keys with leftovers that are distinguished.
# All are counted.
MOST_NAMED = 10_000

# Loads whose objects one query compares; a load has up to a thousand.
LOADS = 200

# Loads that may have other lines in raw than in the ledger. Each line counts as the hash of its
# key, so the sum of a load is 0 if all its objects have their lines. Only the objects of the other
# loads are compared one by one: memory depends on the number of loads, not on that of objects.
DIFFERING_LOADS = """
select toString(load_id) as load_id
from (
    select load_id, reinterpretAsInt64(toUInt64(cityHash64(key)) * rows) as lines
    from {raw:Identifier}.loads
    where outcome = 'committed'
        and bucket = {bucket:String}
        and startsWith(key, {prefix:String})
        and load_id not in (select load_id from {raw:Identifier}.expired_loads)
    union all
    select load_id, -reinterpretAsInt64(toUInt64(cityHash64(key))) as lines
    from {raw:Identifier}.statements
    where bucket = {bucket:String} and startsWith(key, {prefix:String})
)
group by load_id
having sum(lines) != 0
order by load_id
"""

WRONG_LINES = """
select
    loads.key as key,
    toString(loads.load_id) as load_id,
    loads.rows as rows,
    found.lines as lines,
    toUnixTimestamp(loads.last_modified) as modified
from (
    select load_id, key, rows, last_modified
    from {raw:Identifier}.committed_objects
    where status = 'visible'
        and bucket = {bucket:String}
        and startsWith(key, {prefix:String})
        and load_id in {loads:Array(UUID)}
        and load_id not in (select load_id from {raw:Identifier}.expired_loads)
        and key in (
            select key
            from {raw:Identifier}.loads
            where bucket = {bucket:String} and load_id in {loads:Array(UUID)}
        )
) as loads
left join (
    select load_id, key, count() as lines
    from {raw:Identifier}.statements
    where load_id in {loads:Array(UUID)}
        and bucket = {bucket:String}
        and startsWith(key, {prefix:String})
    group by load_id, key
) as found on loads.load_id = found.load_id and loads.key = found.key
where loads.rows != found.lines
order by key, load_id
"""

# Lines of attempts that never committed the object: they are invisible, and gc removes them.
LEFTOVERS = """
select key, count() as lines, toUnixTimestamp(max(last_modified)) as modified
from {raw:Identifier}.statements
where load_id in {loads:Array(UUID)}
    and bucket = {bucket:String}
    and startsWith(key, {prefix:String})
    and (load_id, key) not in (
        select load_id, key
        from {raw:Identifier}.loads
        where outcome = 'committed'
            and bucket = {bucket:String}
            and load_id in {loads:Array(UUID)}
    )
group by key
order by key
"""


# Lines that `expire` removed from raw.
EXPIRED = """
select key, sum(rows) as lines, toUnixTimestamp(max(last_modified)) as modified
from {raw:Identifier}.committed_objects
where status = 'visible'
    and bucket = {bucket:String}
    and startsWith(key, {prefix:String})
    and load_id in (select load_id from {raw:Identifier}.expired_loads)
    and key in (
        select key
        from {raw:Identifier}.loads
        where bucket = {bucket:String}
            and load_id in (select load_id from {raw:Identifier}.expired_loads)
    )
group by key
"""


@dataclass(frozen=True)
class Difference:
    """An object that differs between S3, ledger and raw.

    Attributes:
        kind: missing (S3 has it, the ledger does not), uncommitted (likewise, but raw has lines of
            it), changed (the ledger has only other versions), extra (the ledger has it, S3 does not
            any more) or lines (ledger and raw have different numbers of lines).
        object: s3://bucket/key.
        note: further details.
    """

    kind: str
    object: str
    note: str = ""


@dataclass
class Reconciliation:
    """The comparison of a selection.

    Attributes:
        selection: the compared objects.
        to_load: a plan that loads what is missing, uncommitted or changed.
        to_reload: a plan that loads again what has lost lines in raw, or has too many.
        listed: number of objects that S3 lists.
        equal: number of those whose version the ledger has.
        lines: number of lines of the selected objects, by the ledger.
        counts: number of differences by kind.
        differences: the first ten thousand differences.
        leftover_objects: number of objects with lines that were never committed. These lines are
            invisible and not a difference.
        leftover_lines: number of those lines.
        left_out: number of other objects that S3 lists, by the ending of their name: they are not
            read, and not a difference.
        expired_lines: number of lines of the ledger that are beyond their retention, so that raw
            does not have them. They are not a difference.
        missed: number of versions that were overwritten before they were read. S3 does not list
            them, so they are not a difference.
    """

    selection: Selection
    to_load: Plan
    to_reload: Plan
    listed: int = 0
    equal: int = 0
    lines: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    leftover_objects: int = 0
    leftover_lines: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    missed: int = 0
    expired_lines: int = 0

    @property
    def agrees(self) -> bool:
        """Whether listing, ledger and raw agree."""
        return not self.counts

    def add(self, kind: str, item: S3Object, note: str = "") -> None:
        """Add a difference.

        Args:
            kind: see `Difference`.
            item: the object.
            note: further details.
        """
        self.counts[kind] += 1
        if len(self.differences) < MOST_NAMED:
            self.differences.append(Difference(kind, item.uri, note))
        if kind in ("missing", "uncommitted", "changed"):
            self.to_load.add(item)
        elif kind == "lines":
            self.to_reload.add(item)

    def as_dict(self) -> dict[str, Any]:
        """The comparison, for JSON."""
        return {
            "uri": self.selection.uri,
            "agrees": self.agrees,
            "listed": self.listed,
            "equal": self.equal,
            "lines": self.lines,
            "counts": dict(self.counts),
            "differences": [asdict(difference) for difference in self.differences],
            "leftover_objects": self.leftover_objects,
            "leftover_lines": self.leftover_lines,
            "left_out": self.left_out,
            "missed": self.missed,
            "expired_lines": self.expired_lines,
        }


def reconcile(
    warehouse: Warehouse,
    settings: Settings,
    listing: Listing,
    *,
    policy: str = "append",
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_progress: Callable[[Reconciliation], None] = lambda _: None,
) -> Reconciliation:
    """Compare what S3 lists with the ledger, and the ledger with raw. Changes nothing.

    Listing and ledger are read in the order of their keys, a page at a time. Objects that are
    loaded during the comparison are not a difference.

    Args:
        warehouse: has the ledger and the raw table.
        settings: the allowed buckets.
        listing: what S3 lists; not an inventory, whose keys have no order.
        policy: policy of the plan `to_load`.
        clock: the time.
        on_progress: called with the unfinished comparison after each thousand objects.

    Raises:
        SettingsError: the bucket is not allowed, or nothing is listed.
        LoaderError: S3 or ClickHouse refuses or does not respond, or the raw tables are missing.
    """
    selection = listing.selection
    check_bucket(selection.bucket, settings.allowed_buckets)
    in_flight = IN_FLIGHT[settings.target]
    to_load = Plan(selection, policy, in_flight=in_flight)
    found = Reconciliation(selection, to_load, Plan(selection, policy, True, in_flight=in_flight))
    started = clock().timestamp()
    leftovers = _leftovers(warehouse, found)
    for item, held in _side_by_side(iter(listing), _ledger(warehouse, selection)):
        found.missed += held["missed"] if held else 0
        if item is None:
            _not_listed(found, held, started)
        else:
            found.listed += 1
            _compare(found, item, held, leftovers)
            if found.listed % 1000 == 0:
                on_progress(found)
    found.left_out = dict(listing.left_out)
    _compare_lines(warehouse, found)
    return found


def _compare(
    found: Reconciliation, item: S3Object, held: dict[str, Any] | None, leftovers: dict[str, int]
) -> None:
    """Compare an object that S3 lists with the ledger's row for its key."""
    if held and held["versions"]:
        found.lines += held["lines"]
        if item.etag in held["versions"]:
            found.equal += 1
        else:
            found.add("changed", item, f"the ledger has {', '.join(sorted(held['versions']))}")
    elif item.key in leftovers:
        found.add("uncommitted", item, f"{leftovers[item.key]} lines wait for gc")
    else:
        found.add("missing", item, held["error"] if held else "")


def _not_listed(found: Reconciliation, held: dict[str, Any], started: float) -> None:
    """Handle an object that the ledger has and S3 does not list."""
    if held["versions"]:
        found.lines += held["lines"]
        if held["first_committed"] < started:
            found.add("extra", S3Object(found.selection.bucket, held["key"]))


def _leftovers(warehouse: Warehouse, found: Reconciliation) -> dict[str, int]:
    """Count lines that were never committed, by key, for at most MOST_NAMED keys."""
    kept: dict[str, int] = {}
    selection = found.selection
    for values in _differing_loads(warehouse, selection):
        for row in warehouse.query(LEFTOVERS, **values):
            if _is_of(selection, row):
                before = kept.get(row["key"], 0)
                found.leftover_objects += not before
                found.leftover_lines += row["lines"]
                if before or len(kept) < MOST_NAMED:
                    kept[row["key"]] = before + row["lines"]
    return kept


def _compare_lines(warehouse: Warehouse, found: Reconciliation) -> None:
    """Compare the numbers of lines in the ledger with those in raw."""
    selection = found.selection
    for prefix in selection.prefixes():
        for row in warehouse.query(EXPIRED, bucket=selection.bucket, prefix=prefix):
            found.expired_lines += row["lines"] if _is_of(selection, row) else 0
    for values in _differing_loads(warehouse, selection):
        for row in warehouse.query(WRONG_LINES, **values):
            if _is_of(selection, row):
                found.add(
                    "lines",
                    S3Object(selection.bucket, row["key"]),
                    f"load {row['load_id']}: {row['rows']} lines in the ledger, "
                    f"{row['lines']} in raw",
                )


def _differing_loads(warehouse: Warehouse, selection: Selection) -> Iterator[dict[str, Any]]:
    """The values of the queries that compare objects: bucket, prefix, and some of the loads that
    may have other lines in raw than in the ledger."""
    for prefix in selection.prefixes():
        place = {"bucket": selection.bucket, "prefix": prefix}
        loads = [row["load_id"] for row in warehouse.query(DIFFERING_LOADS, **place)]
        for at in range(0, len(loads), LOADS):
            yield place | {"loads": loads[at : at + LOADS]}


def _ledger(warehouse: Warehouse, selection: Selection) -> Iterator[dict[str, Any]]:
    """The ledger's rows for the selected keys, in the order of the keys."""
    for prefix in sorted(selection.prefixes()):
        for row in ledger_keys(warehouse, selection.bucket, prefix, PAGE):
            if _is_of(selection, row):
                yield row


def _is_of(selection: Selection, row: dict[str, Any]) -> bool:
    """Whether a row with key and modified (Unix time or None) is in the sections and days."""
    modified = row["modified"]
    changed = None if modified is None else datetime.fromtimestamp(modified, UTC)
    return selection.of_section(row["key"]) and selection.of_days(row["key"], changed)


def _side_by_side(
    listed: Iterator[S3Object], held: Iterator[dict[str, Any]]
) -> Iterator[tuple[S3Object | None, dict[str, Any] | None]]:
    """Pair objects and ledger rows by key; both are sorted by the bytes of the key."""
    item, row = next(listed, None), next(held, None)
    while item or row:
        key = item and item.key.encode()
        other = row and row["key"].encode()
        if row is None or (item and key < other):
            yield item, None
            item = next(listed, None)
        elif item is None or other < key:
            yield None, row
            row = next(held, None)
        else:
            yield item, row
            item, row = next(listed, None), next(held, None)

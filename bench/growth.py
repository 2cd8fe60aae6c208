"""Growth: the same work on a long history and on a short one, which has a tenth of it or less.

Both have the same sections and months, and a ledger whose loads were committed as the lines
happened. Each is built once and removed, because two copies of a hundred million events do not fit
into 60 GB.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import count

import chdb

from bench import increments
from bench.engine import Database, Site, Time, interleaved, load_apart
from bench.history import filled
from bench.increments import NEW, VIDEO, new_objects
from bench.listing import serve_listing
from bench.report import figure
from bench.rows import Row
from bench.section_queries import QUERIES, ask, condition
from bench.sizes import LONG
from bench.statements import FIRST_SECTION
from loader.clickhouse.connect import Warehouse

MART = ("--select", "int_learner_videos")
BUCKET = "history"
# Beginning of the keys of a quarter of the sections; to list and compare all takes half an hour.
QUARTER = "section/1"
# How many times as much the work on the long history may take.
MOST = 1.3
# The months that are rebuilt begin with this one.
FIRST_MONTH = date(2025, 6, 1)
# Seconds without a merge after which a table is at rest, and the most to wait for it.
QUIET, PATIENCE = 5, 600

# Lines of an attempt that was not committed, which gc removes.
LEFTOVERS = """
insert into xapi_raw.statements
select * replace ((select generateUUIDv4()) as load_id)
from xapi_raw.statements
where statements.load_id = (
    select any(load_id) from xapi_raw.loads where bucket = {bucket:String}
)
"""
KEYS = """
select key from xapi_raw.loads
where bucket = '{bucket}' and startsWith(key, '{prefix}') order by key
"""


@dataclass(frozen=True)
class History:
    """A history that is applied to `video_events` and its mart.

    Attributes:
        rows: number of lines.
        database: where it is.
        applied: the run that applied all of it to `video_events`.
        mart: the run that filled the mart.
    """

    rows: int
    database: Database
    applied: Time
    mart: Time


def measure(site: Site) -> list[Row]:
    """Build both histories and measure them in turn; then refresh the short one and a third."""
    short, long = (_built(site, rows) for rows in (site.size.short_history, site.size.history))
    rows = []
    for part in (_fills, _increments, _reads, _section_queries, _rebuilds, _upkeep, _refreshes):
        found = part(site, short, long)
        # A later part may fail after an hour.
        for row in found:
            site.say(f"{row.what}: {figure(row.ours)} {row.unit}, {figure(row.reference or 0)}")
        rows += found
    return rows


def _built(site: Site, rows: int) -> History:
    title = f"{rows:,} lines"
    database = site.step(
        f"{title}: raw and ledger", lambda: filled(site, f"growth-{rows}", rows, LONG)
    )
    applied = site.step(f"{title}: video_events", lambda: database.dbt("run", *VIDEO))
    mart = site.step(f"{title}: mart", lambda: database.dbt("run", *MART, "--full-refresh"))
    with database.open() as (warehouse, _):
        # Months of a table that grew for two years are merged. So are their young parts here, or
        # merges of the history would count for an increment.
        site.step(f"{title}: merge", lambda: _merge(warehouse))
    return History(rows, database, applied, mart)


def _merge(warehouse: Warehouse) -> None:
    """Merge the tables that are searched, and wait until the merges of the others have ended."""
    for table in ("xapi_raw.loads", "xapi.video_events"):
        warehouse.command(f"optimize table {table} final")
    started = last = time.monotonic()
    while time.monotonic() - last < QUIET and time.monotonic() - started < PATIENCE:
        if warehouse.query("select 1 from system.merges limit 1"):
            last = time.monotonic()
        time.sleep(0.2)


def _fills(_: Site, short: History, long: History) -> list[Row]:
    rows = []
    for what, of in (
        ("all lines into video_events", lambda each: each.applied),
        ("all events into the mart", lambda each: each.mart),
    ):
        rows += [
            _against(
                f"{what}: dbt run, per million",
                *(of(each).wall / each.rows * 1_000_000 for each in (long, short)),
                "s",
                counts={"dbt run, s": round(of(long).wall)},
            ),
            _peak(what, of(long), of(short)),
        ]
    return rows


def _increments(site: Site, short: History, long: History) -> list[Row]:
    """10,000 statements, loaded and applied one step after the other, on both histories in turn."""

    def steps(database: Database) -> list[Callable[[], Time]]:
        batches = count()
        return [
            lambda: load_apart(database, new_objects(site, next(batches), LONG.end)),
            lambda: database.dbt("run", *VIDEO),
            lambda: database.dbt("run", *VIDEO),
            lambda: database.dbt("run", *MART),
            lambda: database.dbt("run", *MART),
        ]

    works = [*steps(short.database), *steps(long.database)]
    found = site.step("increments", lambda: interleaved(site.size.repeats, *works))
    few, many = found[: len(works) // 2], found[len(works) // 2 :]
    (load, events, idle, mart, mart_idle), (load_, events_, idle_, mart_, mart_idle_) = many, few
    new = f"{NEW:,} statements"
    whole, whole_ = _both(load, events), _both(load_, events_)
    return [
        *_times(f"{new}: load and dbt run", whole, whole_),
        *_without_start(f"{new}: load and dbt run", (whole, idle), (whole_, idle_)),
        *_times("a run with nothing to do", idle, idle_),
        *_times(f"{new}: dbt run of the mart", mart, mart_),
        *_without_start(f"{new}: dbt run of the mart", (mart, mart_idle), (mart_, mart_idle_)),
        _peak(f"load of {new}", load, load_),
        _peak(f"transform of {new}", events, events_),
        _peak(f"mart of {new}", mart, mart_),
    ]


def _reads(site: Site, short: History, long: History) -> list[Row]:
    """Rows read and statements sent by runs of dbt over HTTP, which counts them."""

    def read(database: Database) -> list[dict[str, int]]:
        # The last of the batches that a database gets.
        load_apart(database, new_objects(site, site.size.repeats, LONG.end))
        runs = (VIDEO, VIDEO, MART, MART)
        return [increments.rows_read(database, *selection) for selection in runs]

    few, many = (
        site.step(f"{each.rows:,} lines: rows read", lambda each=each: read(each.database))
        for each in (short, long)
    )
    rows = []
    for what, ours, reference in zip(
        (
            f"{NEW:,} statements: dbt run",
            "a run with nothing to do",
            f"{NEW:,} statements: dbt run of the mart",
            "a run of the mart with nothing to do",
        ),
        many,
        few,
        strict=True,
    ):
        rows += [
            _against(f"{what}: rows read", ours["all"], reference["all"], "rows"),
            _against(
                f"{what}: statements", ours["statements"], reference["statements"], "statements"
            ),
        ]
        if what == "a run with nothing to do":
            note = "the key of the pseudonyms, by statements that name the raw lines"
            row = Row(f"{what}: rows read of raw", ours["raw"], "rows", at_most=2, note=note)
            rows.append(row)
    return rows


def _section_queries(site: Site, short: History, long: History) -> list[Row]:
    rows = []
    for kind in QUERIES:
        wheres = [_condition(kind, place) for place in range(site.size.queries)]
        ours, reference = (
            ask(str(each.database.path), "xapi.video_events", wheres) for each in (long, short)
        )
        counts = {"ms": ours["ms"], "ms of the reference": reference["ms"]}
        rows.append(
            _against(f"{kind}: rows read", ours["rows"], reference["rows"], "rows", counts=counts)
        )
    return rows


def _condition(kind: str, place: int) -> str:
    """A condition on a section, days, a video and a learner that the history has."""
    index, week = place * 37 % LONG.sections, place * 7 % (LONG.days // 7)
    section = FIRST_SECTION + 13 * index
    day = LONG.start.date() + timedelta(days=place * 7 % (LONG.days - 30))
    video = 1000 * (1719 + index // 2) + week
    return condition(kind, section, day, video, section * 1000 + place % 120)


def _rebuilds(site: Site, short: History, long: History) -> list[Row]:
    """A month of the long history, against as many rows of the short one, which are of more
    months."""
    months = min(long.rows // short.rows, 16)
    few, reference, many = (
        site.step(
            f"{history.rows:,} lines: rebuild of {number} months",
            lambda history=history, number=number: history.database.dbt(
                "run", *VIDEO, "--vars", _days(number)
            ),
        )
        for history, number in ((short, 1), (short, months), (long, 1))
    )
    what = "rebuild of a month"
    note = f"reference: {months} months of the short history, which have as many rows"
    counts = {
        "a month of the short history, MiB": round(few.peak / 1024**2),
        "a month of the short history, s": round(few.wall, 1),
    }
    return [
        _against(what, many.wall, reference.wall, note=note, counts=counts),
        _peak(what, many, reference, note=note),
    ]


def _days(months: int) -> str:
    """The variables of a rebuild of some months."""
    after = FIRST_MONTH.month - 1 + months
    end = date(FIRST_MONTH.year + after // 12, after % 12 + 1, 1) - timedelta(days=1)
    return f"{{start_date: {FIRST_MONTH}, end_date: {end}}}"


def _upkeep(site: Site, short: History, long: History) -> list[Row]:
    reconciled = [_reconciled(site, each) for each in (long, short)]
    collected = [_collected(site, each) for each in (long, short)]
    return [
        _peak(
            "xapi-elt reconcile",
            *reconciled,
            note="a quarter of the sections; a stand-in for S3 lists their keys",
        ),
        _against(
            "xapi-elt reconcile, per million objects in the ledger",
            *(
                run.wall / each.rows * LONG.per_object * 1_000_000
                for run, each in zip(reconciled, (long, short), strict=True)
            ),
            counts={"s": round(reconciled[0].wall)},
        ),
        _peak("xapi-elt gc", *collected, note="removes the lines of one load"),
        _against(
            "xapi-elt gc, per million lines",
            *(
                run.wall / each.rows * 1_000_000
                for run, each in zip(collected, (long, short), strict=True)
            ),
            counts={"s": round(collected[0].wall, 1)},
        ),
    ]


def _reconciled(site: Site, history: History) -> Time:
    keys = history.database.folder / "keys"
    connection = chdb.connect(str(history.database.path))
    try:
        listed = connection.query(KEYS.format(bucket=BUCKET, prefix=QUARTER), "TSVRaw")
        keys.write_bytes(listed.bytes())
    finally:
        connection.close()
    with serve_listing(keys) as endpoint:
        environment = {"AWS_ENDPOINT_URL_S3": endpoint, "XAPI_ALLOWED_BUCKETS": BUCKET}
        return site.step(
            f"{history.rows:,} lines: reconcile",
            lambda: history.database.cli(
                "reconcile", f"s3://{BUCKET}/{QUARTER}", "--json", **environment
            ),
        )


def _collected(site: Site, history: History) -> Time:
    with history.database.open() as (warehouse, _):
        warehouse.command(LEFTOVERS, bucket=BUCKET)
    return site.step(
        f"{history.rows:,} lines: gc",
        lambda: history.database.cli("gc", "--older-than", "0", "--even-running", "--json"),
    )


def _refreshes(site: Site, short: History, long: History) -> list[Row]:
    """All tables filled again, of the short history and of one that is longer."""
    long.database.remove()
    refresh = ("run", "--full-refresh")
    few = site.step(f"{short.rows:,} lines: refresh", lambda: short.database.dbt(*refresh))
    short.database.remove()
    rows = site.size.refresh
    database = filled(site, f"growth-{rows}", rows, LONG)
    many = site.step(f"{rows:,} lines: refresh", lambda: database.dbt(*refresh))
    database.remove()
    what = f"dbt run --full-refresh of {rows:,} lines"
    return [
        _against(
            f"{what}, per million",
            many.wall / rows * 1_000_000,
            few.wall / short.rows * 1_000_000,
            counts={"s": round(many.wall), "s of the reference": round(few.wall)},
        ),
        _peak(what, many, few),
    ]


def _against(what: str, ours: float, reference: float, unit: str = "s", **more: object) -> Row:
    """A row that compares the long history with the short one."""
    if not reference:  # a history of few lines
        return Row(what, ours, unit, reference, **more)
    return Row(what, ours, unit, reference, ours / reference, at_most=MOST, **more)


def _both(first: Time, second: Time) -> Time:
    return Time(first.wall + second.wall, first.cpu + second.cpu)


def _times(what: str, ours: Time, reference: Time) -> list[Row]:
    """The same for elapsed and CPU time."""
    return [
        _against(what, ours.wall, reference.wall),
        _against(f"{what}: CPU", ours.cpu, reference.cpu),
    ]


def _without_start(what: str, ours: tuple[Time, Time], reference: tuple[Time, Time]) -> list[Row]:
    """The same for the times of a run, less those of one with nothing to do."""
    alone, other = (
        Time(run.wall - idle.wall, run.cpu - idle.cpu) for run, idle in (ours, reference)
    )
    rows = _times(f"{what}, without dbt's start-up", alone, other)
    # Small differences between seconds: on a busy machine they are only noise.
    note = "lost in the noise of this run: not judged"
    return [
        row
        if min(row.ours, row.reference) > 0.2
        else replace(row, ratio=None, at_most=None, note=note)
        for row in rows
    ]


def _peak(what: str, ours: Time, reference: Time, **more: object) -> Row:
    """The same for the memory of a process."""
    peaks = (ours.peak / 1024**2, reference.peak / 1024**2)
    return _against(f"{what}: peak resident memory", *peaks, "MiB", **more)

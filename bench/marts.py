"""The mart of watched videos: filling it, keeping it up to date, asking it; against a bare scan."""

from statistics import median
from time import perf_counter

import chdb
import yaml

from bench.engine import ROOT, Database, Site, Time, empty_database, interleaved, number, timed
from bench.rows import Row
from bench.section_queries import insert_events

SECTIONS, NEW = 300, 10_000
MART = ("run", "--select", "int_learner_videos")
# Part of the events, for memory, which should be flat beyond the events of a slice.
FEW = 10
SLICE = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]["mart_slice_events"]

# What the mart reads of an event.
SCAN = """
select sum(cityHash64(event_id, section_id, course_id, learner_id, video_url, session_id, page_id,
    page_attempt_guid, content_element_id, timestamp, verb, video_time, video_seek_from,
    video_seek_to, video_played_segments))
from xapi.video_events
"""
# What a run that has applied a load leaves in the bookkeeping.
APPLIED = (
    """
    insert into xapi.elt_applied_loads
        (model, table_id, load_id, committed_at, lines, step, run_id, claim)
    select model, applied_under, $load, now64(3, 'UTC'), 0, 'run', '', claim + 1
    from xapi.elt_tables final
    where model = 'video_events'
    """,
    """
    insert into xapi.elt_tables
    select * replace (
        claim + 1 as claim, (claim + 1) * 1000000 as version,
        (select count() from xapi.video_events) as table_rows
    )
    from xapi.elt_tables final
    where model = 'video_events'
    """,
)
RETENTION = """
select video_key, place, viewers, views from xapi.fct_video_retention where section_id = {section}
"""


def measure(site: Site) -> list[Row]:
    """Measure a tenth of the events, for memory, then all."""
    rows = site.size.section_rows
    few, _ = _filled(site, rows // FEW)
    few_peak = few.dbt(*MART, "--full-refresh").peak
    few.remove()
    database, scan = _filled(site, rows)
    full, idle = interleaved(
        site.size.repeats,
        lambda: database.dbt(*MART, "--full-refresh"),
        lambda: database.dbt(*MART),
    )
    batches = iter(range(rows, 2 * rows, NEW))
    new, _ = interleaved(
        site.size.repeats, lambda: _increment(database, next(batches)), lambda: idle
    )
    with database.open() as (warehouse, _):
        groups = number(warehouse, "select count() from xapi.fct_learner_videos")
    asked = _asked(database, site.size.queries)
    database.remove()
    title = f"{rows:,} video events"
    return [
        Row(
            f"{title}: fill the mart, CPU without dbt's start-up",
            full.cpu - idle.cpu,
            "s",
            reference=scan.cpu,
            ratio=(full.cpu - idle.cpu) / scan.cpu,
            note="reference: one scan of the columns that the mart reads",
            counts={"learners and videos": groups, "wall s": round(full.wall - idle.wall, 1)},
        ),
        Row(
            f"{title}: fill the mart, peak resident memory",
            full.peak / 1024**2,
            "MiB",
            reference=few_peak / 1024**2,
            ratio=full.peak / few_peak,
            at_most=1.25 if rows // FEW > SLICE else None,
            note=f"reference: {rows // FEW:,} events; a run fills {SLICE:,} at a time",
        ),
        Row(
            f"{title}: {NEW:,} new ones, CPU without dbt's start-up",
            new.cpu - idle.cpu,
            "s",
            reference=scan.cpu,
            ratio=(new.cpu - idle.cpu) / scan.cpu,
            note="of all sections; only their groups are made again",
        ),
        Row(
            f"{title}: nothing new, dbt run as a whole",
            idle.wall,
            "s",
            note="reads no event (tests/models/test_video_marts.py)",
            counts={"CPU s": round(idle.cpu, 2)},
        ),
        Row(f"{title}: retention of the videos of a section, p50", asked, "ms", at_most=60),
    ]


def _filled(site: Site, rows: int) -> tuple[Database, Time]:
    """A database with these events and no mart of them, and the time of a scan."""
    database = empty_database(site, f"marts-{rows}")
    with database.open() as (warehouse, _):
        insert_events(warehouse, "xapi.video_events", rows, SECTIONS)
        warehouse.command("optimize table xapi.video_events final")
        scans = [timed(lambda: warehouse.query(SCAN)) for _ in range(3)]
    site.say(f"marts: {rows:,} events")
    return database, sorted(scans, key=lambda one: one.cpu)[1]


def _increment(database: Database, first: int) -> Time:
    """The time of a run after one load, which a run of the events is said to have applied."""
    with database.open() as (warehouse, _):
        insert_events(warehouse, "xapi.video_events", NEW, SECTIONS, first=first)
        load_id = f"reinterpretAsUUID(toUInt128(cityHash64({first // NEW})))"
        for sql in APPLIED:
            warehouse.command(sql.replace("$load", load_id))
    return database.dbt(*MART)


def _asked(database: Database, count: int) -> float:
    """The median milliseconds of a section's retention, for several sections."""
    connection = chdb.connect(str(database.path))
    try:
        took = []
        for place in range(count):
            started = perf_counter()
            connection.query(RETENTION.format(section=2161 + place * 37 % SECTIONS), "JSONEachRow")
            took.append((perf_counter() - started) * 1000)
    finally:
        connection.close()
    return round(median(took), 2)

"""The video marts: what the SQL makes of events, and increments against a full build."""

import os
import random
import re
from dataclasses import asdict, replace

import pytest

from tests.helpers.dbt_runs import run_dbt
from tests.helpers.mart_rows import differences
from tests.helpers.mart_server import MartServer, row_of
from tests.helpers.small_database import VIDEO, Attempt, statement
from tests.helpers.video_fuzz import URLS, random_events
from tests.helpers.video_oracle import Event, video_key, watched

IS_LONG = bool(os.environ.get("XAPI_CHAOS"))

# Rows of the stored mart that are not what the model makes of the present events.
DIFFERING = """
select * from (select * except (version, is_deleted) from xapi.int_learner_videos final
               where not is_deleted
               except select * from xapi.int_learner_videos_now)
union all
select * from (select * from xapi.int_learner_videos_now
               except
               select * except (version, is_deleted) from xapi.int_learner_videos final
               where not is_deleted)
"""


def wrong_rows(server: MartServer, events: list[Event]) -> list[tuple]:
    """Where rows made now are not what the walk over the events says."""
    expected = {key: asdict(found) for key, found in watched(events).items()}
    rows = server.query("select * from xapi.int_learner_videos_now")
    return differences(expected, rows, ("section_id", "course_id", "learner_id", "video_key"))


@pytest.mark.parametrize("first_seed", range(0, 1000 if IS_LONG else 40, 20))
def test_the_sql_says_what_a_walk_over_random_events_says(mart_server, first_seed):
    for seed in range(first_seed, first_seed + 20):
        events = random_events(seed)
        mart_server.change("truncate table xapi.video_events")
        mart_server.insert("video_events", map(row_of, events))
        assert not wrong_rows(mart_server, events), f"seed {seed}"


def test_random_events_reach_every_rule():
    rows = [row for seed in range(20) for row in watched(random_events(seed)).values()]
    assert sum(row.plays_without_end for row in rows) > 100
    assert sum(row.seconds_seen > row.paired_seconds > 0 for row in rows) > 5
    assert sum(row.seconds_rewatched > 0 for row in rows) > 10
    assert sum(len(row.days) > 1 for row in rows) > 20
    assert sum(not row.pieces for row in rows) > 50


@pytest.mark.parametrize("url", [url for url in URLS if url])
def test_the_key_of_a_video_is_the_same_in_sql(mart_server, url):
    odd = [
        f"{url}{more}" for more in ("", "#x?t=1", "?", "&t=1&&u", "?t", "&Signature", "?tt=1&t=")
    ]
    events = [
        replace(event, video_url=text) for event, text in zip(random_events(1), odd, strict=False)
    ]
    mart_server.insert("video_events", map(row_of, events))
    rows = mart_server.query("select distinct video_key from xapi.int_player_events")
    assert {row["video_key"] for row in rows} == {video_key(text) for text in odd}


def change_events(server: MartServer, events: list[Event], batch: list[Event], seed: int) -> None:
    """Insert a batch; withdraw some events, and give others another place, learner or section."""
    rng = random.Random(seed)
    gone = [event for event in events if rng.random() < 0.1]
    changed = [event for event in gone if rng.random() < 0.5]
    for event in gone:
        events.remove(event)
    again = [
        rng.choice(
            [
                replace(event, video_time=(event.video_time or 0) + 1),
                replace(event, learner_id="another"),
                replace(event, section_id=9),
                replace(event, session_id="another"),
                replace(event, video_played_segments="0[.]7"),
            ]
        )
        for event in changed
    ]
    if gone:
        ids = ", ".join(f"'{event.event_id}'" for event in gone)
        server.change(f"delete from xapi.video_events where event_id in ({ids})")
    server.insert("video_events", map(row_of, batch + again))
    events += batch + again
    server.record_change()


def test_increments_make_what_a_full_build_makes(mart_server):
    waiting, events = random_events(7, learners=40), []
    rng = random.Random(7)
    for number in range(60 if IS_LONG else 3):
        cut = rng.randint(0, len(waiting) // 2)
        batch, waiting = waiting[:cut], waiting[cut:] or random_events(1000 + number, learners=5)
        change_events(mart_server, events, batch, number)
        printed = mart_server.dbt("run", "--select", "int_learner_videos")
        assert "nothing new" not in printed
        assert mart_server.query(DIFFERING) == []
        assert not wrong_rows(mart_server, events)
    # One event moves to another learner, and nothing else of its section changes.
    moved = next(event for event in events if event.video_url)
    mart_server.change(f"delete from xapi.video_events where event_id = '{moved.event_id}'")
    events.remove(moved)
    events.append(replace(moved, learner_id="moved"))
    mart_server.insert("video_events", map(row_of, events[-1:]))
    mart_server.record_change()
    mart_server.dbt("run", "--select", "int_learner_videos")
    assert mart_server.query(DIFFERING) == []
    mart_server.change("truncate table xapi.video_events")
    mart_server.record_change()
    mart_server.dbt("run", "--select", "int_learner_videos")
    assert mart_server.query("select count() as n from xapi.fct_learner_videos") == [{"n": 0}]


# The statements of a run, at each of which it may die.
STEPS = {
    "groups": r"insert into \S+elt_new__int_learner_videos",
    "rows": r"insert into \S+\.`?int_learner_videos",
    "gone groups": r"insert into \S+\.`?int_learner_videos`? \(section_id, course_id",
    "comment": r"modify comment\s+\S*\[table",
    "release": "elt_claim__int_learner_videos.* modify comment 'free'",
}
FULL_STEPS = {
    "new table": r"create table \S+elt_new__int_learner_videos",
    "rows": r"insert into \S+elt_new__int_learner_videos",
    "exchange": "exchange tables",
    "drop": r"drop table if exists \S+elt_new",
}
SHORT = [("", "rows")]
ALL = [("", step) for step in STEPS] + [("--full-refresh", step) for step in FULL_STEPS]


@pytest.mark.parametrize(("option", "step"), ALL if IS_LONG else SHORT)
def test_what_a_dead_run_left_is_completed_by_the_next_one(mart_server, option, step):
    events: list[Event] = []
    change_events(mart_server, events, random_events(3), 3)
    mart_server.dbt("run", "--select", "int_learner_videos")
    change_events(mart_server, events, random_events(4), 4)
    arguments = ["run", "--select", "int_learner_videos", *([option] if option else [])]
    with mart_server.broken((FULL_STEPS if option else STEPS)[step]) as refused:
        mart_server.dbt(*arguments, fails=True)
    assert refused
    mart_server.dbt("run", "--select", "int_learner_videos")
    assert mart_server.query(DIFFERING) == []
    assert not wrong_rows(mart_server, events)


def test_replaced_late_and_rebuilt_events_reach_the_marts(database):
    before = database.query("select sum(events) as n from xapi.fct_learner_videos")
    played = statement(minute=30, result={"extensions": {f"{VIDEO}extensions/time": 99}})
    database.load(
        Attempt(20, "section/2161/video/a.jsonl", [played], etag="2", policy="replace"),
        Attempt(21, "section/7/video/late.jsonl", [statement(minute=n) for n in range(90, 95)]),
    )
    database.dbt("run")
    assert database.query(DIFFERING) == []
    after = database.query("select sum(events) as n from xapi.fct_learner_videos")
    assert after != before
    database.dbt("run", "--vars", "{start_date: 2025-10-01, end_date: 2025-10-31}")
    assert database.query(DIFFERING) == []
    assert database.query("select sum(events) as n from xapi.fct_learner_videos") == after


def test_nothing_new_reads_no_event(mart_server):
    mart_server.insert("video_events", map(row_of, random_events(5)))
    mart_server.record_change()
    mart_server.dbt("run", "--select", "int_learner_videos")
    mart_server.http.reads.clear()
    assert "nothing new" in mart_server.dbt("run", "--select", "int_learner_videos")
    reads = [(sql, rows) for sql, rows in mart_server.http.reads if re.search("video|player", sql)]
    assert reads
    assert sum(rows for sql, rows in reads if "system." not in sql) <= 2 * len(reads)


def test_lost_rows_come_back(mart_server):
    mart_server.insert("video_events", map(row_of, random_events(5)))
    mart_server.record_change()
    mart_server.dbt("run", "--select", "int_learner_videos")
    mart_server.change("truncate table xapi.int_learner_videos")
    mart_server.dbt("run", "--select", "int_learner_videos")
    assert mart_server.query(DIFFERING) == []


def test_another_definition_fills_the_mart_again(mart_server):
    mart_server.insert("video_events", map(row_of, random_events(5)))
    mart_server.record_change()
    select = ("run", "--select", "int_learner_videos_now", "int_learner_videos")
    mart_server.dbt(*select)
    before = mart_server.query("select sum(seconds_seen) as seconds from xapi.fct_learner_videos")
    slow = "{mart_slice_events: 40, video_max_speed: 1, video_clock_slack: 0}"
    assert "filled from" in run_dbt(*select, "--vars", slow, folder=mart_server.folder)
    assert mart_server.query(DIFFERING) == []
    after = mart_server.query("select sum(seconds_seen) as seconds from xapi.fct_learner_videos")
    assert after[0]["seconds"] < before[0]["seconds"]

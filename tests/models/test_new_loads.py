"""Marts after loads: where only loads were added, only their groups are made again."""

import json
import random
import re

import pytest

from tests.helpers.small_database import TORUS, VIDEO, Attempt, SmallDatabase, statement

MARTS = ("int_learner_videos", "int_learner_parts", "int_learner_pages")
RUN = ("run", "--select", "+marts.events", *MARTS)
VOIDED = "http://adlnet.gov/expapi/verbs/voided"

# Rows of a stored mart that are not what the model makes of the present events, and the reverse.
DIFFERING = """
with
    stored as (select * except (version, is_deleted) from xapi.$mart final where not is_deleted),
    made as (select * except (version, is_deleted) from ($rows))
select 'stored' as only, toString(section_id) as section from (
    select * from stored except select * from made)
union all
select 'made', toString(section_id) from (select * from made except select * from stored)
"""


def run(database: SmallDatabase, *options: str) -> list[str]:
    """Run dbt, check all marts, and return what it did to each."""
    printed = database.dbt(*RUN, *options)
    for mart in MARTS:
        events = "attempts" if mart == "int_learner_parts" else ""
        rows = f"select *{f', {events} as events' * bool(events)}, 0 as version, 0 as is_deleted"
        rows += f" from xapi.{mart}_now"
        sql = DIFFERING.replace("$mart", mart).replace("$rows", rows)
        assert database.query(sql) == [], mart
    return [re.search(rf"`{mart}` .*\[(.+) in [\d.]+s\]", printed)[1] for mart in MARTS]


def playing(minute: int, place: float, learner: int, **changes: object) -> str:
    actor = {"account": {"homePage": "https://lms.example.org", "name": learner}}
    result = {"extensions": {f"{VIDEO}extensions/time": place}}
    return statement(minute=minute, actor=actor, result=result, **changes)


def test_groups_of_new_loads_are_made_again_and_all_if_more_changed(database):
    run(database)
    database.load(
        Attempt(20, "section/1/video/new.jsonl", [playing(30, 5, 7), playing(31, 9, 8)]),
        Attempt(21, "section/1/page/new.jsonl", [statement("page_viewed", minute=32)]),
    )
    assert run(database) == [
        "2 groups in 1 sections, of new loads",
        "0 groups in 0 sections, of new loads",
        "1 groups in 1 sections, of new loads",
    ]
    assert run(database) == ["nothing new"] * 3
    # One event for another: the table has as many rows as before.
    database.load(
        Attempt(22, "section/1/video/new.jsonl", [playing(30, 6, 7), playing(33, 9, 9)], etag="2"),
        Attempt(23, "section/1/video/new.jsonl", [playing(34, 6, 7)], etag="3", policy="replace"),
    )
    assert "all compared" in run(database)[0]
    # A copy of the withdrawn event comes back from an old load, in another section, and one event
    # is new: the table has as many rows as if only that had been added.
    shared = "11111111-1111-4111-8111-111111111111"
    elsewhere = {"context": {"extensions": {f"{TORUS}section_id": 5}}}
    database.load(
        Attempt(25, "section/1/video/first.jsonl", [playing(36, 5, 7, id=shared)]),
        Attempt(26, "section/5/video/copy.jsonl", [playing(36, 5, 7, id=shared, **elsewhere)]),
    )
    run(database)
    database.load(
        Attempt(27, "section/1/video/first.jsonl", [playing(37, 5, 7)], etag="2", policy="replace")
    )
    assert "all compared" in run(database)[0]
    database.load(Attempt(24, "section/1/video/more.jsonl", [playing(35, 5, 7)]))
    assert "all compared" in run(database, "--vars", "{mart_compare_hours: 0}")[0]


def test_the_slices_of_a_run_do_not_grow_with_the_earlier_versions_of_rows(database):
    """A mart keeps a row's earlier versions until they are merged; each has its events, too."""
    few = ("--vars", "{mart_slice_events: 10}")
    section = {"context": {"extensions": {f"{TORUS}section_id": 9}}}
    # Of 5, 6 and 7 events, 18 with the earlier versions.
    for minute, places in ((40, range(5)), (50, [5]), (60, [6])):
        lines = [playing(minute + place, place, 7, **section) for place in places]
        database.load(Attempt(minute, f"section/9/video/{minute}.jsonl", lines))
        assert run(database, *few)[0] == "1 groups in 1 sections, of new loads"


@pytest.mark.long
def test_random_loads_and_replacements_make_what_a_full_build_makes(database):
    rng = random.Random(20261128)
    found: list[str] = []
    keys: list[str] = []
    for minute in range(100, 140):
        lines = [
            rng.choice(
                [
                    playing(rng.randint(0, 600), rng.randint(0, 90), rng.randint(1, 5)),
                    statement(rng.choice(["page_viewed", "part_attempt"]), rng.randint(0, 600)),
                    statement("page_attempt", rng.randint(0, 600), id=f"id-{rng.randint(1, 9)}"),
                ]
            )
            for _ in range(rng.randint(0, 6))
        ]
        if rng.random() < 0.2:
            voided = json.dumps({"objectType": "StatementRef", "id": f"id-{rng.randint(1, 9)}"})
            lines.append(statement(verb={"id": VOIDED}, object=json.loads(voided)))
        replaces = bool(keys) and rng.random() < 0.3
        key = rng.choice(keys) if replaces else f"section/1/video/{minute}.jsonl"
        policy = rng.choice(["replace", "append"]) if replaces else "append"
        database.load(Attempt(minute, key, lines, etag=str(minute), policy=policy))
        keys.append(key)
        found += run(database)
    assert sum("of new loads" in one for one in found) > 20
    assert sum("all compared" in one for one in found) > 5

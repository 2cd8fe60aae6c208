"""The marts of questions and pages follow their events, as a full build would."""

import random
from uuid import UUID

from tests.helpers import learning_oracle
from tests.helpers.mart_rows import differences
from tests.helpers.mart_server import MartServer

MARTS = ("int_learner_parts", "int_learner_pages")
PART_KEY = ("section_id", "course_id", "learner_id", "activity_id", "part_id")
PAGE_KEY = ("section_id", "course_id", "learner_id", "page_id")


def random_attempts(rng: random.Random, count: int) -> list[dict]:
    """Rows for the tables of attempts and views: few learners and pages, so that they repeat."""
    return [
        {
            "event_id": str(UUID(int=rng.getrandbits(128))),
            "timestamp": f"2025-10-06 09:{rng.randint(0, 9):02}:00.000",
            "verb": "completed",
            "learner_id": f"learner-{rng.randint(1, 3)}",
            "section_id": rng.randint(1, 2),
            "course_id": rng.choice(["", "course"]),
            "page_id": rng.choice([None, 7]),
            "page_attempt_number": rng.choice([None, 1, 2]),
            "activity_id": rng.choice([None, 3]),
            "activity_attempt_number": rng.choice([None, 1, 2]),
            "activity_attempt_guid": rng.choice([None, "a", "b"]),
            "part_id": rng.choice([None, "p"]),
            "part_attempt_number": rng.choice([None, 1, 2]),
            "score": rng.choice([None, 0, 1]),
            "out_of": rng.choice([None, 0, 1]),
            "scaled_score": rng.choice([None, 0.5]),
            "success": rng.choice([None, True, False]),
            "completion": rng.choice([None, True, False]),
            "hints_requested": rng.choice([None, 0, 2]),
            "response": rng.choice([None, "", "4", "5"]),
        }
        for _ in range(count)
    ]


def wrong_rows(server: MartServer) -> list[tuple]:
    """Where rows of the marts are not what the walks say."""
    found = {
        family: [row for row in server.query(f"select * from xapi.{family}_events")]
        for family in ("part_attempt", "page_viewed", "page_attempt")
    }
    parts = learning_oracle.learner_parts(found["part_attempt"])
    pages = learning_oracle.learner_pages(found["page_viewed"], found["page_attempt"])
    return [
        *differences(parts, server.query("select * from xapi.fct_learner_parts"), PART_KEY),
        *differences(pages, server.query("select * from xapi.fct_learner_pages"), PAGE_KEY),
    ]


def test_the_marts_follow_new_changed_and_withdrawn_events(mart_server):
    rng = random.Random(1)
    tables = ("part_attempt_events", "page_viewed_events", "page_attempt_events")
    for _ in range(2):
        for table in tables:
            described = mart_server.query(f"describe table xapi.{table}")
            known = {column["name"] for column in described}
            rows = [
                {name: value for name, value in row.items() if name in known}
                for row in random_attempts(rng, 60)
            ]
            mart_server.insert(table, rows)
            mart_server.change(f"delete from xapi.{table} where cityHash64(event_id) % 5 = 0")
            changed = [row | {"success": True, "page_id": 8} for row in rows[:5]]
            ids = ", ".join(f"'{row['event_id']}'" for row in changed)
            mart_server.change(f"delete from xapi.{table} where event_id in ({ids})")
            mart_server.insert(table, changed)
        mart_server.record_change(*tables)
        mart_server.dbt("run", "--select", *MARTS)
        assert wrong_rows(mart_server) == []
    # Events move to another learner, and nothing else of their section changes.
    for table in tables:
        mart_server.change(f"create table moved engine = Memory as select * from xapi.{table}")
        mart_server.change(f"truncate table xapi.{table}")
        mart_server.change(
            f"insert into xapi.{table} select * replace ('moved' as learner_id) from moved"
        )
        mart_server.change("drop table moved")
    mart_server.record_change(*tables)
    mart_server.dbt("run", "--select", *MARTS)
    assert wrong_rows(mart_server) == []
    printed = mart_server.dbt("run", "--select", *MARTS)
    assert printed.count("nothing new") == len(MARTS)

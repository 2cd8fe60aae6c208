"""Repeats that look different are one event, and voided events leave, in whichever order they come.

All cases share one database and the same few runs; each has section numbers of its own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.helpers.small_database import TORUS, Attempt, SmallDatabase, statement

RANDOM = "c0ffee00-0000-4000-8000-00000000000{}"
DERIVED = "c0ffee00-0000-5000-8000-00000000000{}"

EVENTS = """
select section_id, statement_id, load_id, toString(timestamp) as moment
from xapi.video_events
where section_id >= 100
order by section_id, timestamp, statement_id
"""
VOIDED_IDS = "select voided_statement_id from xapi.voided_statements order by 1"
BALANCE = "select * from xapi.ops_statement_balance where family = 'all'"
ALL = "select * from xapi.{} order by event_id"


def played(section: int, **changes) -> str:
    """A play in a section."""
    context = {"extensions": {f"{TORUS}section_id": section}}
    return statement(**{"context": context} | changes)


def voids(statement_id: str, **changes) -> str:
    """A statement that voids another one."""
    return statement(
        verb={"id": "http://adlnet.gov/expapi/verbs/voided"},
        object={"objectType": "StatementRef", "id": statement_id},
        **changes,
    )


def rewritten(line: str, **changes) -> str:
    """The statement as a learning record store answers it: members in another order, and more."""
    members = json.loads(line) | {"stored": "2025-10-07T00:00:00Z", "authority": {}} | changes
    return json.dumps(dict(reversed(members.items())), indent=None, separators=(",", ": "))


# 100: a random id. Copies of an LRS name another section, course or millisecond of the hour.
COPIED = played(100, id=RANDOM.format(1), timestamp="2025-10-06T09:30:00.123456Z")
COPIES = [
    rewritten(COPIED, timestamp="2025-10-06T09:30:00.123Z"),
    rewritten(COPIED, timestamp="2025-10-06T09:59:59Z", context={}),
    rewritten(COPIED, id=RANDOM.format(1).upper()),
    played(101, id=RANDOM.format(1), timestamp="2025-10-06T09:00:00Z"),
]
NEXT_HOUR = played(100, id=RANDOM.format(1), timestamp="2025-10-06T10:00:00Z")
# 110: a derived id is shared by statements that differ in verb, learner, object or millisecond.
SHARED = played(110, id=DERIVED.format(2))
OTHERS = [
    played(110, id=DERIVED.format(2), timestamp="2025-10-06T09:00:00.001Z"),
    played(110, id=DERIVED.format(2), actor={"mbox": "mailto:a@example.org"}),
    played(110, id=DERIVED.format(2), object={"id": "another"}),
    played(110, id=DERIVED.format(2), verb={"id": "http://w3id.org/xapi/video/verbs/paused"}),
]
# 120: without an id the bytes count.
BYTES = played(120)
# 130: voided before, after and together with the voiding.
VOIDED = [played(130, id=RANDOM.format(number)) for number in (3, 4, 5)]
KEPT = played(130, id=RANDOM.format(6), timestamp="2025-11-03T08:00:00Z")
VOIDING_ID = RANDOM.format(8)

STEPS = [
    [
        Attempt(20, "a", [COPIED, SHARED, BYTES]),
        Attempt(21, "b", [VOIDED[0], KEPT, voids(RANDOM.format(5).upper())]),
        Attempt(22, "c", [VOIDED[1], voids(RANDOM.format(4), id=VOIDING_ID)]),
        Attempt(23, "withdrawn", [voids(RANDOM.format(6))], etag="1"),
    ],
    [
        Attempt(30, "d", [*COPIES, NEXT_HOUR, rewritten(SHARED), *OTHERS]),
        Attempt(31, "e", [BYTES, BYTES.replace('"result"', ' "result"')]),
        Attempt(32, "f", [voids(RANDOM.format(3)), VOIDED[2], voids(VOIDING_ID)]),
    ],
    # The object with the voiding is replaced by one without: what it voided is back.
    [Attempt(40, "withdrawn", ["{}"], etag="2", policy="replace")],
]


@dataclass(frozen=True)
class State:
    """What a run has made."""

    events: list[dict]
    voided: list[str]
    balance: dict

    def of_section(self, section: int) -> list[tuple[str | None, str]]:
        """Statement id and time of a section's events."""
        return [
            (row["statement_id"], row["moment"][11:])
            for row in self.events
            if row["section_id"] == section
        ]


@pytest.fixture(scope="module")
def database(empty_models, tmp_path_factory) -> Iterator[SmallDatabase]:
    """An empty database, which goes through the steps."""
    database = empty_models.copy(tmp_path_factory.mktemp("event_ids") / "copy")
    yield database
    database.close()


@pytest.fixture(scope="module")
def states(database) -> list[State]:
    """What each step has made."""
    found = []
    for attempts in STEPS:
        database.load(*attempts)
        database.dbt("run")
        (balance,) = database.query(BALANCE)
        voided = [row["voided_statement_id"] for row in database.query(VOIDED_IDS)]
        found.append(State(database.query(EVENTS), voided, balance))
    return found


def test_copies_with_a_random_id_are_one_event_of_their_hour(states):
    first = (RANDOM.format(1), "09:30:00.123")
    assert states[0].of_section(100) == [first]
    assert states[1].of_section(100) == [first, (RANDOM.format(1), "10:00:00.000")]
    assert states[1].of_section(101) == []


def test_a_derived_id_is_an_event_for_each_learner_verb_object_and_millisecond(states):
    assert len(states[0].of_section(110)) == 1
    assert len(states[1].of_section(110)) == 1 + len(OTHERS)


def test_without_an_id_the_same_bytes_are_the_same_event(states):
    assert len(states[0].of_section(120)) == 1
    assert len(states[1].of_section(120)) == 2


def test_a_voided_event_leaves_whichever_came_first(states):
    assert states[0].of_section(130) == [(RANDOM.format(3), "09:00:00.000")]
    assert states[1].of_section(130) == []
    assert states[1].voided == sorted([*(RANDOM.format(n) for n in (3, 4, 5, 6)), VOIDING_ID])


def test_a_voiding_that_was_replaced_voids_no_longer(states):
    assert states[2].of_section(130) == [(RANDOM.format(6), "08:00:00.000")]


def test_the_balance_shows_what_was_voided(states):
    for row in (state.balance for state in states):
        parts = ("events", "duplicates", "rejected", "other", "blank", "voided", "waiting")
        assert row["statements"] == sum(row[part] for part in parts)
        assert (row["missing"], row["surplus"], row["doubled"], row["outdated"]) == (0, 0, 0, 0)
    assert states[2].balance["voided"] == 3


def test_rebuilds_and_a_full_refresh_come_to_the_same(states, database):
    before = [database.query(ALL.format(table)) for table in ("video_events", "voided_statements")]
    days = "start_date: 2025-10-01, end_date: 2025-11-30"
    for arguments in (
        ("--select", "video_events", "--vars", f"{{{days}}}"),
        ("--select", "video_events", "--vars", f"{{{days}, section_id: 100}}"),
        ("--select", "video_events", "--vars", f"{{{days}, section_id: 101}}"),
        ("--select", "+video_events", "voided_statements", "--full-refresh"),
    ):
        database.dbt("run", *arguments)
        after = [
            database.query(ALL.format(table)) for table in ("video_events", "voided_statements")
        ]
        assert after == before, arguments

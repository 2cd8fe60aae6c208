"""The oracle itself: what it makes of the shared files."""

import gzip
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.compare import without_voided
from tests.helpers.oracle import Reading, read_line
from tests.helpers.paths import CASES, SHARED

needs_shared_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"no shared data in {SHARED} (set XAPI_SHARED_DATA)"
)


needs_cases = pytest.mark.skipif(
    not CASES.is_dir(), reason=f"no shared cases in {CASES} (set XAPI_SHARED_DATA)"
)


def shared_readings(path: Path) -> list[Reading]:
    """What the statements of a shared file mean."""
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    return [one for line in content.removesuffix(b"\n").split(b"\n") for one in read_line(line)]


def case(name: str) -> list[Reading]:
    """What the statements of a case mean."""
    return shared_readings(CASES / f"{name}.jsonl")


def values(name: str, column: str) -> list[Any]:
    """A column of a case, whose statements are all events."""
    return [reading.columns[column] for reading in case(name)]


def families(name: str) -> list[str]:
    """The families of a case."""
    return [reading.family for reading in case(name)]


def events(name: str) -> int:
    """How many events a case has."""
    readings = case(name)
    assert not [reading for reading in readings if reading.reason]
    return len({reading.identity for reading in readings})


@needs_shared_data
def test_fun_statements_are_all_video_and_all_different() -> None:
    """Statements without a section, with a course and a session."""
    readings = shared_readings(SHARED / "fun_mooc_video.jsonl.gz")
    assert Counter(r.family for r in readings) == {"video": 8758}
    assert len({r.identity for r in readings}) == 8758
    assert Counter(r.columns["verb"] for r in readings) == {
        "paused": 2619,
        "played": 2604,
        "interacted": 1378,
        "seeked": 1225,
        "initialized": 523,
        "completed": 241,
        "terminated": 141,
        "downloaded": 27,
    }
    first = readings[0].columns
    assert first["timestamp"] == datetime(2021, 11, 29, 12, 37, 59, 839000, UTC)
    assert first["course_id"] == "course-v1:FUN-MOOC+00002+session01"
    assert first["session_id"] == "e20fd42f-5ede-5dff-8f07-0fabb988b4d1"
    assert (first["section_id"], first["page_id"], first["video_time"]) == (0, None, 207.268)
    assert readings[1].columns["video_length"] == 525.0
    filled = Counter(
        name for r in readings for name, value in r.columns.items() if value is not None
    )
    assert filled["video_speed"] == filled["is_captioned"] == filled["is_full_screen"] == 1901
    assert (filled["video_quality"], filled["caption_language"]) == (823, 5)
    assert filled["video_completion_threshold"] == 3524


@needs_shared_data
def test_torus_shapes_show_every_family() -> None:
    """One event is there twice; another text without an id is another event."""
    readings = shared_readings(SHARED / "torus_shapes.jsonl")
    assert Counter(r.family for r in readings) == {
        "video": 14,
        "activity_attempt": 1,
        "page_attempt": 1,
        "part_attempt": 2,
        "page_viewed": 2,
        "other": 1,
    }
    assert readings[0].identity == readings[12].identity != readings[13].identity
    assert len({r.identity for r in readings}) == 20


@needs_shared_data
def test_a_torus_seek_gives_all_video_columns() -> None:
    """The one place where the whole row is written down."""
    seeked = shared_readings(SHARED / "torus_shapes.jsonl")[2]
    assert seeked.columns == {
        "timestamp": datetime(2025, 10, 1, 0, 0, 12, tzinfo=UTC),
        "verb": "seeked",
        "user_id": "15474",
        "home_page": "https://proton.oli.cmu.edu",
        "section_id": 2161,
        "course_id": "",
        "project_id": 1719,
        "publication_id": 8625,
        "page_id": 81181,
        "page_attempt_guid": "48e1e3b4-7d3b-435d-92b4-ec10002a507b",
        "page_attempt_number": 1,
        "enrollment_id": 9001,
        "duration_seconds": None,
        "content_element_id": "2876543210",
        "video_url": "https://cdn.example.org/media/intro.mp4",
        "video_title": "https://cdn.example.org/media/intro.mp4",
        "video_time": None,
        "video_length": None,
        "video_progress": None,
        "video_played_segments": None,
        "video_seek_from": 12.5,
        "video_seek_to": 30.0,
        "video_completion_threshold": None,
        "video_speed": None,
        "video_quality": None,
        "video_volume": None,
        "is_full_screen": None,
        "is_captioned": None,
        "caption_language": None,
        "session_id": None,
        "registration": "2161-81181-2876543210",
        "statement_id": None,
    }


@needs_shared_data
def test_torus_part_attempts_carry_json_and_plain_text() -> None:
    """Hints come as a list or a number, answers as an object or a string."""
    rich, plain = (
        r.columns
        for r in shared_readings(SHARED / "torus_shapes.jsonl")
        if r.family == "part_attempt"
    )
    assert rich["response"] == '{"input":"mitochondria \u2192 \\"power house\\"","files":[]}'
    assert (rich["hints_requested"], rich["attached_objectives"]) == (2, "[11,12]")
    assert (rich["score"], rich["scaled_score"], rich["success"]) == (1.0, 0.5, True)
    assert (plain["response"], plain["feedback"]) == ("plain text answer", None)
    assert (plain["hints_requested"], plain["attached_objectives"]) == (0, "[]")
    assert plain["timestamp"] == datetime(2025, 9, 30, 22, 3, 30, tzinfo=UTC)


# Inputs that went wrong once ----------------------------------------------------------------


@needs_cases
@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("torus_https_extensions", "section_id", [111] * 3),
        ("torus_https_extensions", "project_id", [222] * 3),
        ("torus_https_extensions", "publication_id", [333] * 3),
        ("torus_https_extensions", "page_attempt_guid", ["pg-1"] * 3),
        ("torus_https_extensions", "page_attempt_number", [3] * 3),
        ("session_id_openedx", "session_id", ["session-9"]),
        ("course_is_not_the_first_parent", "course_id", ["https://lms.example.org/course/2"]),
        ("lone_surrogate", "video_title", ["Cells \ufffd"]),
        ("length_zero_or_duration", "video_length", [None, 55.0, 195.0]),
        ("empty_title", "video_title", ["Cells", None, "Cells"]),
        ("torus_answered_without_type", "activity_attempt_guid", ["ag-1"] * 2),
        ("other_video_recipes", "video_time", [10.5, 10.5, 10.5, None, 12.34, None]),
        ("other_video_recipes", "video_length", [100.0, 100.0, 100.0, None, 100.0, 100.0]),
        ("other_video_recipes", "duration_seconds", [None, None, None, 34.5, None, 99.5]),
        (
            "other_video_recipes",
            "verb",
            ["played", "paused", "watched", "completed", "played", "completed"],
        ),
    ],
)
def test_a_case_has_the_right_values(name: str, column: str, expected: list) -> None:
    """As the cases' own page says."""
    assert values(name, column) == expected


@needs_cases
def test_the_cases_are_of_the_right_families() -> None:
    """A slide is no video, an attempt without a type is one all the same."""
    attempts = ["activity_attempt"] * 2
    assert families("torus_https_extensions") == ["video", "activity_attempt", "page_viewed"]
    assert families("experienced_not_a_video") == ["other"] * 5
    assert families("other_video_recipes") == ["video"] * 6
    assert families("anonymous_group") == ["other"]
    assert families("torus_answered_without_type") == attempts
    assert families("voiding") == ["video", "voiding", "video"]


@needs_cases
def test_the_cases_have_the_right_number_of_events() -> None:
    """Members in another order under one id are one event, other answers are others."""
    assert events("title_language_order") == 1
    assert values("title_language_order", "video_title") == ["Zellen"] * 2
    assert events("unread_members_three_events") == 3
    assert events("response_order") == 4


@needs_cases
def test_the_case_of_voiding_leaves_one_event() -> None:
    """The voided play is in no table."""
    readings = case("voiding")
    shown = without_voided(dict(enumerate(readings)))
    assert list(shown) == [1, 2]
    voided = readings[0].columns["statement_id"]
    assert readings[1].columns["voided_statement_id"] == voided


@needs_cases
def test_the_case_of_envelopes_gives_each_statement_its_item() -> None:
    """Seven lines, of which two are blank."""
    readings = case("envelopes")
    assert [one.item for one in readings] == [1, 2, 1, 2, 1, 2, 1, 1]
    assert {one.family for one in readings} == {"video"}
    assert len({one.identity for one in readings}) == 8


@needs_cases
def test_the_cases_of_times_are_events_where_they_can_be() -> None:
    """`stored` stands in for a timestamp, and a leap second ends its minute."""
    moment = datetime(2025, 10, 1, 10, tzinfo=UTC)
    stored = case("stored_without_timestamp")
    assert [one.columns["timestamp"].second for one in stored[:2]] == [1, 2]
    forms = case("iso8601_timestamps")
    assert [one.columns["timestamp"] for one in forms[:5]] == [
        *(moment.replace(microsecond=500_000), moment, moment, moment),
        datetime(2016, 12, 31, 23, 59, 59, 999_000, UTC),
    ]
    for rejected in (stored[2], forms[5]):
        assert rejected.reason == "no usable timestamp"

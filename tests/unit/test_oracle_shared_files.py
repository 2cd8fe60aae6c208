"""The oracle itself: what it makes of the shared files."""

import gzip
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.helpers.oracle import read_lines
from tests.helpers.paths import SHARED

needs_shared_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"no shared data in {SHARED} (set XAPI_SHARED_DATA)"
)


def shared_lines(name: str) -> list[bytes]:
    """The lines of a shared file, each without its line feed."""
    content = (SHARED / name).read_bytes()
    content = gzip.decompress(content) if name.endswith(".gz") else content
    return content.removesuffix(b"\n").split(b"\n")


@needs_shared_data
def test_fun_statements_are_all_video_and_all_different() -> None:
    """Statements without a section, with a course and a session."""
    readings = read_lines(shared_lines("fun_mooc_video.jsonl.gz"))
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


@needs_shared_data
def test_torus_shapes_show_every_family() -> None:
    """One event is there three times, the third time in another key order."""
    readings = read_lines(shared_lines("torus_shapes.jsonl"))
    assert Counter(r.family for r in readings) == {
        "video": 14,
        "activity_attempt": 1,
        "page_attempt": 1,
        "part_attempt": 2,
        "page_viewed": 2,
        "other": 1,
    }
    assert readings[0].identity == readings[12].identity == readings[13].identity
    assert len({r.identity for r in readings}) == 19


@needs_shared_data
def test_a_torus_seek_gives_all_video_columns() -> None:
    """The one place where the whole row is written down."""
    seeked = read_lines(shared_lines("torus_shapes.jsonl"))[2]
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
        "content_element_id": "2876543210",
        "video_url": "https://cdn.example.org/media/intro.mp4",
        "video_title": "https://cdn.example.org/media/intro.mp4",
        "video_time": None,
        "video_length": None,
        "video_progress": None,
        "video_played_segments": None,
        "video_seek_from": 12.5,
        "video_seek_to": 30.0,
        "session_id": None,
        "registration": "2161-81181-2876543210",
        "statement_id": None,
    }


@needs_shared_data
def test_torus_part_attempts_carry_json_and_plain_text() -> None:
    """Hints come as a list or a number, answers as an object or a string."""
    rich, plain = (
        r.columns
        for r in read_lines(shared_lines("torus_shapes.jsonl"))
        if r.family == "part_attempt"
    )
    assert rich["response"] == '{"input":"mitochondria \u2192 \\"power house\\"","files":[]}'
    assert (rich["hints_requested"], rich["attached_objectives"]) == (2, "[11,12]")
    assert (rich["score"], rich["scaled_score"], rich["success"]) == (1.0, 0.5, True)
    assert (plain["response"], plain["feedback"]) == ("plain text answer", None)
    assert (plain["hints_requested"], plain["attached_objectives"]) == (0, "[]")
    assert plain["timestamp"] == datetime(2025, 9, 30, 22, 3, 30, tzinfo=UTC)

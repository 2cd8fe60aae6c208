"""The walk over a player's events gives the pieces that the definition's examples give."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.helpers.video_oracle import Event, segments, video_key, watched

NOON = datetime(2025, 10, 6, 12, tzinfo=UTC)
NO_PLACE = None


def events(*rows: tuple) -> list[Event]:
    """Events of one learner and video: seconds after noon, verb, place (of a jump: two), others."""
    made = []
    for number, (seconds, verb, at, *others) in enumerate(rows):
        places = {"video_time": at}
        if verb == "seeked":
            places = dict(zip(("video_seek_from", "video_seek_to"), at, strict=True))
        made.append(
            Event(
                event_id=UUID(int=number),
                timestamp=NOON + timedelta(seconds=seconds),
                verb=verb,
                **places,
                **(others[0] if others else {}),
            )
        )
    return made


def tab(name: str, **more) -> dict:
    return {"session_id": name} | more


DAY = 86400
CASES = {
    "seek while playing, no play after it": (
        [(0, "played", 0), (45, "seeked", (45, 200)), (105, "paused", 260)],
        [(0, 45, 1), (200, 260, 1)],
        0,
    ),
    "pause, seek, play": (
        [
            (0, "played", 0),
            (45, "paused", 45),
            (46, "seeked", (45, 200)),
            (47, "played", 200),
            (107, "paused", 260),
        ],
        [(0, 45, 1), (200, 260, 1)],
        0,
    ),
    "completed before the end, then paused": (
        [(0, "played", 0), (190, "completed", 190), (200, "paused", 200)],
        [(0, 200, 1)],
        0,
    ),
    "tab closed after completed": (
        [(0, "played", 0), (190, "completed", 190)],
        [(0, 190, 1)],
        0,
    ),
    "pause lost, the next play says how far it went": (
        [(0, "played", 0), (60, "played", 61), (89, "paused", 90)],
        [(0, 90, 1)],
        0,
    ),
    "pause lost, next play on the next day": (
        [(0, "played", 0), (DAY, "played", 300), (DAY + 30, "paused", 330)],
        [(300, 330, 1)],
        1,
    ),
    "pause lost, next day, and the player reports": (
        [
            (0, "played", 0),
            (DAY, "played", 300),
            (DAY + 30, "paused", 330, {"video_played_segments": "0[.]40"}),
        ],
        [(0, 40, 1), (300, 330, 1)],
        1,
    ),
    "jump that no seek tells": (
        [(0, "played", 0), (45, "paused", 400)],
        [],
        1,
    ),
    "double speed": (
        [(0, "played", 0), (60, "paused", 118)],
        [(0, 118, 1)],
        0,
    ),
    "rewatch": (
        [(0, "played", 0), (60, "paused", 60), (70, "played", 30), (100, "paused", 60)],
        [(0, 30, 1), (30, 60, 2)],
        0,
    ),
    "completed without a place after the pause": (
        [(0, "played", 0), (195, "paused", 195), (195, "completed", NO_PLACE)],
        [(0, 195, 1)],
        0,
    ),
    "two tabs with sessions": (
        [
            (0, "played", 0, tab("a")),
            (5, "played", 100, tab("b")),
            (60, "paused", 60, tab("a")),
            (65, "paused", 160, tab("b")),
        ],
        [(0, 60, 1), (100, 160, 1)],
        0,
    ),
    "two tabs without sessions": (
        [(0, "played", 0), (5, "played", 100), (60, "paused", 60), (65, "paused", 160)],
        [],
        2,
    ),
    "two tabs without sessions, and the players report": (
        [
            (0, "played", 0),
            (5, "played", 100),
            (60, "paused", 60, {"video_played_segments": "0[.]60"}),
            (65, "paused", 160, {"video_played_segments": "100[.]160"}),
        ],
        [(0, 60, 1), (100, 160, 1)],
        2,
    ),
    "a report longer than the player was there": (
        [(0, "played", 0), (45, "paused", 400, {"video_played_segments": "0[.]400"})],
        [],
        1,
    ),
    "a play without a place ends what was open": (
        [(0, "played", 0), (10, "played", NO_PLACE), (20, "paused", 20)],
        [],
        1,
    ),
    "a jump to no place": (
        [(0, "played", 0), (10, "seeked", (10, None)), (20, "paused", 20)],
        [(0, 10, 1)],
        0,
    ),
    "a play sent twice": (
        [(0, "played", 0), (0, "played", 0), (10, "paused", 10)],
        [(0, 10, 1)],
        1,
    ),
    "initialized ends what was open": (
        [(0, "played", 0), (10, "initialized", 5), (20, "paused", 20)],
        [],
        1,
    ),
    "a report without plays": (
        [(0, "completed", NO_PLACE, {"video_played_segments": "0[.]400"})],
        [(0, 400, 1)],
        0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_pieces_are_those_of_the_definition(case):
    rows, expected, lost = CASES[case]
    (found,) = watched(events(*rows)).values()
    assert (found.pieces, found.plays_without_end) == (expected, lost)


def test_seconds_count_rewatching_once_or_as_often_as_it_happened():
    (found,) = watched(events(*CASES["rewatch"][0])).values()
    assert (found.seconds_seen, found.seconds_played, found.seconds_rewatched) == (60, 90, 30)
    assert (found.sessions, found.plays, found.starts, found.last_place) == (1, 2, 2, 60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0[.]45[,]60[.]70.5", {(0, 45), (60, 70.5)}),
        ("0[.]45[,]0[.]45", {(0, 45)}),
        ("0[.]", set()),
        ("45[.]0[,]x[.]1[,]1[.]2[.]3[,]-1[.]5[,]5", set()),
        ("5[.]86401[,]1e1[.] 2e1 ", {(10, 20)}),
        (None, set()),
    ],
)
def test_reported_segments_are_pairs_of_places(text, expected):
    assert segments(text) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://v.org/a.mp4#t=10", "https://v.org/a.mp4"),
        ("https://youtu.be/x?t=42", "https://youtu.be/x"),
        ("https://y.org/w?v=x&t=42s&list=l", "https://y.org/w?v=x&list=l"),
        ("https://y.org/w?start=1&v=x&time=2", "https://y.org/w?v=x&time=2"),
        ("https://s3/a.mp4?X-Amz-Date=1&X-Amz-Signature=2", "https://s3/a.mp4"),
        ("https://cdn/a?", "https://cdn/a"),
        ("https://cdn/a?&b?=1&&c", "https://cdn/a?b?=1&c"),
        ("https://cdn/a?Expires=1&Signature=s&Key-Pair-Id=k&v=1", "https://cdn/a?v=1"),
    ],
)
def test_the_key_of_a_video_leaves_out_what_differs_between_views(url, expected):
    assert video_key(url) == expected

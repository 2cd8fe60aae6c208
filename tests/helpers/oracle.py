"""A second reading of xAPI lines, in plain Python, for tests to compare the tables with.

It is written from the rules and shares nothing with the SQL: where the two differ, one is wrong.
"""

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.helpers.oracle_json import parse, room_to_recurse, same_json, write
from tests.helpers.oracle_values import (
    EPOCH,
    JsonText,
    at,
    boolean,
    count,
    first,
    instant,
    integer,
    number,
    text,
)

ADL = "http://adlnet.gov/expapi/"
TORUS = "http://oli.cmu.edu/extensions/"
VIDEO = "https://w3id.org/xapi/video/"
COMPLETED = f"{ADL}verbs/completed"
EXPERIENCED = f"{ADL}verbs/experienced"
VIEWED = "http://id.tincanapi.com/verb/viewed"
VIDEO_TYPE = f"{VIDEO}activity-type/video"
PAGE_TYPE = f"{TORUS}types/page"
ATTEMPT_TYPES = {
    f"{TORUS}activity_attempt": "activity_attempt",
    f"{TORUS}page_attempt": "page_attempt",
    f"{ADL}activities/question": "part_attempt",
}


@dataclass(frozen=True)
class Reading:
    """What one line means: its family, its columns, and what makes it the same event again."""

    family: str
    reason: str | None
    columns: dict[str, Any]
    identity: Hashable


def read_lines(lines: Iterable[bytes]) -> list[Reading]:
    """Read each line; none may carry its line feed."""
    return [read_line(line) for line in lines]


def read_line(line: bytes) -> Reading:
    """Read one line without its line feed; the first reason to reject it wins."""
    with room_to_recurse():
        try:
            statement = parse(line)
        except ValueError:
            return _unread(line, "not JSON")
        return _read_value(line, statement)


def same_value(column: str, expected: Any, actual: Any) -> bool:
    """Whether the database's `actual` is the `expected` of a reading."""
    if expected is None or actual is None:
        return expected is actual
    if isinstance(expected, datetime):
        return isinstance(actual, datetime) and _utc(expected) == _utc(actual)
    if isinstance(expected, JsonText) and expected[:1] in ("[", "{"):
        return isinstance(actual, str) and same_json(expected, actual)
    return expected == actual


def _utc(moment: datetime) -> datetime:
    """Database clients return UTC without saying so."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Statements ---------------------------------------------------------------------------------


def _unread(line: bytes, reason: str | None = None) -> Reading:
    """A line that no event table holds: rejected for a reason, or of some other family."""
    return Reading("rejected" if reason else "other", reason, {}, ("line", line))


def _read_value(line: bytes, statement: Any) -> Reading:
    if not isinstance(statement, dict):
        return _unread(line, "not an object")
    moment = instant(statement.get("timestamp"))
    if moment is None:
        return _unread(line, "no usable timestamp")
    if not text(at(statement, "verb", "id")):
        return _unread(line, "no verb")
    if not _user_id(statement):
        return _unread(line, "no actor")
    family = _family(statement)
    if family == "other":
        return _unread(line)
    timestamp = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    columns = {"timestamp": timestamp, **_common(statement), **FAMILY_COLUMNS[family](statement)}
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    identity = ("event", write({**statement, "timestamp": micros}, canonical=True))
    return Reading(family, None, columns, identity)


def _family(statement: dict[str, Any]) -> str:
    verb = text(at(statement, "verb", "id")) or ""
    kind = text(at(statement, "object", "definition", "type"))
    if kind == VIDEO_TYPE:
        return "video"
    if verb == COMPLETED and kind in ATTEMPT_TYPES:
        return ATTEMPT_TYPES[kind]
    if kind == PAGE_TYPE and verb in (VIEWED, EXPERIENCED):
        return "page_viewed"
    if verb == EXPERIENCED or verb.startswith(f"{VIDEO}verbs/"):
        return "video"
    return "other"


def _user_id(statement: dict[str, Any]) -> str | None:
    actor = statement.get("actor")
    paths = (("account", "name"), ("mbox",), ("mbox_sha1sum",), ("openid",))
    return first(*[text(at(actor, *path)) or None for path in paths])


def _short_verb(iri: str) -> str:
    # Of an object in place of an IRI the spelling is free.
    return type(iri)(re.split("[/#]", iri.rstrip("/"))[-1] or iri)


def _course_id(statement: dict[str, Any]) -> str:
    for relation in ("parent", "grouping"):
        related = at(statement, "context", "contextActivities", relation)
        if isinstance(related, list):
            related = related[0] if related else None
        if course := text(at(related, "id")):
            # Activities are read from text that was read before, where -0.0 has become -0.
            return "0" if course == "-0" and isinstance(course, JsonText) else course
    return ""


def _title(statement: dict[str, Any]) -> str | None:
    names = at(statement, "object", "definition", "name")
    if not isinstance(names, dict):
        return None
    return text(first(names.get("en-US"), *names.values()))


def _torus(statement: dict[str, Any], name: str) -> Any:
    return at(statement, "context", "extensions", TORUS + name)


def _of_video(statement: dict[str, Any], name: str, *place: str) -> Any:
    return at(statement, *(place or ("result",)), "extensions", f"{VIDEO}extensions/{name}")


def _common(s: dict[str, Any]) -> dict[str, Any]:
    registrations = (s.get("registration"), at(s, "context", "registration"))
    sessions = (_of_video(s, "session-id", "context"), _torus(s, "session_id"))
    return {
        "verb": _short_verb(text(at(s, "verb", "id")) or ""),
        "user_id": _user_id(s),
        "home_page": text(at(s, "actor", "account", "homePage")),
        "section_id": integer(_torus(s, "section_id")) or 0,
        "course_id": _course_id(s),
        "project_id": integer(_torus(s, "project_id")),
        "publication_id": integer(_torus(s, "publication_id")),
        "page_id": first(integer(_torus(s, "resource_id")), integer(_torus(s, "page_id"))),
        "page_attempt_guid": text(_torus(s, "page_attempt_guid")),
        "page_attempt_number": integer(_torus(s, "page_attempt_number")),
        "session_id": text(first(*sessions)),
        "registration": text(first(*registrations)),
        "statement_id": text(s.get("id")),
    }


def _video(s: dict[str, Any]) -> dict[str, Any]:
    places = (("context",), ("result",), ("object", "definition"))
    return {
        "content_element_id": text(_torus(s, "content_element_id")),
        "video_url": text(at(s, "object", "id")),
        "video_title": _title(s),
        "video_time": number(_of_video(s, "time")),
        "video_length": first(*[number(_of_video(s, "length", *place)) for place in places]),
        "video_progress": number(_of_video(s, "progress")),
        "video_played_segments": text(_of_video(s, "played-segments")),
        "video_seek_from": number(_of_video(s, "time-from")),
        "video_seek_to": number(_of_video(s, "time-to")),
    }


def _outcome(s: dict[str, Any]) -> dict[str, Any]:
    names = ("success", "completion")
    return {name: boolean(at(s, "result", name)) for name in names}


def _page_attempt(s: dict[str, Any]) -> dict[str, Any]:
    return {
        "score": number(at(s, "result", "score", "raw")),
        "out_of": number(at(s, "result", "score", "max")),
        "scaled_score": number(at(s, "result", "score", "scaled")),
        **_outcome(s),
    }


def _activity_attempt(s: dict[str, Any]) -> dict[str, Any]:
    numbers = ("activity_attempt_number", "activity_id", "activity_revision_id")
    return {
        **_page_attempt(s),
        "activity_attempt_guid": text(_torus(s, "activity_attempt_guid")),
        **{name: integer(_torus(s, name)) for name in numbers},
    }


def _part_attempt(s: dict[str, Any]) -> dict[str, Any]:
    return {
        **_activity_attempt(s),
        "part_attempt_guid": text(_torus(s, "part_attempt_guid")),
        "part_attempt_number": integer(_torus(s, "part_attempt_number")),
        "part_id": text(_torus(s, "part_id")),
        "response": text(at(s, "result", "response")),
        "feedback": text(at(s, "result", "extensions", f"{TORUS}feedback")),
        "hints_requested": count(_torus(s, "hints_requested")),
        "attached_objectives": text(_torus(s, "attached_objectives")),
    }


def _page_viewed(s: dict[str, Any]) -> dict[str, Any]:
    return {"page_sub_type": text(at(s, "object", "definition", "subType")), **_outcome(s)}


FAMILY_COLUMNS = {
    "video": _video,
    "activity_attempt": _activity_attempt,
    "page_attempt": _page_attempt,
    "part_attempt": _part_attempt,
    "page_viewed": _page_viewed,
}

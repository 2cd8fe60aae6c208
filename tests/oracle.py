"""A second reading of xAPI lines, in plain Python, for tests to compare the tables with.

It is written from the rules and shares nothing with the SQL: where the two differ, one is wrong.
"""

import json
import re
import sys
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from math import isfinite
from typing import Any

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

DEEPEST = 1024
# Python reads no more than 4,300 digits otherwise.
sys.set_int_max_str_digits(0)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime(2200, 1, 1, tzinfo=UTC)

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]|[^\s\[\]{},:"]+')
ESCAPE = re.compile(
    r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<lone>\\u[dD][89a-fA-F]..)|\\.", re.DOTALL
)
INTEGER = re.compile(r"\+?0*([0-9]+)")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
TIMESTAMP = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]+))?)?"
    r"(Z|(?P<sign>[+-])(?P<off_hour>[0-9]{2})(:?(?P<off_minute>[0-9]{2}))?)?"
)


@dataclass(frozen=True)
class Reading:
    """What one line means: its family, its columns, and what makes it the same event again."""

    family: str
    reason: str | None
    columns: dict[str, Any]
    identity: Hashable


class JsonText(str):
    """Text that was not a string in the statement, so its spelling is free."""


def read_lines(lines: Iterable[bytes]) -> list[Reading]:
    """Read each line; none may carry its line feed."""
    return [read_line(line) for line in lines]


def read_line(line: bytes) -> Reading:
    """Read one line without its line feed; the first reason to reject it wins."""
    with _room_to_recurse():
        try:
            statement = _parse(line)
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
        return isinstance(actual, str) and _same_json(expected, actual)
    return expected == actual


# JSON ---------------------------------------------------------------------------------------


def _parse(line: bytes) -> Any:
    """Parse as RFC 8259 has it, where Python's own reader is more generous."""
    source = line.decode("utf-8-sig")
    if _depth(source) > DEEPEST:
        raise ValueError("nested too deeply")
    if any(escape["lone"] for escape in ESCAPE.finditer(source)):
        raise ValueError("half of a surrogate pair")
    return json.loads(
        source,
        object_pairs_hook=_first_of_each_key,
        parse_int=_whole,
        parse_float=_finite,
        parse_constant=_finite,
    )


def _depth(source: str) -> int:
    """The depth of the deepest value; the outermost value has depth 1."""
    if source.count("[") + source.count("{") < DEEPEST:
        return 0
    deepest = opened = 0
    for token in TOKEN.findall(source):
        if token in "]}":
            opened -= 1
            continue
        deepest = max(deepest, opened + 1)
        if token in "[{":
            opened += 1
    return deepest


def _finite(digits: str) -> float:
    """The float64 of a JSON number, or an error where there is none."""
    if not isfinite(float(digits)):
        raise ValueError(f"{digits} is outside float64")
    return float(digits)


def _whole(digits: str) -> int:
    """All digits of a JSON integer, however many."""
    return int(digits)


def _first_of_each_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    first: dict[str, Any] = {}
    for key, value in pairs:
        first.setdefault(key, value)
    return first


def _write(value: Any, canonical: bool = False) -> str:
    """Compact JSON text; the canonical one is equal for equal values (sorted keys, one zero)."""
    if isinstance(value, dict):
        keys = sorted(value) if canonical else list(value)
        return "{" + ",".join([f"{_quote(k)}:{_write(value[k], canonical)}" for k in keys]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_write(item, canonical) for item in value]) + "]"
    if isinstance(value, float) and not (canonical and value.is_integer()):
        return _write_float(value)
    if isinstance(value, float | int) and not isinstance(value, bool):
        # ClickHouse quotes what 64 bits do not hold when it writes an object out again.
        beyond = canonical and not -(2**63) <= value < 2**64
        return f'"{int(value)}"' if beyond else str(int(value))
    return _quote(value)


def _quote(scalar: str | bool | None) -> str:
    return json.dumps(scalar, ensure_ascii=False)


def _write_float(value: float) -> str:
    """The shortest digits that read back equal, with an exponent from 1e21 and below 1e-6."""
    shortest = Decimal(repr(value)).normalize()
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return f"{shortest:f}"
    return re.sub(r"e([-+])0*", lambda sign: f"e{sign[1].strip('+')}", repr(value))


def _same_json(one: str, other: str) -> bool:
    with _room_to_recurse():
        try:
            return _write(_parse(one.encode()), True) == _write(_parse(other.encode()), True)
        except ValueError:
            return False


@contextmanager
def _room_to_recurse() -> Iterator[None]:
    """Python stops at 1,000 calls, the rules at 1,024 levels."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 20 * DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


# Values -------------------------------------------------------------------------------------


def _at(value: Any, *path: str) -> Any:
    """The value at the end of the path; None where something on the way is no object."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else JsonText(_write(value))


def _integer(value: Any) -> int | None:
    match = INTEGER.fullmatch(_text(value) or "")
    # 2**64 has 20 digits, and Python refuses to read thousands of them.
    if not match or len(match[1]) > 20:
        return None
    return int(match[1]) if int(match[1]) < 2**64 else None


def _number(value: Any) -> float | None:
    text = _text(value) or ""
    return float(text) if NUMBER.fullmatch(text) and isfinite(float(text)) else None


def _boolean(value: Any) -> bool | None:
    return {"true": True, "false": False}.get(_text(value) or "")


def _count(value: Any) -> int | None:
    return len(value) if isinstance(value, list) else _integer(value)


def _instant(value: Any) -> datetime | None:
    """The moment in UTC to the microsecond, if it is one that the tables can hold."""
    match = TIMESTAMP.fullmatch(_text(value) or "")
    if not match:
        return None
    part = {name: int(match[name] or 0) for name in ("hour", "minute", "second")}
    micros = int((match["fraction"] or "")[:6].ljust(6, "0"))
    off_hour, off_minute = int(match["off_hour"] or 0), int(match["off_minute"] or 0)
    if off_hour > 23 or off_minute > 59:
        return None
    offset = timedelta(hours=off_hour, minutes=off_minute) * (-1 if match["sign"] == "-" else 1)
    try:
        day = datetime.fromisoformat(match["date"])
        moment = day.replace(**part, microsecond=micros, tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if EPOCH <= moment < END_OF_TIME else None


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
    moment = _instant(statement.get("timestamp"))
    if moment is None:
        return _unread(line, "no usable timestamp")
    if not _text(_at(statement, "verb", "id")):
        return _unread(line, "no verb")
    if not _user_id(statement):
        return _unread(line, "no actor")
    family = _family(statement)
    if family == "other":
        return _unread(line)
    timestamp = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    columns = {"timestamp": timestamp, **_common(statement), **FAMILY_COLUMNS[family](statement)}
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    identity = ("event", _write({**statement, "timestamp": micros}, canonical=True))
    return Reading(family, None, columns, identity)


def _family(statement: dict[str, Any]) -> str:
    verb = _text(_at(statement, "verb", "id")) or ""
    kind = _text(_at(statement, "object", "definition", "type"))
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
    return _first(*[_text(_at(actor, *path)) or None for path in paths])


def _short_verb(iri: str) -> str:
    # Of an object in place of an IRI the spelling is free.
    return type(iri)(re.split("[/#]", iri.rstrip("/"))[-1] or iri)


def _course_id(statement: dict[str, Any]) -> str:
    for relation in ("parent", "grouping"):
        related = _at(statement, "context", "contextActivities", relation)
        if isinstance(related, list):
            related = related[0] if related else None
        if course := _text(_at(related, "id")):
            # Activities are read from text that was read before, where -0.0 has become -0.
            return "0" if course == "-0" and isinstance(course, JsonText) else course
    return ""


def _title(statement: dict[str, Any]) -> str | None:
    names = _at(statement, "object", "definition", "name")
    if not isinstance(names, dict):
        return None
    return _text(_first(names.get("en-US"), *names.values()))


def _torus(statement: dict[str, Any], name: str) -> Any:
    return _at(statement, "context", "extensions", TORUS + name)


def _of_video(statement: dict[str, Any], name: str, *place: str) -> Any:
    return _at(statement, *(place or ("result",)), "extensions", f"{VIDEO}extensions/{name}")


def _common(s: dict[str, Any]) -> dict[str, Any]:
    registrations = (s.get("registration"), _at(s, "context", "registration"))
    sessions = (_of_video(s, "session-id", "context"), _torus(s, "session_id"))
    return {
        "verb": _short_verb(_text(_at(s, "verb", "id")) or ""),
        "user_id": _user_id(s),
        "home_page": _text(_at(s, "actor", "account", "homePage")),
        "section_id": _integer(_torus(s, "section_id")) or 0,
        "course_id": _course_id(s),
        "project_id": _integer(_torus(s, "project_id")),
        "publication_id": _integer(_torus(s, "publication_id")),
        "page_id": _first(_integer(_torus(s, "resource_id")), _integer(_torus(s, "page_id"))),
        "page_attempt_guid": _text(_torus(s, "page_attempt_guid")),
        "page_attempt_number": _integer(_torus(s, "page_attempt_number")),
        "session_id": _text(_first(*sessions)),
        "registration": _text(_first(*registrations)),
        "statement_id": _text(s.get("id")),
    }


def _video(s: dict[str, Any]) -> dict[str, Any]:
    places = (("context",), ("result",), ("object", "definition"))
    return {
        "content_element_id": _text(_torus(s, "content_element_id")),
        "video_url": _text(_at(s, "object", "id")),
        "video_title": _title(s),
        "video_time": _number(_of_video(s, "time")),
        "video_length": _first(*[_number(_of_video(s, "length", *place)) for place in places]),
        "video_progress": _number(_of_video(s, "progress")),
        "video_played_segments": _text(_of_video(s, "played-segments")),
        "video_seek_from": _number(_of_video(s, "time-from")),
        "video_seek_to": _number(_of_video(s, "time-to")),
    }


def _outcome(s: dict[str, Any]) -> dict[str, Any]:
    names = ("success", "completion")
    return {name: _boolean(_at(s, "result", name)) for name in names}


def _page_attempt(s: dict[str, Any]) -> dict[str, Any]:
    return {
        "score": _number(_at(s, "result", "score", "raw")),
        "out_of": _number(_at(s, "result", "score", "max")),
        "scaled_score": _number(_at(s, "result", "score", "scaled")),
        **_outcome(s),
    }


def _activity_attempt(s: dict[str, Any]) -> dict[str, Any]:
    numbers = ("activity_attempt_number", "activity_id", "activity_revision_id")
    return {
        **_page_attempt(s),
        "activity_attempt_guid": _text(_torus(s, "activity_attempt_guid")),
        **{name: _integer(_torus(s, name)) for name in numbers},
    }


def _part_attempt(s: dict[str, Any]) -> dict[str, Any]:
    return {
        **_activity_attempt(s),
        "part_attempt_guid": _text(_torus(s, "part_attempt_guid")),
        "part_attempt_number": _integer(_torus(s, "part_attempt_number")),
        "part_id": _text(_torus(s, "part_id")),
        "response": _text(_at(s, "result", "response")),
        "feedback": _text(_at(s, "result", "extensions", f"{TORUS}feedback")),
        "hints_requested": _count(_torus(s, "hints_requested")),
        "attached_objectives": _text(_torus(s, "attached_objectives")),
    }


def _page_viewed(s: dict[str, Any]) -> dict[str, Any]:
    return {"page_sub_type": _text(_at(s, "object", "definition", "subType")), **_outcome(s)}


FAMILY_COLUMNS = {
    "video": _video,
    "activity_attempt": _activity_attempt,
    "page_attempt": _page_attempt,
    "part_attempt": _part_attempt,
    "page_viewed": _page_viewed,
}

"""The columns that the oracle expects of a statement, by family."""

import re
from collections.abc import Callable
from typing import Any

from tests.helpers.oracle_statement import (
    CONTEXT,
    DEFINITION,
    RESULT,
    TINCAN,
    TORUS,
    VIDEO,
    activities,
    extension,
    torus,
    type_iri,
)
from tests.helpers.oracle_values import (
    at,
    boolean,
    count,
    first,
    id_text,
    integer,
    length,
    number,
    seconds,
    speed,
    text,
)

# The older recipe's names of the same verbs.
OLDER_VERBS = {"play": "played", "skipped": "seeked", "watch": "watched"}


def short_verb(iri: str) -> str:
    """The last part of a verb's IRI."""
    # Of an object where an IRI should be the spelling is free.
    short = type(iri)(re.split("[/#]", iri.rstrip("/"))[-1] or iri)
    return OLDER_VERBS.get(short, short)


def _user_id(s: Any) -> str | None:
    actor = at(s, "actor")
    paths = (("account", "name"), ("mbox",), ("mbox_sha1sum",), ("openid",))
    return first(id_text, (at(actor, *path) for path in paths))


def _actor(s: Any) -> dict[str, Any]:
    return {"user_id": _user_id(s), "home_page": id_text(at(s, "actor", "account", "homePage"))}


def _course_id(s: Any) -> str:
    """The first activity that is a course, else the first that does not say what it is."""
    known = [
        (relation, type_iri(activity) or "", course)
        for relation in ("parent", "grouping", "category")
        for activity in activities(s, relation)
        if (course := id_text(activity.get("id"))) and course[0] not in "[{"
    ]
    courses = [course for _, kind, course in known if kind.endswith("course")]
    untyped = [course for relation, kind, course in known if relation != "category" and not kind]
    course = next(iter(courses + untyped), "")
    # Activities are read from text that was read before, where -0.0 has become -0, and -0 is 0.
    return "0" if course == "-0" else course


def _title(s: Any) -> str | None:
    names = at(s, "object", "definition", "name")
    if isinstance(names, str):
        return names or None
    if isinstance(names, int) and not -(2**63) <= names < 2**64:
        return str(names)  # ClickHouse reads what 64 bits do not hold as text
    if not isinstance(names, dict):
        return None

    def rank(code: str) -> tuple[bool, bool, bool, str]:
        return code != "en-US", code != "en", not code.startswith("en-"), code

    return first(id_text, (names[code] for code in sorted(names, key=rank)))


def _session_id(s: Any) -> str | None:
    sessions = (
        *extension(s, f"{VIDEO}extensions/session-id", CONTEXT, RESULT),
        *extension(s, "https://w3id.org/xapi/openedx/extensions/session-id", CONTEXT),
        *extension(s, "https://w3id.org/xapi/cmi5/context/extensions/sessionid", CONTEXT),
        *torus(s, "session_id"),
    )
    return first(id_text, sessions)


def common(s: Any) -> dict[str, Any]:
    """The columns of every event table besides the timestamp."""
    registrations = (at(s, "registration"), at(s, "context", "registration"))
    return {
        "verb": short_verb(text(at(s, "verb", "id")) or ""),
        **_actor(s),
        "section_id": first(integer, torus(s, "section_id")) or 0,
        "course_id": _course_id(s),
        "project_id": first(integer, torus(s, "project_id")),
        "publication_id": first(integer, torus(s, "publication_id")),
        "page_id": first(integer, torus(s, "resource_id", "page_id")),
        "page_attempt_guid": first(id_text, torus(s, "page_attempt_guid")),
        "page_attempt_number": first(integer, torus(s, "page_attempt_number")),
        "enrollment_id": first(integer, torus(s, "enrollment_id")),
        "session_id": _session_id(s),
        "registration": first(id_text, registrations),
        "statement_id": id_text(at(s, "id")),
        "duration_seconds": seconds(at(s, "result", "duration")),
    }


def video(s: Any) -> dict[str, Any]:
    """The columns of `video_events` besides the common ones."""

    def in_result(name: str) -> Any:
        return extension(s, f"{VIDEO}extensions/{name}", RESULT, CONTEXT)

    def in_context(name: str) -> Any:
        return extension(s, f"{VIDEO}extensions/{name}", CONTEXT, RESULT)

    times = (
        *in_result("time"),
        *extension(s, f"{TINCAN}ending-point", CONTEXT, RESULT),
        *extension(s, f"{TINCAN}starting-point", CONTEXT, RESULT),
        *extension(s, "resultExt:resumed", RESULT),
    )
    lengths = (
        *extension(s, f"{VIDEO}extensions/length", CONTEXT, RESULT, DEFINITION),
        *extension(s, f"{TINCAN}duration", DEFINITION, CONTEXT, RESULT),
    )
    captions = (*in_context("cc-enabled"), *in_context("cc-subtitle-enabled"))
    return {
        "content_element_id": first(id_text, torus(s, "content_element_id")),
        "video_url": id_text(at(s, "object", "id")),
        "video_title": _title(s),
        "video_time": first(seconds, times),
        "video_length": first(length, lengths),
        "video_progress": first(number, in_result("progress")),
        "video_played_segments": first(text, in_result("played-segments")),
        "video_seek_from": first(seconds, in_result("time-from")),
        "video_seek_to": first(seconds, in_result("time-to")),
        "video_completion_threshold": first(number, in_context("completion-threshold")),
        "video_speed": first(speed, in_context("speed")),
        "video_quality": first(id_text, in_context("quality")),
        "video_volume": first(number, in_context("volume")),
        "is_full_screen": first(boolean, in_context("full-screen")),
        "is_captioned": first(boolean, captions),
        "caption_language": first(id_text, in_context("cc-subtitle-lang")),
    }


def _outcome(s: Any) -> dict[str, Any]:
    return {name: boolean(at(s, "result", name)) for name in ("success", "completion")}


def page_attempt(s: Any) -> dict[str, Any]:
    """The columns of `page_attempt_events` besides the common ones."""
    return {
        "score": number(at(s, "result", "score", "raw")),
        "out_of": number(at(s, "result", "score", "max")),
        "scaled_score": number(at(s, "result", "score", "scaled")),
        **_outcome(s),
    }


def activity_attempt(s: Any) -> dict[str, Any]:
    """The columns of `activity_attempt_events` besides the common ones."""
    numbers = ("activity_attempt_number", "activity_id", "activity_revision_id")
    return {
        **page_attempt(s),
        "activity_attempt_guid": first(id_text, torus(s, "activity_attempt_guid")),
        **{name: first(integer, torus(s, name)) for name in numbers},
    }


def part_attempt(s: Any) -> dict[str, Any]:
    """The columns of `part_attempt_events` besides the common ones."""
    return {
        **activity_attempt(s),
        "part_attempt_guid": first(id_text, torus(s, "part_attempt_guid")),
        "part_attempt_number": first(integer, torus(s, "part_attempt_number")),
        "part_id": first(id_text, torus(s, "part_id")),
        "response": text(at(s, "result", "response")),
        "feedback": first(text, extension(s, f"{TORUS}feedback", RESULT)),
        "hints_requested": first(count, torus(s, "hints_requested")),
        "attached_objectives": first(text, torus(s, "attached_objectives")),
    }


def page_viewed(s: Any) -> dict[str, Any]:
    """The columns of `page_viewed_events` besides the common ones."""
    return {"page_sub_type": id_text(at(s, "object", "definition", "subType")), **_outcome(s)}


def voiding(s: Any) -> dict[str, Any]:
    """The columns of `voided_statements` besides the timestamp."""
    voided = id_text(at(s, "object", "id"))
    return {
        **_actor(s),
        "statement_id": id_text(at(s, "id")),
        "voided_statement_id": (voided or "").lower(),
    }


def _event(own: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return lambda s: {**common(s), **own(s)}


FAMILY_COLUMNS = {
    "video": _event(video),
    "activity_attempt": _event(activity_attempt),
    "page_attempt": _event(page_attempt),
    "part_attempt": _event(part_attempt),
    "page_viewed": _event(page_viewed),
    "voiding": voiding,
}

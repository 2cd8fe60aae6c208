"""What a statement is about, for the oracle: its verb, type, learner, family and extensions."""

import re
from collections.abc import Iterator
from typing import Any

from tests.helpers.oracle_values import at, first, id_text, text

ADL = "http://adlnet.gov/expapi/"
TORUS = "http://oli.cmu.edu/extensions/"
VIDEO = "https://w3id.org/xapi/video/"
TINCAN = "http://id.tincanapi.com/extension/"

Learner = tuple[str, ...]

# Where extensions are.
CONTEXT = ("context", "extensions")
RESULT = ("result", "extensions")
DEFINITION = ("object", "definition", "extensions")


def one_scheme(iri: str) -> str:
    """An IRI in the spelling with http: producers use http and https for the same one."""
    return "http://" + iri.removeprefix("https://") if iri.startswith("https://") else iri


VIDEO_VERBS = one_scheme(f"{VIDEO}verbs/")
VIDEO_EXTENSIONS = one_scheme(f"{VIDEO}extensions/")
INTERACTIVE_VIDEO = "http://h5p.org/libraries/H5P.InteractiveVideo"
VIDEO_TYPES = {
    one_scheme(f"{VIDEO}activity-type/video"),
    "http://activitystrea.ms/schema/1.0/video",
}
ATTEMPT_VERBS = {f"{ADL}verbs/completed", f"{ADL}verbs/answered"}
PAGE_VERBS = {f"{ADL}verbs/experienced", "http://id.tincanapi.com/verb/viewed"}
VOIDED = f"{ADL}verbs/voided"
PAGE_TYPE = f"{TORUS}types/page"
QUESTION = f"{ADL}activities/question"
ATTEMPT_TYPES = {
    f"{TORUS}activity_attempt": "activity_attempt",
    f"{TORUS}page_attempt": "page_attempt",
}
# The innermost first.
ATTEMPTS = ("part_attempt", "activity_attempt", "page_attempt")


def extension(statement: Any, iri: str, *places: tuple[str, ...]) -> Iterator[Any]:
    """The values of an extension, by place, and in each as the IRI is written here first."""
    other = f"http{'' if iri.startswith('https:') else 's'}:{iri.partition(':')[2]}"
    for place in places:
        extensions = at(statement, *place)
        if isinstance(extensions, dict):
            yield extensions.get(iri)
            if iri.startswith("http"):
                yield extensions.get(other)


def torus(statement: Any, *names: str) -> Iterator[Any]:
    """The values of Torus's extensions in the context."""
    for name in names:
        yield from extension(statement, TORUS + name, CONTEXT)


def activities(statement: Any, relation: str) -> list[dict[str, Any]]:
    """The context activities of a relation, which is a list or a single activity."""
    related = at(statement, "context", "contextActivities", relation)
    listed = related if isinstance(related, list) else [related]
    return [activity for activity in listed if isinstance(activity, dict)]


def verb_iri(statement: Any) -> str | None:
    """The verb, in the spelling with http."""
    iri = id_text(at(statement, "verb", "id"))
    return one_scheme(iri) if iri else None


def type_iri(activity: Any) -> str | None:
    """The type that an activity names, in the spelling with http."""
    iri = id_text(at(activity, "definition", "type"))
    return one_scheme(iri) if iri else None


# Learners -----------------------------------------------------------------------------------


def learner(statement: Any) -> Learner | None:
    """Who the actor is, as the statement writes it; None without any identifier."""
    actor = at(statement, "actor")
    if name := id_text(at(actor, "account", "name")):
        return ("account", id_text(at(actor, "account", "homePage")) or "", name)
    for kind in ("mbox", "mbox_sha1sum", "openid"):
        if identifier := id_text(at(actor, kind)):
            return (kind, identifier)
    return None


def learner_identity(statement: Any) -> Learner | None:
    """Who the actor is, equal for all spellings of one learner: what `learner_id` is a hash of."""
    match learner(statement):
        case ("account", home_page, name):
            return ("account", _host_in_lower_case(home_page), name)
        case ("openid", url):
            return ("openid", _host_in_lower_case(url))
        case (kind, address):
            return (kind, address.lower())
    return None


def _host_in_lower_case(url: str) -> str:
    return re.sub(r"\A[^:/?#]+://[^/?#]*", lambda start: start[0].lower(), url)


def is_anonymous_group(statement: Any) -> bool:
    """Whether the actor is members without an identifier of their own."""
    members = at(statement, "actor", "member")
    return learner(statement) is None and isinstance(members, list) and bool(members)


# Families -----------------------------------------------------------------------------------


def family(statement: Any) -> str:
    """The family of a statement that is not rejected: the first test that holds."""
    named = _named_family(statement)
    if named == "voiding" or not is_anonymous_group(statement):
        return named or _family_without_type(statement)
    return "other"


def _named_family(statement: Any) -> str | None:
    """The family by the object's type; None where it is an activity without one."""
    kind, verb = type_iri(at(statement, "object")), verb_iri(statement)
    if kind in VIDEO_TYPES:
        return "video"
    if verb in ATTEMPT_VERBS and kind in ATTEMPT_TYPES:
        return ATTEMPT_TYPES[kind]
    if verb in ATTEMPT_VERBS and kind == QUESTION and _has_guid(statement, "part_attempt"):
        return "part_attempt"
    if verb in PAGE_VERBS and kind == PAGE_TYPE:
        return "page_viewed"
    object_type = id_text(at(statement, "object", "objectType"))
    if verb == VOIDED and object_type == "StatementRef":
        return "voiding"
    if kind or object_type not in (None, "Activity"):
        return "other"
    return None


def _family_without_type(statement: Any) -> str:
    verb = verb_iri(statement) or ""
    if verb.startswith(VIDEO_VERBS):
        return "video"
    if verb in ATTEMPT_VERBS:
        for attempt in ATTEMPTS:
            if _has_guid(statement, attempt):
                return attempt
    return "video" if _is_in_a_video_session(statement) else "other"


def _has_guid(statement: Any, attempt: str) -> bool:
    return first(id_text, torus(statement, f"{attempt}_guid")) is not None


def _is_in_a_video_session(statement: Any) -> bool:
    for place in (CONTEXT, RESULT, DEFINITION):
        extensions = at(statement, *place)
        if isinstance(extensions, dict) and any(
            one_scheme(key).startswith(VIDEO_EXTENSIONS) for key in extensions
        ):
            return True
    return any(
        one_scheme(text(category.get("id")) or "").startswith(INTERACTIVE_VIDEO)
        for category in activities(statement, "category")
    )

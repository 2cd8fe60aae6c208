"""The oracle itself: families, and the fields of each producer."""

from typing import Any

import pytest

from tests.helpers.oracle_statement import ADL, TINCAN, TORUS, VIDEO
from tests.helpers.statements import COMPLETED_PART, columns, extensions, reading

VIDEO_TYPE = f"{VIDEO}activity-type/video"
QUESTION = f"{ADL}activities/question"
H5P = "http://h5p.org/libraries/H5P.InteractiveVideo-1.22"


def family(verb: str, about: Any = None, **members: Any) -> str:
    """The family of a statement with this verb and object."""
    return reading(verb={"id": verb}, object=about, **members).family


def typed(kind: str, **members: Any) -> dict[str, Any]:
    """An activity of a type."""
    return {"definition": {"type": kind}, **members}


def torus(**values: Any) -> dict[str, Any]:
    """A context with extensions of Torus."""
    return {"extensions": {f"{TORUS}{name}": value for name, value in values.items()}}


# Families -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "kind", "expected"),
    [
        (f"{ADL}verbs/launched", VIDEO_TYPE, "video"),
        (f"{ADL}verbs/completed", VIDEO_TYPE.replace("https", "http"), "video"),
        ("http://a/verb", "https://activitystrea.ms/schema/1.0/video", "video"),
        (f"{ADL}verbs/completed", f"{TORUS}activity_attempt", "activity_attempt"),
        (f"{ADL}verbs/answered", f"{TORUS}page_attempt".replace("http", "https"), "page_attempt"),
        (f"{VIDEO}verbs/played", f"{TORUS}page_attempt", "other"),
        (f"{ADL}verbs/completed", QUESTION, "other"),
        (f"{ADL}verbs/experienced", f"{TORUS}types/page", "page_viewed"),
        ("https://id.tincanapi.com/verb/viewed", f"{TORUS}types/page", "page_viewed"),
        (f"{VIDEO}verbs/played", f"{VIDEO}activity-type/audio", "other"),
        (f"{VIDEO}verbs/played", "", "video"),
        (f"{VIDEO}verbs/played".replace("https", "http"), None, "video"),
        (f"{ADL}verbs/experienced", None, "other"),
    ],
)
def test_the_named_type_decides_first(verb: str, kind: Any, expected: str) -> None:
    """Both spellings of a scheme are one, and an empty type is none."""
    assert family(verb, typed(kind)) == expected


@pytest.mark.parametrize(
    ("object_type", "expected"),
    [
        *((None, "video"), ("", "video"), ("Activity", "video"), ("Agent", "other")),
        *(("StatementRef", "other"), ("SubStatement", "other"), ("Page", "other")),
    ],
)
def test_what_is_no_activity_is_no_video(object_type: Any, expected: str) -> None:
    """Without a type the verb would make it one."""
    assert family(f"{VIDEO}verbs/played", {"objectType": object_type}) == expected
    page = typed(f"{TORUS}types/page", objectType=object_type)
    assert family(f"{ADL}verbs/experienced", page) == "page_viewed"


def test_the_innermost_guid_names_the_family_of_attempts_without_a_type() -> None:
    """An empty guid is none, and other verbs are no attempts."""
    guids = {"page_attempt_guid": "p", "activity_attempt_guid": "a", "part_attempt_guid": "q"}
    for name in ("part_attempt", "activity_attempt", "page_attempt"):
        for verb in (f"{ADL}verbs/answered", f"{ADL}verbs/completed".replace("http", "https")):
            assert family(verb, context=torus(**guids)) == name
        assert family(f"{ADL}verbs/attempted", context=torus(**guids)) == "other"
        guids[f"{name}_guid"] = ""
    assert family(f"{ADL}verbs/answered", context=torus(**guids)) == "other"
    assert reading(COMPLETED_PART).family == "part_attempt"


def test_a_session_is_not_split_between_tables() -> None:
    """Any extension of the video profile, or an interactive video of H5P, names no other type."""
    completed = f"{ADL}verbs/completed"
    session = {"extensions": {f"{VIDEO}extensions/anything".replace("https", "http"): None}}
    for place in ({"context": session}, {"result": session}):
        assert family(completed, **place) == "video"
    assert family(completed, {"definition": session}) == "video"
    for category in ({"id": H5P}, [{"id": "x"}, {"id": H5P.replace("http", "https")}]):
        assert family(completed, context={"contextActivities": {"category": category}}) == "video"
    assert family(completed, context={"contextActivities": {"parent": {"id": H5P}}}) == "other"
    audio = typed(f"{VIDEO}activity-type/audio")
    assert family(f"{VIDEO}verbs/played", audio, context=session) == "other"


def test_an_anonymous_group_is_in_no_event_table() -> None:
    """Voiding has its effect all the same, and a group with an id is one learner."""
    group = {"objectType": "Group", "member": [{"mbox": "mailto:a@b"}]}
    assert family(f"{VIDEO}verbs/played", typed(VIDEO_TYPE), actor=group) == "other"
    reference = {"objectType": "StatementRef", "id": "x"}
    assert family(f"{ADL}verbs/voided", reference, actor=group) == "voiding"
    named = group | {"mbox": "mailto:team@b"}
    assert family(f"{VIDEO}verbs/played", typed(VIDEO_TYPE), actor=named) == "video"


@pytest.mark.parametrize(
    ("iri", "short"),
    [
        ("https://example.org/v#stopped/", "stopped"),
        ("https://example.org/#", "https://example.org/#"),
        ("http://activitystrea.ms/schema/1.0/play", "played"),
        ("http://id.tincanapi.com/verb/skipped", "seeked"),
        ("http://activitystrea.ms/schema/1.0/watch", "watched"),
    ],
)
def test_verbs_have_short_names(iri: str, short: str) -> None:
    """Those of the older recipe are the same verbs."""
    assert columns(verb={"id": iri}, object=typed(VIDEO_TYPE))["verb"] == short


# Common columns -----------------------------------------------------------------------------


def test_torus_extensions_in_both_spellings() -> None:
    """Numbers and guids, the page under either name, and the enrollment."""
    context = torus(section_id="2161", project_id=1, page_id=5, resource_id="", enrollment_id=9)
    https = {
        "extensions": {k.replace("http", "https"): v for k, v in context["extensions"].items()}
    }
    for one in (context, https):
        row = columns(context=one)
        assert (row["section_id"], row["project_id"], row["page_id"]) == (2161, 1, 5)
        assert row["enrollment_id"] == 9
    assert columns()["section_id"] == 0
    assert columns()["enrollment_id"] is None


@pytest.mark.parametrize(
    ("iri", "session"),
    [
        (f"{VIDEO}extensions/session-id", "1"),
        ("https://w3id.org/xapi/openedx/extensions/session-id", "2"),
        ("https://w3id.org/xapi/cmi5/context/extensions/sessionid", "3"),
        (f"{TORUS}session_id", "4"),
    ],
)
def test_sessions_of_all_producers(iri: str, session: str) -> None:
    """The video profile's first; an empty one is none."""
    others = {f"{VIDEO}extensions/session-id": "", f"{TORUS}session_id": "last", iri: session}
    assert columns(context={"extensions": others})["session_id"] == session
    other_scheme = iri.replace("https", "x").replace("http", "https").replace("x:", "http:")
    assert columns(context={"extensions": {other_scheme: session}})["session_id"] == session


COURSE = {"id": "course", "definition": {"type": "https://w3id.org/xapi/cmi5/activitytype/course"}}
SECTION = {"id": "section", "definition": {"type": "http://id.tincanapi.com/section"}}
UNTYPED = {"id": "untyped", "objectType": "http://adlnet.gov/expapi/activities/course"}


@pytest.mark.parametrize(
    ("activities", "course"),
    [
        ({"parent": [SECTION, COURSE]}, "course"),
        ({"parent": [UNTYPED, SECTION], "category": COURSE}, "course"),
        ({"parent": COURSE | {"id": ""}, "grouping": [COURSE]}, "course"),
        ({"parent": SECTION, "grouping": [5, {"id": ""}, UNTYPED]}, "untyped"),
        ({"parent": UNTYPED, "grouping": {"id": "later"}}, "untyped"),
        ({"parent": [SECTION], "category": [UNTYPED]}, ""),
        ({"parent": "course", "other": [COURSE]}, ""),
    ],
)
def test_the_course_is_the_first_activity_that_is_one(activities: Any, course: str) -> None:
    """Else the first parent or grouping that does not say what it is."""
    assert columns(context={"contextActivities": activities})["course_id"] == course


def test_the_rest_of_the_common_columns() -> None:
    """Who, which statement, which registration, how long."""
    row = columns(
        id="An-Id",
        actor={"account": {"name": "", "homePage": "h"}, "mbox": "mailto:a@b"},
        registration="",
        context={"registration": "r"},
        result={"duration": "PT34.5S"},
    )
    assert (row["user_id"], row["home_page"], row["statement_id"]) == ("mailto:a@b", "h", "An-Id")
    assert (row["registration"], row["duration_seconds"]) == ("r", 34.5)


# Videos -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ({"de": "D", "en": "E", "en-US": "U"}, "U"),
        ({"en-US": "", "de": "D", "en-GB": "B", "en": "E"}, "E"),
        ({"de": "D", "en-GB": "B", "en-AU": "A"}, "A"),
        ({"fr": "F", "de": "D"}, "D"),
        ({"de": None, "it": "", "fr": "F"}, "F"),
        ({"en-US": ""}, None),
        *(("Cells", "Cells"), ("", None), (None, None), ([], None), (5, None)),
    ],
)
def test_titles_do_not_depend_on_the_order_of_languages(name: Any, title: str | None) -> None:
    """An empty title is none, plain text is one."""
    assert columns(object={"definition": {"name": name}})["video_title"] == title


@pytest.mark.parametrize(
    ("context", "result", "definition", "length"),
    [
        *((0, None, None, None), (0.0, None, 55, 55.0), ("PT3M15S", 9, 9, 195.0)),
        *((None, 9, 8, 9.0), ("long", -1, "PT1.5S", 1.5), (None, None, None, 7.0)),
    ],
)
def test_the_length_is_the_first_that_is_one(
    context: Any, result: Any, definition: Any, length: float | None
) -> None:
    """Context, result, definition; the older recipe's where there is none."""
    about = extensions(length=definition)
    if length == 7:
        about["extensions"][f"{TINCAN}duration"] = "PT7S"
    row = columns(
        context=extensions(length=context),
        result=extensions(length=result),
        object={"definition": about},
    )
    assert row["video_length"] == length


def test_places_of_older_recipes() -> None:
    """The ending point, else the starting point, else where it was resumed."""
    points = {
        f"{TINCAN}starting-point": "PT1S",
        f"{TINCAN}ending-point".replace("http", "https"): 2,
    }
    resumed = {"resultExt:resumed": "PT12.34S"}
    row = columns(context={"extensions": points}, result={"extensions": resumed})
    assert row["video_time"] == 2.0
    points.popitem()
    row = columns(context={"extensions": points}, result={"extensions": resumed})
    assert row["video_time"] == 1.0
    assert columns(result={"extensions": resumed})["video_time"] == 12.34
    assert (
        columns(result={"extensions": resumed | extensions(time=0)["extensions"]})["video_time"]
        == 0
    )


def test_what_a_player_says_about_itself() -> None:
    """In the context, or in the result, under either name of the captions."""
    player = extensions(
        completion_threshold="0.95",
        speed="1.25x",
        quality=480,
        volume=0,
        full_screen=False,
        cc_enabled=True,
        cc_subtitle_enabled=False,
        cc_subtitle_lang="fr",
    )
    for members in ({"context": player}, {"result": player}):
        row = columns(**members)
        assert (row["video_completion_threshold"], row["video_speed"]) == (0.95, 1.25)
        assert (row["video_quality"], row["video_volume"]) == ("480", 0.0)
        assert (row["is_full_screen"], row["is_captioned"]) == (False, True)
        assert row["caption_language"] == "fr"
    assert columns(context=extensions(cc_subtitle_enabled=False))["is_captioned"] is False
    assert columns(context=extensions(speed=" 1x", cc_subtitle_lang=""))["video_speed"] is None
    assert columns()["is_full_screen"] is None


def test_seeks_and_segments() -> None:
    """Older Open edX writes places as durations."""
    row = columns(result=extensions(time_from="PT1M0S", time_to=30, played_segments="", progress=1))
    assert (row["video_seek_from"], row["video_seek_to"]) == (60.0, 30.0)
    assert (row["video_played_segments"], row["video_progress"]) == ("", 1.0)


# Attempts -----------------------------------------------------------------------------------


def test_part_attempts_have_the_columns_of_activity_attempts_too() -> None:
    """Hints come as a list or a number, answers and objectives as anything."""
    values = {"part_attempt_guid": "g", "hints_requested": ["a"], "attached_objectives": [1, 2]}
    row = columns(
        COMPLETED_PART,
        context=torus(**values, part_attempt_number=2, activity_id=3, part_id=1),
        result={"score": {"raw": 1, "max": "2", "scaled": True}, "response": ["b", "a"]},
    )
    assert (row["score"], row["out_of"], row["scaled_score"]) == (1.0, 2.0, None)
    assert (row["part_attempt_number"], row["activity_id"], row["part_id"]) == (2, 3, "1")
    assert (row["hints_requested"], row["attached_objectives"]) == (1, "[1,2]")
    assert (row["response"], row["feedback"]) == ('["b","a"]', None)

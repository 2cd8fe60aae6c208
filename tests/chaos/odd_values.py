"""Odd values for the members of a statement, and statements of producers with other shapes."""

from typing import Any

TIMES = [
    *("2025-12-31T23:59:60Z", "2016-12-31T23:59:60.5Z", "2025-10-01T24:00:00Z", "2025-10-01"),
    *("2025-10-01T10:00:00+14:00", "2025-10-01T10:00:00-12:00", "2025-10-01T10:00:00+0530"),
    *("2025-10-01T10:00:00+05", "2025-10-01T10:00:00+24:00", "2025-10-01 10:00:00", "now", ""),
    *("2025-10-01T10:00:00.123456789Z", "2025-10-01T10:00:00.9999999Z", "2025-10-01t10:00:00z"),
    *("2025-02-29T00:00:00Z", "2024-02-29T23:59:59.999Z", "2025-02-30T00:00:00Z", "20251001T10Z"),
    *("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2199-12-31T23:59:59.999999Z"),
    *("2200-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "1759312800"),
    *("1970-01-01T00:30:00+01:00", "2199-12-31T23:30:00-01:00", "2025-10-01T10:00Z"),
    *(" 2025-10-01T10:00:00Z", "2025-10-01T10:00:00Z ", "2025-13-01T00:00:00Z", "+12025-10-01"),
    *("2025-00-10T00:00:00Z", "2025-10-00T00:00:00Z", "2025-10-01T10:60:00Z", "-2025-10-01"),
    *("20251001T100000Z", "20251001T1000+0200", "20251001t100000,25z", "2025-10-01T100000.5Z"),
    *("2025-1001T10:00:00Z", "2025-10-01T10:0000Z", "2025-10-01T10", "20251001 10-05"),
    *("2025-10-01T10:00:00,123456Z", "2025-10-01T10:30.5Z", "2025-10-01T10:00:00.Z"),
    *("2025-W40-3T10:00:00Z", "2025-274T10:00:00Z", "2025274T100000Z", "2025", "1759312800000"),
    *("1999-12-31T23:59:59.999Z", "2000-01-01T00:00:00Z", "2000-01-01T00:59:59+01:00"),
    *("2025-06-30T23:59:60.999+00:00", "20161231T235960Z", "2025-10-01T10:00:61Z"),
    *(f"2025-10-01T10:00:00.{'0123456789' * 3}Z", f"2025-10-01 10:00:00,{'9' * 19}"),
]
NUMBERS = [
    *("0", "-0", "1", "-1", "1.0", "1e0", "1E+2", "0.1e1", "007", "+1", ".5", "1.", "0x10"),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775808", "1e308", "1e309"),
    *("123456789012345678901234567890", "1e-400", "NaN", "Infinity", "-Infinity", "1_000"),
    *("0.1", "2.5e-324", "1e22", "9007199254740993", "1" + "0" * 400, "null", "true", "tru"),
]
DURATIONS = [
    *("PT3M15S", "P1DT2H", "PT0.5S", "PT0,25S", "P2W", "PT1.5H", "P0Y0M0DT0H0M34.5S", "PT0S"),
    *("P1Y", "P1M", "PT", "P", "PT1.5M2S", "-PT1S", "pt3m15s", "PT3M15", "P1DT", "PT1H1H"),
    *("3:15", "1.25x", "x", "2x ", " PT1S", "PT" + "9" * 400 + "S"),
]
NAMES: list[Any] = [
    *("Cells", "", {"en-US": "", "en": "Cells"}, {"en-US": ""}, {"fr": "F", "de": "D"}),
    *({"de": "D", "fr": "F"}, {"en-GB": "B", "en-AU": "A", "de": "D"}, {"de": None, "fr": "F"}),
    *({"en-us": "low", "EN": "up"}, {"en": "E", "en-US": "U"}, {"zz": "\ud83d", "": "empty"}),
]
TEXTS = [
    *("", " ", "0", "12.5", "nan", "inf", "-1", "1e3", "TRUE", "false", "null", "NULL", "\\N"),
    *("ünï", "é", "e\u0301", "😀", "\u202e", "\u200b", "\ufeff", "\x00", "\x7f", "\u2028", "\\"),
    *(
        "'",
        '"',
        "a\tb",
        "a\nb",
        "a\r\nb",
        "{",
        "[",
        "[1,",
        '{"a":1}',
        "%",
        "x" * 5000,
        "\uff12\uff11",
    ),
    *("99999999999999999999", "+5", " 7", "7 ", "0x1F", "٣", "\uff12\uff11"),
]
# An array in their place is read by position (docs/decisions/0003), which the oracle does not know.
OBJECTS = {
    *("actor", "account", "verb", "object", "definition", "name", "result", "score", "context"),
    *("extensions", "contextActivities"),
}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**53 + 1, 2**63, 2**64 - 1, 2**64, 10**30, 1e300, -0.0),
    *([], {}, [[]], [{}], [None], {"": ""}, {"id": None}, [{"id": "x"}], {"a": {"b": []}}),
]
BYTES = [
    *(b"\xff", b"\xc3", b"\xe2\x82", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x00"),
    *(b"\xef\xbb\xbf", b"\r", b"\t", b"\x0b", b"\xc2\xa0", b"\x1f", b"\\", b'"', b"{", b"}"),
    *(b",", b":", b"'", b"/*x*/", b"//x", b"\\u0000", b"\\ud83d", b"\\ud83d\\ude00", b"\\x41"),
    *(b"\\u00g0", b"\\/", b"\\'", b"1e999", b"\xe2\x80\xa8"),
]

# Ids: random ones (UUID version 4) in any case, derived ones, and others.
RANDOM_ID = "c0ffee00-0000-4000-8000-{:012x}"
OTHER_IDS = [
    *("c0ffee00-0000-5000-8000-{:012x}", "c0ffee00-0000-4000-0000-{:012x}", "line-{}"),
    *("{{c0ffee00-0000-4000-8000-{:012x}}}", "C0FFEE00-0000-1000-8000-{:012X}"),
]

_ADL, _VIDEO = "http://adlnet.gov/expapi/verbs/", "https://w3id.org/xapi/video/"
_ACTOR = {"account": {"homePage": "https://LMS.example.org/", "name": "learner-1"}}
_EXTENSIONS = f"{_VIDEO}extensions/"
_TINCAN = "http://id.tincanapi.com/extension/"
_TORUS = "http://oli.cmu.edu/extensions/"


def _statement(verb: str, about: Any, **members: Any) -> dict[str, Any]:
    when = "2025-10-01T10:00:00.5Z"
    return {
        "actor": _ACTOR,
        "verb": {"id": verb},
        "object": about,
        "timestamp": when,
        "stored": "2025-10-01T10:00:01Z",
        **members,
    }


# Statements of producers that neither the sample nor the shared data has.
STATEMENTS: list[dict[str, Any]] = [
    # Open edX: its own session, a duration as length, a course whose type is in the wrong member.
    _statement(
        f"{_VIDEO}verbs/played",
        {"id": "xblock/1", "definition": {"type": f"{_VIDEO}activity-type/video"}},
        result={"extensions": {f"{_EXTENSIONS}time": "PT12.5S"}},
        context={
            "contextActivities": {
                "parent": [{"id": "course-v1:A", "objectType": "http://adlnet.gov/course"}]
            },
            "extensions": {
                "https://w3id.org/xapi/openedx/extensions/session-id": "edx-session",
                f"{_EXTENSIONS}length": "PT3M15S",
            },
        },
    ),
    # cmi5: a session without the video profile, a list of groupings.
    _statement(
        f"{_VIDEO}verbs/paused",
        {"id": "https://lms.example.org/v/1"},
        context={
            "registration": "c0ffee00-0000-4000-8000-00000000000a",
            "contextActivities": {
                "grouping": [
                    {"id": "unit", "definition": {"type": "https://w3id.org/xapi/cmi5/block"}},
                    {"id": "course", "definition": {"type": "https://w3id.org/xapi/cmi5/course"}},
                ]
            },
            "extensions": {
                "https://w3id.org/xapi/cmi5/context/extensions/sessionid": "cmi5-session"
            },
        },
    ),
    # H5P: known by its category alone.
    _statement(
        f"{_ADL}completed",
        {"id": "https://wp.example.org/h5p/5", "definition": {"name": {"en-US": "Video"}}},
        result={"duration": "PT34.5S"},
        context={
            "contextActivities": {
                "category": [{"id": "http://h5p.org/libraries/H5P.InteractiveVideo-1.22"}]
            }
        },
    ),
    # The older recipe: other verbs, another type, places as durations.
    _statement(
        "http://activitystrea.ms/schema/1.0/play",
        {
            "id": "https://lms.example.org/v/2",
            "definition": {
                "type": "http://activitystrea.ms/schema/1.0/video",
                "extensions": {f"{_TINCAN}duration": "PT1M40S"},
            },
        },
        context={"extensions": {f"{_TINCAN}starting-point": "PT10.5S"}},
    ),
    # All that a player says about itself.
    _statement(
        f"{_ADL}interacted",
        {"id": "https://lms.example.org/v/3"},
        result={"extensions": {f"{_EXTENSIONS}cc-enabled": True}},
        context={
            "extensions": {
                f"{_EXTENSIONS}{name}": value
                for name, value in {
                    **{"session-id": "s-1", "speed": "1.25x", "quality": 480, "volume": 0.5},
                    **{"full-screen": False, "cc-subtitle-enabled": False, "length": 0},
                    **{"cc-subtitle-lang": "fr", "completion-threshold": "0.95"},
                }.items()
            }
        },
    ),
    # Attempts of Torus without a type: the guid names the family.
    *(
        _statement(
            f"{_ADL}answered",
            {},
            context={"extensions": {f"{_TORUS}{guid}": guid, f"{_TORUS}enrollment_id": 9}},
            result={"score": {"raw": 1}, "response": ["a", "c", "b"]},
        )
        for guid in ("part_attempt_guid", "activity_attempt_guid", "page_attempt_guid")
    ),
    # A voiding, and what is no activity.
    _statement(f"{_ADL}voided", {"objectType": "StatementRef", "id": RANDOM_ID.format(7).upper()}),
    _statement(f"{_VIDEO}verbs/played", {"objectType": "SubStatement", "id": "x"}),
    # Groups: an identified one, an anonymous one, one without members.
    *(
        _statement(f"{_VIDEO}verbs/played", {"id": "https://lms.example.org/v/1"}, actor=group)
        for group in (
            {"objectType": "Group", "mbox": "mailto:Team@Example.org", "member": []},
            {"objectType": "Group", "member": [{"mbox": "mailto:a@example.org"}]},
            {"objectType": "Group", "member": []},
        )
    ),
]

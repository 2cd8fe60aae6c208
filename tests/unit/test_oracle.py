"""The oracle itself: what it makes of odd lines."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.helpers.oracle import TORUS, VIDEO, Reading, read_line, same_value

PLAYED = {
    "timestamp": "2025-10-01T00:00:00Z",
    "verb": {"id": f"{VIDEO}verbs/played"},
    "actor": {"account": {"name": 7}},
}
COMPLETED_QUESTION = {
    **PLAYED,
    "verb": {"id": "http://adlnet.gov/expapi/verbs/completed"},
    "object": {"definition": {"type": "http://adlnet.gov/expapi/activities/question"}},
}


def reading(statement: dict[str, Any] = PLAYED, **changes: Any) -> Reading:
    """The reading of a statement with some of its members changed."""
    return read_line(json.dumps(statement | changes).encode())


def with_extension(name: str, source: str) -> bytes:
    """A played statement with one context extension, spelled as given."""
    statement = json.dumps(PLAYED | {"context": {"extensions": {TORUS + name: "SOURCE"}}})
    return statement.replace('"SOURCE"', source).encode()


def timestamp_of(text: str) -> datetime | None:
    """What becomes of a timestamp; None if the line is rejected for it."""
    read = reading(timestamp=text)
    assert read.reason in (None, "no usable timestamp")
    return read.columns.get("timestamp")


# Lines that are refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" \t\r",
        b"\xff{}",
        b"{} {}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":1,"a":"\\ud800"}',
        b'{"\\ude00\\ud83d":1}',
        b'{"a":01}',
        b"{'a':1}",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"[" * 1025 + b"]" * 1025,
        b"[" * 1024 + b"1" + b"]" * 1024,
        b"[" * 100_000,
    ],
)
def test_what_is_not_json_is_refused(line: bytes) -> None:
    """Python's own reader takes some of these."""
    assert read_line(line) == Reading("rejected", "not JSON", {}, ("line", line))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[" * 1024 + b"]" * 1024, "not an object"),
        (b'"\\\\ud800 \\ud83d\\ude00"', "not an object"),
        (b"\xef\xbb\xbf{} \r", "no usable timestamp"),
        (json.dumps(PLAYED | {"verb": {"id": ""}}).encode(), "no verb"),
        (json.dumps(PLAYED | {"verb": PLAYED["verb"]["id"]}).encode(), "no verb"),
        (json.dumps(PLAYED | {"actor": 5}).encode(), "no actor"),
        (json.dumps(PLAYED | {"actor": {"mbox": "", "openid": None}}).encode(), "no actor"),
    ],
)
def test_json_that_is_no_statement_is_refused(line: bytes, reason: str) -> None:
    """The first reason wins."""
    assert (read_line(line).family, read_line(line).reason) == ("rejected", reason)


def test_the_deepest_statement_allowed_is_read() -> None:
    """Python alone would stop at a depth of about 1,000."""
    read = read_line(with_extension("page_attempt_guid", "[" * 1021 + "]" * 1021))
    assert read.columns["page_attempt_guid"] == "[" * 1021 + "]" * 1021
    assert read_line(with_extension("page_attempt_guid", "[" * 1022 + "]" * 1022)).reason


@pytest.mark.parametrize(
    "text",
    [
        "2025-02-30T00:00:00Z",
        "2025-10-01T24:00:00Z",
        "2025-10-01T00:00:60Z",
        "2025-10-01T00:00:00+24:00",
        "2025-10-01T00:00:00+01:60",
        "2025-10-01",
        "2025-10-01T00:00:00Z\n",
        "٢٠٢٥-10-01T00:00:00Z",
        "1970-01-01T00:59:59+01:00",
        "2199-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59-23:59",
        "0000-01-01T00:00:00Z",
    ],
)
def test_a_timestamp_must_be_a_real_one_that_tables_can_hold(text: str) -> None:
    """A date that slips through would land in the wrong month."""
    assert timestamp_of(text) is None


def test_timestamps_become_utc_milliseconds() -> None:
    """All spellings of one moment, and the digits that are cut off."""
    moment = datetime(2025, 10, 1, 12, 30, tzinfo=UTC)
    for text in ("2025-10-01 12:30", "2025-10-01T14:30:00+0200", "2025-10-01T07:30:00.0-05"):
        assert timestamp_of(text) == moment
    assert timestamp_of("2025-10-01T12:30:00.0019999Z") == moment + timedelta(milliseconds=1)
    assert timestamp_of("1969-12-31T23:00:00-01:00") == datetime(1970, 1, 1, tzinfo=UTC)


# Values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text", "integer"),
    [
        ("12.0", "12", 12),
        ("1e3", "1000", 1000),
        ("-0.0", "-0", None),
        ("1E-7", "1e-7", None),
        ("0.00001", "0.00001", None),
        ("18446744073709551615", "18446744073709551615", 2**64 - 1),
        ("18446744073709551616", "18446744073709551616", None),
        ('"+0000000000000000000000012"', "+0000000000000000000000012", 12),
        ('"\u0661"', "\u0661", None),
        ('"12\\n"', "12\n", None),
        ("true", "true", None),
        ('{ "\u00e9" : [1.50, null, "\\/"] }', '{"\u00e9":[1.5,null,"/"]}', None),
    ],
)
def test_text_and_integers(source: str, text: str, integer: int | None) -> None:
    """A guid may arrive as a number and a number as a string."""
    as_text = read_line(with_extension("page_attempt_guid", source)).columns
    assert as_text["page_attempt_guid"] == text
    as_integer = read_line(with_extension("project_id", source)).columns
    assert as_integer["project_id"] == integer


@pytest.mark.parametrize(
    ("value", "number"),
    [("7.25", 7.25), (".5e1", 5.0), ("+1.", 1.0), (True, None), ("1e400", None), ("nan", None)],
)
def test_numbers(value: Any, number: float | None) -> None:
    """Players write times as strings."""
    result = {"extensions": {f"{VIDEO}extensions/time": value}}
    assert reading(result=result).columns["video_time"] == number


def test_truth_is_true_or_false_as_value_or_word() -> None:
    """A number is neither."""
    columns = reading(COMPLETED_QUESTION, result={"success": "true", "completion": 1}).columns
    assert (columns["success"], columns["completion"]) == (True, None)


def test_fallbacks_are_taken_in_their_order() -> None:
    """An empty course id counts as missing, and a single activity as a list of one."""
    activities = {"parent": [{"id": ""}], "grouping": {"id": "course"}}
    columns = reading(
        actor={"account": {"name": "", "homePage": "h"}, "mbox": "mailto:a@b"},
        object={"definition": {"name": {"de": None, "fr": "Titre", "it": "Titolo"}}},
        context={
            "contextActivities": activities,
            "registration": "r",
            "extensions": {f"{TORUS}page_id": 3, f"{TORUS}session_id": "torus"},
        },
        result={"extensions": {f"{VIDEO}extensions/length": 9}},
    ).columns
    assert (columns["user_id"], columns["home_page"]) == ("mailto:a@b", "h")
    assert (columns["course_id"], columns["registration"]) == ("course", "r")
    assert (columns["page_id"], columns["session_id"]) == (3, "torus")
    assert (columns["video_title"], columns["video_length"]) == ("Titre", 9.0)


@pytest.mark.parametrize(
    ("verb", "kind", "family", "short"),
    [
        ("https://example.org/v#watched/", f"{VIDEO}activity-type/video", "video", "watched"),
        (f"{VIDEO}verbs/", None, "video", "verbs"),
        ("http://adlnet.gov/expapi/verbs/experienced", None, "video", "experienced"),
        (
            "http://adlnet.gov/expapi/verbs/experienced",
            f"{TORUS}types/page",
            "page_viewed",
            "experienced",
        ),
        (f"{VIDEO}verbs/played", f"{TORUS}page_attempt", "video", "played"),
        (f"{VIDEO}verbs/#", None, "video", f"{VIDEO}verbs/#"),
        ("http://adlnet.gov/expapi/verbs/completed", None, "other", None),
    ],
)
def test_families_go_by_type_and_then_by_verb(
    verb: str, kind: str | None, family: str, short: str | None
) -> None:
    """What is of no family has no columns."""
    read = reading(verb={"id": verb}, object={"definition": {"type": kind}})
    assert (read.family, read.columns.get("verb")) == (family, short)


# Identity and comparison --------------------------------------------------------------------


def test_spelling_does_not_make_another_event() -> None:
    """Key order, spaces, escapes, number and time spelling, byte order mark, repeated keys."""
    plain = b'{"timestamp":"2025-10-01T00:00:00Z","verb":{"id":"https://w3id.org/xapi/video/'
    plain += b'verbs/played"},"actor":{"mbox":"m"},"result":{"a":0,"b":100,"c":1e21}}'
    other = b'\xef\xbb\xbf{ "actor":{"mbox":"\\u006d"}, "verb":{"id":"https:\\/\\/w3id.org/xapi/'
    other += b'video/verbs/played"}, "result":{"c":1000000000000000000000,"b":1.0e2,"a":0.0},'
    other += b'"timestamp":"2025-10-01 02:00:00.0000009+02","actor":7}\r'
    assert read_line(plain).identity == read_line(other).identity


def test_content_makes_another_event() -> None:
    """True is not 1, text is no number, and a microsecond counts although no column shows it."""
    results = [{"success": value} for value in (True, 1, "1", None)]
    different = [reading(result=result) for result in results]
    different += [reading(), reading(timestamp="2025-10-01T00:00:00.000001Z")]
    assert len({read.identity for read in different}) == 6


def test_comparison_forgives_only_what_a_database_client_changes() -> None:
    """JSON may be spelled differently where it was JSON, text may not."""
    columns = reading(COMPLETED_QUESTION, result={"response": {"a": 1.0, "b": []}}).columns
    assert same_value("response", columns["response"], '{"b": [], "a": 1.0}')
    assert not same_value("response", columns["response"], '{"b": [], "a": true}')
    assert not same_value("response", columns["response"], None)
    columns = reading(COMPLETED_QUESTION, result={"response": '{"a":1}'}).columns
    assert same_value("response", columns["response"], '{"a":1}')
    assert not same_value("response", columns["response"], '{"a": 1}')
    assert same_value("timestamp", columns["timestamp"], datetime(2025, 10, 1))
    assert not same_value("timestamp", columns["timestamp"], "2025-10-01 00:00:00.000")
    assert same_value("score", 0.1, 0.1) and not same_value("score", 0.1, 0.1 + 2**-56)
    assert not same_value("home_page", None, "")

"""The oracle itself: which lines it refuses, and how it reads text, numbers and times."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.helpers.oracle import Reading, read_line, same_value
from tests.helpers.oracle_statement import ADL, TORUS
from tests.helpers.statements import COMPLETED_PART, PLAYED, as_line, columns, extensions, reading

BOM = b"\xef\xbb\xbf"
LOADED = datetime(2025, 10, 1, 12, tzinfo=UTC)


def with_extension(name: str, source: str) -> bytes:
    """A played statement with one context extension, spelled as given."""
    statement = json.dumps(PLAYED | {"context": {"extensions": {TORUS + name: "SOURCE"}}})
    return statement.replace('"SOURCE"', source).encode()


def timestamp_of(text: Any) -> datetime | str | None:
    """What becomes of a timestamp, or why the line is rejected."""
    read = reading(timestamp=text)
    return read.reason or read.columns["timestamp"]


# Lines that are refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"\xff{}",
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\\ud8zz"}',
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":"\t"}',
        b"x{}",
        b"\xc2\xa0{}",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b'{"a":' * 1025 + b"1" + b"}" * 1025,
        b'{"a":' * 100_000,
        b'{"a":"',
    ],
)
def test_what_is_not_json_is_refused(line: bytes) -> None:
    """Python's own reader takes some of these."""
    (read,) = read_line(line)
    assert read == Reading("rejected", "not JSON", {}, ("text", line.removeprefix(BOM)))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'"\\\\ud800 \\ud83d\\ude00"', "not an object"),
        (b"5", "not an object"),
        (b"\xef\xbb\xbf{} \r", "no usable timestamp"),
        (b'{"a":1e400,"b":"\\ud800"}', "no usable timestamp"),
        (as_line(PLAYED | {"timestamp": "1999-01-01T00:00Z", "verb": {}}), "implausible timestamp"),
        (as_line(PLAYED | {"verb": {"id": ""}, "actor": {}}), "no verb"),
        (as_line(PLAYED | {"verb": PLAYED["verb"]["id"]}), "no verb"),
        (as_line(PLAYED | {"actor": 5}), "no actor"),
        (as_line(PLAYED | {"actor": {"mbox": "", "openid": None}}), "no actor"),
        (as_line(PLAYED | {"actor": {"account": {"homePage": "h"}}}), "no actor"),
        (as_line(PLAYED | {"actor": {"objectType": "Group", "member": []}}), "no actor"),
    ],
)
def test_json_that_is_no_statement_is_refused(line: bytes, reason: str) -> None:
    """The first reason wins."""
    (read,) = read_line(line)
    assert (read.family, read.reason, read.item) == ("rejected", reason, 0)


def test_the_deepest_statement_allowed_is_read() -> None:
    """Python alone would stop at a depth of about 1,000."""
    (read,) = read_line(with_extension("page_attempt_guid", "[" * 1021 + "]" * 1021))
    assert read.columns["page_attempt_guid"] == "[" * 1021 + "]" * 1021
    (read,) = read_line(with_extension("page_attempt_guid", "[" * 1022 + "]" * 1022))
    assert read.reason == "not JSON"


def test_valid_json_that_an_engine_may_refuse_is_read() -> None:
    """Half of a surrogate pair, and numbers that float64 does not hold."""
    source = r'["a\uD83D", "\udE00\ud83d\ude00", 1e400, -1E+999, "\\ud800"]'
    (read,) = read_line(with_extension("page_attempt_guid", source))
    assert read.columns["page_attempt_guid"] == '["a�","�😀",null,null,"\\\\ud800"]'
    (read,) = read_line(with_extension("project_id", "1e400"))
    assert (read.family, read.columns["project_id"]) == ("video", None)


# Times --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2025-10-01T10:30:15.5Z",
        "2025-10-01T10:30:15,5Z",
        "2025-10-01 10:30:15.500000000001z",
        "2025-10-01t10:30:15.5",
        "20251001T103015.5Z",
        "20251001T103015,5009",
        "2025-10-01T103015.5+00",
        "2025-10-01T12:30:15.5+02:00",
        "2025-10-01T12:30:15.5+0200",
        "2025-10-01T08:30:15.5-02",
        "2025-10-02T00:15:15.5+13:45",
    ],
)
def test_all_spellings_of_one_moment(text: str) -> None:
    """Extended and basic forms, any sign of the fraction, any offset."""
    assert timestamp_of(text) == datetime(2025, 10, 1, 10, 30, 15, 500_000, UTC)


def test_what_a_time_leaves_out_is_zero() -> None:
    """Hours, and whatever follows."""
    for text in ("2025-10-01T10", "2025-10-01T10:00Z", "20251001T10Z", "20251001T1000"):
        assert timestamp_of(text) == datetime(2025, 10, 1, 10, tzinfo=UTC)


def test_digits_below_the_millisecond_are_cut_off_and_a_leap_second_ends_its_minute() -> None:
    """Rounding would move an event into the next hour."""
    last = datetime(2016, 12, 31, 23, 59, 59, 999_000, UTC)
    for text in ("23:59:59.9999999Z", "23:59:60Z", "23:59:60.25Z", "23:59:60,25"):
        assert timestamp_of(f"2016-12-31T{text}") == last
    assert timestamp_of("20161231T235960Z") == last


@pytest.mark.parametrize(
    "text",
    [
        *("2025-02-30T00:00:00Z", "2025-00-10T00:00:00Z", "2025-10-01T24:00:00Z", "2025-10-01"),
        *("2025-10-01T00:00:61Z", "2025-10-01T00:00:00+24:00", "2025-10-01T00:00:00+01:60"),
        *("2025-W40-3T10:00:00Z", "2025-274T10:00:00Z", "2025", "1759312800", "2025-1001T10Z"),
        *("2025-10-01T00:00:00Z\n", " 2025-10-01T00:00:00Z", "٢٠٢٥-10-01T00:00:00Z", "now"),
        *("2025-10-01T10:3015Z", "2025-10-01T10:30:15.Z", "2025-10-01T10:30.5Z", "+2025-10-01T10Z"),
        *(1759312800, True, {}, []),
    ],
)
def test_what_is_no_timestamp(text: Any) -> None:
    """A date that slips through would be stored in the wrong month."""
    assert timestamp_of(text) == "no usable timestamp"


def test_timestamps_are_plausible_from_2000_to_a_day_after_the_load() -> None:
    """Both ends count."""

    def reason(text: str) -> str | None:
        return read_line(as_line(PLAYED | {"timestamp": text}), LOADED)[0].reason

    for text in ("2000-01-01T00:00:00Z", "2000-01-01T01:00:00+01:00", "2025-10-02T12:00:00.0009Z"):
        assert reason(text) is None
    for text in (
        *("1999-12-31T23:59:59.999Z", "2000-01-01T00:59:59+01:00", "2025-10-02T12:00:00.001Z"),
        *("0000-02-29T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:00"),
    ):
        assert reason(text) == "implausible timestamp"


def test_stored_counts_only_where_there_is_no_timestamp() -> None:
    """A timestamp that cannot be read is not replaced."""
    stored = "2025-10-01T10:00:00.5Z"
    without = {name: value for name, value in PLAYED.items() if name != "timestamp"}
    moment = datetime(2025, 10, 1, 10, 0, 0, 500_000, UTC)
    assert columns(without, stored=stored)["timestamp"] == moment
    for empty in (None, ""):
        assert columns(timestamp=empty, stored=stored)["timestamp"] == moment
    assert columns(stored=stored)["timestamp"] == datetime(2025, 10, 1, tzinfo=UTC)
    assert reading(timestamp="never", stored=stored).reason == "no usable timestamp"
    assert reading(without, stored="").reason == "no usable timestamp"


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
        ('""', None, None),
        ("null", None, None),
        ("0", "0", 0),
        ("true", "true", None),
        ('{ "\u00e9" : [1.50, null, "\\/"] }', '{"\u00e9":[1.5,null,"/"]}', None),
    ],
)
def test_ids_and_integers(source: str, text: str | None, integer: int | None) -> None:
    """A guid may arrive as a number and a number as a string; an empty one says nothing."""
    (as_text,) = read_line(with_extension("page_attempt_guid", source))
    assert as_text.columns["page_attempt_guid"] == text
    (as_integer,) = read_line(with_extension("project_id", source))
    assert as_integer.columns["project_id"] == integer


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((0, 0.0), ("7.25", 7.25), (".5e1", 5.0), ("+1.", 1.0), (-1, -1.0)),
        *((True, None), ("1e400", None), ("nan", None), ("", None), (" 7", None), ([7], None)),
        *(("PT3M15S", 195.0), ("P1DT2H", 93_600.0), ("PT0.5S", 0.5), ("PT0,25S", 0.25)),
        *(("P2W", 1_209_600.0), ("PT1.5H", 5400.0), ("P0Y0M0DT0H0M34.5S", 34.5), ("PT0S", 0.0)),
        *(("P1Y", None), ("P1M", None), ("PT", None), ("P", None), ("P1DT", None), ("-PT1S", None)),
        *(("pt1s", None), ("PT1.5M2S", None), ("PT1S ", None), ("PT1H1H", None), ("3:15", None)),
    ],
)
def test_seconds_are_numbers_or_durations(value: Any, number: float | None) -> None:
    """Years and months have no fixed length."""
    result = extensions(time=value) | {"duration": value}
    assert columns(result=result)["video_time"] == number
    assert columns(result=result)["duration_seconds"] == number


def test_truth_is_true_or_false_as_value_or_word() -> None:
    """A number is neither."""
    outcome = columns(COMPLETED_PART, result={"success": "true", "completion": 1})
    assert (outcome["success"], outcome["completion"]) == (True, None)


def test_an_answer_may_be_empty_but_a_number_may_not() -> None:
    """An empty answer was given; an empty id was not."""
    read = columns(COMPLETED_PART, result={"response": "", "score": {"raw": ""}}, id="")
    assert (read["response"], read["score"], read["statement_id"]) == ("", None, None)


def test_comparison_forgives_only_what_a_database_client_changes() -> None:
    """JSON may be spelled differently where it was JSON, text may not."""
    response = columns(COMPLETED_PART, result={"response": {"a": 1.0, "b": []}})["response"]
    assert same_value("response", response, '{"b": [], "a": 1.0}')
    assert not same_value("response", response, '{"b": [], "a": true}')
    assert not same_value("response", response, None)
    response = columns(COMPLETED_PART, result={"response": '{"a":1}'})["response"]
    assert same_value("response", response, '{"a":1}')
    assert not same_value("response", response, '{"a": 1}')
    timestamp = columns(verb={"id": f"{ADL}verbs/x"}, context=extensions(speed=1))["timestamp"]
    assert same_value("timestamp", timestamp, datetime(2025, 10, 1))
    assert not same_value("timestamp", timestamp, datetime(2025, 10, 1) + timedelta(seconds=1))
    assert not same_value("timestamp", timestamp, "2025-10-01 00:00:00.000")
    assert same_value("score", 0.1, 0.1) and not same_value("score", 0.1, 0.1 + 2**-56)
    assert not same_value("home_page", None, "")

"""The oracle itself: the statements of a line, and what makes them the same event."""

import json
from typing import Any

import pytest

from tests.helpers.compare import without_voided
from tests.helpers.oracle import Reading, read_line, read_lines
from tests.helpers.oracle_statement import ADL, VIDEO, learner_identity
from tests.helpers.statements import PLAYED, as_line, reading

ONE, TWO, THREE = (as_line(PLAYED | {"object": {"id": str(number)}}) for number in (1, 2, 3))
RANDOM = "0190a1b2-c3d4-4e5f-8a6b-0123456789aB"
DERIVED = "0190a1b2-c3d4-5e5f-8a6b-0123456789aB"


def said(line: bytes) -> list[tuple[int, str | None]]:
    """The items of a line: their number, and the object's id or the reason to reject."""
    return [(read.item, read.reason or str(read.columns["video_url"])) for read in read_line(line)]


# Several statements in a line ---------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        ONE + TWO,
        ONE + b" \t" + TWO + b"\r",
        b"[" + ONE + b" , " + TWO + b"]",
        b"[" + ONE + b"]" + TWO,
        b'{"more":"","statements":[' + ONE + b"," + TWO + b"]}",
        b'{"statement":' + ONE + b'}{"message": ' + TWO + b"}",
        b'[{"statement":' + ONE + b'},{"message":' + TWO + b"}]",
        as_line({"message": (b"[" + ONE + b"," + TWO + b"]").decode(), "timestamp": "x"}),
        as_line([{"message": (ONE + TWO).decode()}]),
        b'{"statements":[]}' + ONE + b"[]" + TWO,
    ],
)
def test_a_line_may_have_several_statements(line: bytes) -> None:
    """A list, values one after another, an LRS's answer, envelopes, and those in one another."""
    assert said(line) == [(1, "1"), (2, "2")]


def test_a_line_that_is_the_statement_is_item_0_and_one_in_an_envelope_item_1() -> None:
    """White space, NUL and a byte order mark around it are no part of it."""
    for line in (ONE, b"\xef\xbb\xbf " + ONE + b"\r\0\0"):
        assert said(line) == [(0, "1")]
    for line in (b"[" + ONE + b"]", b'{"statement":' + ONE + b"}"):
        assert said(line) == [(1, "1")]


def test_a_statement_with_a_member_of_an_envelope_is_a_statement() -> None:
    """It has an actor and a verb itself."""
    line = as_line(PLAYED | {"object": {"id": "own"}, "message": TWO.decode(), "statements": []})
    assert said(line) == [(0, "own")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (ONE + TWO + THREE[:-1], [(1, "1"), (2, "2"), (3, "not JSON")]),
        (ONE + b"," + TWO, [(1, "1"), (2, "not JSON")]),
        (ONE + b'{"a":\xff}' + TWO, [(0, "not JSON")]),
        (ONE + b" 5", [(1, "1"), (2, "not JSON")]),
        (b"[" + ONE + b"," + TWO, [(1, "1"), (2, "2")]),
        (b"[" + ONE + b"," + TWO[:-1], [(1, "1"), (2, "not JSON")]),
        (b'{"statements":[' + ONE + b',{"a', [(1, "1"), (2, "not JSON")]),
        (b"[", [(0, "not JSON")]),
        (b"[" + ONE + b",5,[" + TWO + b"]]", [(1, "1"), (2, "not an object"), (3, "2")]),
        (as_line({"message": ONE.decode() + "x"}), [(1, "1"), (2, "not JSON")]),
        (b'{"message":"hello"}', [(1, "not JSON")]),
        (b'{"statements":{}}', [(0, "no usable timestamp")]),
        (b'{"statement":"x"}', [(0, "no usable timestamp")]),
    ],
)
def test_good_values_before_a_broken_rest_count(line: bytes, expected: list) -> None:
    """The rest is one reject."""
    assert said(line) == expected


def test_blank_lines_have_no_statement() -> None:
    """White space, NUL, and lists of nothing."""
    blank = [b"", b" \t\r\v\f", b"\0\0 \0", b"\xef\xbb\xbf", b'{"statements":[]}', b"[]"]
    assert read_lines([*blank, b'{"message":" "}', b"[] []"]) == [[]] * 8


# One event once -----------------------------------------------------------------------------


def same_event(one: Reading, other: Reading) -> bool:
    return one.identity == other.identity


@pytest.mark.parametrize(
    "changes",
    [
        {"id": RANDOM.upper()},
        {"timestamp": "2025-10-01T00:59:59.999Z"},
        {"actor": {"mbox": "mailto:a@b"}},
        {"stored": "2025-10-01T00:00:01Z", "authority": {"mbox": "mailto:lrs@b"}},
    ],
)
def test_a_random_id_is_one_event_within_an_hour(changes: dict[str, Any]) -> None:
    """An LRS rewrites members and rounds times."""
    assert same_event(reading(id=RANDOM), reading(**{"id": RANDOM, **changes}))


def test_a_random_id_of_another_hour_is_another_event() -> None:
    """The hour is that of UTC."""
    one = reading(id=RANDOM)
    assert not same_event(one, reading(id=RANDOM, timestamp="2025-10-01T01:00:00Z"))
    assert same_event(one, reading(id=RANDOM, timestamp="2025-10-01T02:00:00+02:00"))


@pytest.mark.parametrize("kind", [DERIVED, "not-a-uuid", RANDOM.replace("-8", "-7"), 7])
def test_another_id_is_shared_by_different_statements(kind: Any) -> None:
    """Its learner, verb, object and time tell them apart."""
    statement = PLAYED | {"id": kind, "object": {"id": "https://a/1"}}
    verb = {"id": PLAYED["verb"]["id"].replace("https", "http")}
    same = {"result": {}, "timestamp": "2025-10-01 00:00:00.0009"}
    assert same_event(reading(statement), reading(statement, verb=verb, **same))
    for change in (
        {"actor": {"account": {"name": 8}}},
        {"actor": {"account": {"name": 7, "homePage": "h"}}},
        {"verb": {"id": f"{VIDEO}verbs/paused"}},
        {"object": {"id": "http://a/1"}},
        {"timestamp": "2025-10-01T00:00:00.001Z"},
    ):
        assert not same_event(reading(statement), reading(statement, **change))


def test_without_an_id_the_bytes_are_the_event() -> None:
    """From the first bracket to the last; where they are in a line does not matter."""
    same = [ONE, ONE + b"\r", b"[" + ONE + b"]", TWO + ONE, as_line({"message": ONE.decode()})]
    assert {read_line(line)[-1].identity for line in same} == {("text", ONE)}
    for empty in (None, ""):
        text = json.dumps(PLAYED | {"id": empty}).encode()
        assert read_line(text)[0].identity == ("text", text)
    spaced = ONE.replace(b": ", b":")
    assert read_line(spaced)[0].identity == ("text", spaced)
    escaped = rb'{"a" : "\ud800", "b": 1.0}'
    assert read_line(b"[" + escaped + b"]")[0].identity == ("text", escaped)


# Learners and voiding -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (
            {"account": {"homePage": "HTTPS://Lms.Example.org/Path", "name": "Ann"}, "mbox": "m"},
            ("account", "https://lms.example.org/Path", "Ann"),
        ),
        ({"account": {"homePage": "Campus", "name": 7.0}}, ("account", "Campus", "7")),
        ({"account": {"name": ""}, "mbox": "mailto:Ann@B.org"}, ("mbox", "mailto:ann@b.org")),
        ({"mbox_sha1sum": "ABC0", "openid": "x"}, ("mbox_sha1sum", "abc0")),
        ({"openid": "Http://Ann.Example?Q=A"}, ("openid", "http://ann.example?Q=A")),
        ({"objectType": "Group", "mbox": "mailto:G@b", "member": []}, ("mbox", "mailto:g@b")),
        ({"objectType": "Group", "member": [{"mbox": "mailto:a@b"}]}, None),
        ("mailto:a@b", None),
    ],
)
def test_a_learner_is_the_first_identifier(actor: Any, expected: tuple | None) -> None:
    """Addresses and hosts are in lower case, names and paths as they are."""
    assert learner_identity(PLAYED | {"actor": actor}) == expected


def test_a_voided_statement_is_in_no_event_table() -> None:
    """In any case of its id and any order; a voided voiding stays."""
    voided = {"objectType": "StatementRef", "id": RANDOM.upper()}
    voiding = reading(id="v", verb={"id": f"{ADL}verbs/voided"}, object=voided)
    assert (voiding.family, voiding.reason) == ("voiding", None)
    assert voiding.columns["voided_statement_id"] == RANDOM.lower()
    again = reading(verb={"id": f"{ADL}verbs/voided"}, object=voided | {"id": "v"})
    kept = reading(id=DERIVED)
    expected = dict(enumerate([reading(id=RANDOM), kept, voiding, again]))
    assert list(without_voided(expected)) == [1, 2, 3]

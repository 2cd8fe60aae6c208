"""The JSON Schemas of docs/schemas accept what the pipeline accepts, and nothing else that a schema
can tell. Statements are judged by the oracle, with which other tests compare the parser."""

import gzip
import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from loader.bulk.selection import KEY_TIME
from loader.bulk.selection import ROOT as ROOT_OF_KEYS
from loader.errors import PermanentError, SettingsError
from loader.events.messages import Bundle, read
from loader.files import bundle_key
from loader.objects import S3Object, check_readable
from tests.chaos.fuzz_lines import corpus
from tests.chaos.odd_values import STATEMENTS, TIMES
from tests.helpers.oracle import Reading, read_line
from tests.helpers.oracle_json import room_to_recurse
from tests.helpers.oracle_lines import items_of
from tests.helpers.paths import CASES, EVENTS, ROOT, SHARED
from tests.helpers.small_database import statement

SCHEMAS = ROOT / "docs" / "schemas"

# Reasons that a schema cannot express: of a time that is written well, whether it is plausible and
# whether the month has the day.
NOT_EXPRESSIBLE = ("implausible timestamp", "no usable timestamp")


@cache
def schema(name: str) -> Draft202012Validator:
    """A schema of docs/schemas, itself checked."""
    content = json.loads((SCHEMAS / f"{name}.json").read_text())
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def lines() -> Iterator[bytes]:
    """Lines of all tests: fuzzed ones, odd times, and the shared files where they are."""
    yield from corpus(random.Random(11), 1000)
    yield from (json.dumps(one).encode() for one in STATEMENTS)
    for member in ("timestamp", "stored"):
        for time in [*TIMES, None, 5, {}]:
            changes = {"timestamp": None, member: time}
            yield statement(**changes).encode()
    paths = [*SHARED.glob("*.jsonl*"), *CASES.glob("*.jsonl*")] if SHARED.is_dir() else []
    for path in paths:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        yield from content.split(b"\n")[:300]


def judged() -> Iterator[tuple[Any, Reading]]:
    """Statements, each with what the oracle says."""
    for line in lines():
        readings = read_line(line)
        with room_to_recurse():
            items = items_of(line)
        for item, reading in zip(items, readings, strict=True):
            if not item.broken:
                yield item.value, reading


def test_a_statement_validates_exactly_if_it_is_accepted():
    validator, accepted, rejected, beyond = schema("statement"), 0, 0, 0
    for value, reading in judged():
        is_valid = validator.is_valid(value)
        if reading.reason is None:
            accepted += 1
            assert is_valid, value
        elif reading.reason not in NOT_EXPRESSIBLE:
            rejected += 1
            assert not is_valid, (reading.reason, value)
        else:
            beyond += is_valid
    assert accepted > 500 and rejected > 50 and beyond > 5


@pytest.mark.parametrize(
    "text",
    ["2025-10-01", "24:00", "1759312800", "2025-10-01T24:00:00Z", "x", "2025-10-01T10:00:00Z\n"],
)
def test_a_text_that_is_no_time_does_not_validate(text):
    assert not schema("statement").is_valid(json.loads(statement(timestamp=text)))


@pytest.mark.parametrize("name", [float("inf"), float("-inf")])
def test_a_name_out_of_the_range_of_numbers_does_not_validate(name):
    value = json.loads(statement(actor={"account": {"name": name}}))
    assert not schema("statement").is_valid(value)
    assert read_line(json.dumps(value).replace("Infinity", "1e999").encode())[0].reason


BODY = {"body": "{}\n{}"}
BUNDLES = [
    json.loads((EVENTS / "bundle.json").read_text()),
    BODY,
    BODY | {"key": "section/1/video/a.jsonl"},
    BODY | {"bundle_id": 7, "partition_id": "x"},
    BODY | {"bundle_id": 7.0},
    BODY | {"bundle_id": ".."},
    BODY | {"key": "a/..b/.c.jsonl"},
]
NO_BUNDLES = [
    {"body": [{"verb": {}}]},
    {"body": None},
    BODY | {"key": 5},
    BODY | {"key": ""},
    BODY | {"key": "x" * 1025},
    BODY | {"bundle_id": "a/b"},
    BODY | {"bundle_id": "a", "category": None},
    BODY | {"bundle_id": True},
    BODY | {"bundle_id": 7.5},
    *(BODY | {"key": key} for key in ("a//b.jsonl", "/a", "a/../b.jsonl", "./b", "..", "a/..")),
    *(BODY | {"key": key} for key in ("x\ny.jsonl", "x\0y.jsonl", "x\r", "a.jsonl\n", "dir/")),
    *(BODY | {"bundle_id": "a", "partition": part} for part in ("", ".", "..", "a\n")),
    BODY | {"bundle_id": "a", "partition_id": ".."},
    BODY | {"bundle_id": "a\n"},
]


@pytest.mark.parametrize("event", BUNDLES)
def test_a_bundle_event_validates(event):
    request = read(event)
    assert isinstance(request, Bundle)
    check_readable(S3Object("", request.key or "a"), {""})
    assert schema("bundle_event").is_valid(event)


@pytest.mark.parametrize("event", NO_BUNDLES)
def test_an_event_that_is_refused_does_not_validate(event):
    with pytest.raises(PermanentError):
        check_readable(S3Object("", read(event).key), {""})
    assert not schema("bundle_event").is_valid(event)


@pytest.mark.parametrize("part", ["partition", "partition_id", "category"])
def test_a_part_of_a_key_that_is_ignored_does_not_validate(part):
    event = BODY | {part: "x"}
    assert read(event).key == ""
    assert not schema("bundle_event").is_valid(event)


def test_keys_of_the_layout_validate_and_are_understood():
    for section, suffix in ((0, ".jsonl"), (2161, ".jsonl.gz")):
        key = bundle_key(section, "video", datetime.now(UTC), "a" * 32, suffix)
        assert schema("object_key").is_valid(key)
        check_readable(S3Object("lake", key), {"lake"}, ROOT_OF_KEYS)
        # By the default prefix of a stack, it is not allowed.
        assert not schema("object_key").is_valid(f"exports/{key}")
        with pytest.raises(SettingsError):
            check_readable(S3Object("lake", f"exports/{key}"), {"lake"}, ROOT_OF_KEYS)


@pytest.mark.parametrize(
    "key",
    [
        "section/12345678901234567890/video/2025-10-01T00-00-15Z_" + "0" * 32 + ".jsonl",
        "section/1/video/2025-10-01T29-00-15Z_" + "0" * 32 + ".jsonl",
        "section/1/video/2025-10-01T00-00-15Z_" + "0" * 32 + ".jsonl\n",
        "section/1/video/2025-10-01T00-00-15Z_" + "0" * 32 + ".json",
    ],
)
def test_keys_of_another_layout_do_not_validate(key):
    assert not schema("object_key").is_valid(key)


@pytest.mark.parametrize(
    "folder", ["/section/1", "a//section/1", "../section/1", "a/./section/1", "a\nb/section/1"]
)
def test_keys_that_cannot_be_read_do_not_validate(folder):
    name = "2025-10-01T00-00-15Z_" + "0" * 32 + ".jsonl"
    assert schema("object_key").is_valid(f"section/1/video/{name}")
    with pytest.raises(PermanentError):
        check_readable(S3Object("lake", f"{folder}/video/{name}"), {"lake"})
    assert not schema("object_key").is_valid(f"{folder}/video/{name}")


@pytest.mark.parametrize("name", ["statement", "object_key"])
def test_examples_validate(name):
    assert all(schema(name).is_valid(one) for one in schema(name).schema["examples"])


def test_the_time_in_a_key_is_what_backfill_reads():
    [example] = schema("object_key").schema["examples"]
    assert re.search(KEY_TIME, example)[1] == "2025-10-01"

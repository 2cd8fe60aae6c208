"""Random and hostile object keys, by every route: each loads its own lines or is refused by name.

    XAPI_CHAOS=1 XAPI_CHAOS_SEED=7 python -m pytest tests/chaos/test_fuzz.py    # 10,000 keys

Every object has lines that no other object has, so a line under another key is noticed.
"""

import gzip
import io
import json
import random
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus

import boto3
from moto.s3.models import s3_backends

from loader.clickhouse.connect import Warehouse
from loader.events.trigger import Trigger
from loader.log import Log
from loader.pipeline import Pipeline
from loader.settings import Settings

ROUTES = ("direct", "eventbridge", "load", "backfill")

# Records of one event of a queue; as many as `s3()` takes paths.
BATCH = 1000

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
PATTERNS = list("{}*?[]!~%+&=#'\"\\ ,.:;@$`|<>^-_")
WORDS = [
    *("{1..3}", "{a,b}", "**", "*", "?", "[a-c]", "a%20b", "a b", "a+b", "%2F", "%2e%2e", "%00"),
    *("%25", "%", "%zz", "date=2025-01-01", "x=1", "=", "NULL", "\\N", "\\n", "\\", "\\'", "''"),
    *("a", "A", "b", "..x", "x..", "...", ".hidden", "~", "$HOME", "{path:String}", "@", "::"),
    *("_path", "archive.zip", "x.tar", "naïve", "nai\u0308ve", "日本語", "עברית", "\u202eabc"),
    *(
        "a\u200bb",
        "\ufeff",
        "\u00a0",
        "\u2028",
        "😀",
        "👩‍👩‍👧",
        "\U0001d4b3",
        "\U000e0041",
        "ﬁ",
        "İ",
    ),
    *("\x01", "\x1f", "\x7f", "\x85", "\t", "\x0b"),
]
# Keys that must be refused, by what they hold.
UNREADABLE = ["\n", "\r", "\0", "//", "/../", "/./"]

SAMPLE = """
select key, line
from {raw:Identifier}.statements
where bucket = {bucket:String} and (load_id, bucket, key) in (
    select load_id, bucket, key from {raw:Identifier}.loads where outcome = 'committed'
)
"""

LEDGER = """
select key, outcome, rows, error
from {raw:Identifier}.loads
where bucket = {bucket:String}
"""


@dataclass
class Report:
    """What became of a corpus.

    Attributes:
        outcomes: keys by route and outcome.
        faults: what should not have happened; empty if all is well.
    """

    seed: int
    keys: int
    outcomes: Counter[str]
    faults: list[str]


def readable(key: str) -> bool:
    """Whether `s3()` can read a key: said again here, independently of loader/objects.py."""
    folders = ("/" + key).split("/")[1:]
    return not (
        any(mark in key for mark in "\n\r\0")
        or any(folder in (".", "..") for folder in folders)
        or any(folder == "" for folder in folders)
    )


def keys(dice: random.Random, count: int) -> list[str]:
    """Different keys of at most 1,024 bytes: families of look-alikes, and random ones."""
    found: dict[str, None] = {}
    while len(found) < count:
        base = _key(dice)
        for key in (base, *_look_alikes(dice, base)):
            for suffix in (".jsonl", ".jsonl.gz") if dice.random() < 0.05 else (".jsonl",):
                whole = key + suffix
                if 0 < len(whole.encode()) <= 1024:
                    found[whole] = None
    return list(found)[:count]


def _key(dice: random.Random) -> str:
    folders = [_name(dice) for _ in range(dice.choice([0, 1, 2, 3, 3, 3, 6]))]
    if dice.random() < 0.5:
        folders = ["section", str(dice.randint(0, 9)), dice.choice(["video", "dáta=1"])]
    name = _name(dice)
    if dice.random() < 0.03:
        # Up to the longest key that S3 has, in characters of one and of several bytes.
        sign = dice.choice(["x", "é", "{", "😀", "%", "'"])
        room = 1024 - len("/".join([*folders, name, ""]).encode()) - len(".jsonl")
        name += sign * (room // len(sign.encode()))
    key = "/".join([*folders, name])
    if dice.random() < 0.04:
        at = dice.randrange(len(key) + 1)
        key = key[:at] + dice.choice(UNREADABLE) + key[at:]
    return key


def _name(dice: random.Random) -> str:
    kind = dice.randrange(4)
    if kind == 0:
        return dice.choice(WORDS)
    if kind == 1:
        return "".join(dice.choice(PATTERNS) for _ in range(dice.randint(1, 8)))
    if kind == 2:
        return dice.choice(WORDS) + dice.choice(PATTERNS) + dice.choice(WORDS)
    letters = "".join(dice.choice(PRINTABLE) for _ in range(dice.randint(1, 12)))
    return letters.replace("/", "") or "x"


def _look_alikes(dice: random.Random, key: str) -> list[str]:
    """Keys that a wrong decoding, normal form, case or pattern would take for this one."""
    others = [
        key.swapcase(),
        key + dice.choice(["x", " ", "?", "*", ".", "%20"]),
        key[:-1],
        unicodedata.normalize("NFD", key),
        unicodedata.normalize("NFC", key),
        quote_plus(key, safe="/"),
        key.replace(" ", "+"),
        key.replace("+", " "),
        key.replace("a", "?"),
        key.replace("\\", "/"),
    ]
    return dice.sample(others, 3)


def body(number: int) -> bytes:
    """The lines of an object: its number, once to three times."""
    return b"".join(b'{"object":%d,"line":%d}\n' % (number, n) for n in range(1 + number % 3))


def run(seed: int, count: int) -> Report:
    """Load a corpus through all routes into the database of the environment.

    Args:
        seed: of the keys.
        count: of the keys, over all routes.

    Returns:
        What became of them.
    """
    dice = random.Random(seed)
    report = Report(seed, count, Counter(), [])
    corpus = keys(dice, count)
    dice.shuffle(corpus)
    for at, route in enumerate(ROUTES):
        bucket = f"fuzz-{route}-{uuid.uuid4().hex[:8]}"
        numbers = dict(zip(corpus[at :: len(ROUTES)], range(at, count, len(ROUTES)), strict=True))
        _put(bucket, numbers)
        settings = replace(Settings.from_env(), bucket=bucket, allowed_buckets=(bucket,))
        with Pipeline(settings) as pipeline:
            pipeline.init()
            refused = _BY_ROUTE[route](pipeline, bucket, list(numbers))
            _check(report, route, pipeline.warehouse, bucket, numbers, refused)
    return report


def _put(bucket: str, numbers: dict[str, int]) -> None:
    """Write objects behind the back of S3's HTTP server, which is slow and refuses some keys."""
    boto3.client("s3").create_bucket(Bucket=bucket)
    backend = s3_backends["123456789012"]["aws"]
    for key, number in numbers.items():
        lines = body(number)
        backend.put_object(bucket, key, gzip.compress(lines) if key.endswith(".gz") else lines)


# What a route said of the keys that it did not load, by key.
Refused = dict[str, str]


def _load(pipeline: Pipeline, bucket: str, names: list[str]) -> Refused:
    summary = pipeline.load(*(f"s3://{bucket}/{key}" for key in names))
    return {failure.item.key: failure.error for failure in summary.failed}


def _backfill(pipeline: Pipeline, bucket: str, names: list[str]) -> Refused:
    summary = pipeline.backfill(pipeline.plan(f"s3://{bucket}/"))
    return {failure.item.key: failure.error for failure in summary.failed}


def _notify(record: Callable[[str, str], dict[str, Any]]):
    """A route of messages: each names one key; those handed back are not loaded."""

    def deliver(pipeline: Pipeline, bucket: str, names: list[str]) -> Refused:
        output = io.StringIO()
        trigger = Trigger(pipeline.settings, lambda _: pipeline.warehouse, Log("INFO", output))
        failed: set[str] = set()
        for at in range(0, len(names), BATCH):
            records = [
                {
                    "messageId": str(at + number),
                    "eventSource": "aws:sqs",
                    "body": json.dumps(record(bucket, key)),
                }
                for number, key in enumerate(names[at : at + BATCH])
            ]
            answer = trigger.answer({"Records": records})
            failed |= {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        said = {
            event["message_id"]: " ".join(event["error"])
            for event in map(json.loads, output.getvalue().splitlines())
            if event.get("event") in ("message_rejected", "unknown_message")
        }
        return {names[int(number)]: said.get(number, "") for number in failed}

    return deliver


def _direct(bucket: str, key: str) -> dict[str, Any]:
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}
    return {"Records": [record]}


def _eventbridge(bucket: str, key: str) -> dict[str, Any]:
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}


_BY_ROUTE: dict[str, Callable[[Pipeline, str, list[str]], Refused]] = {
    "direct": _notify(_direct),
    "eventbridge": _notify(_eventbridge),
    "load": _load,
    "backfill": _backfill,
}


def _check(
    report: Report,
    route: str,
    warehouse: Warehouse,
    bucket: str,
    numbers: dict[str, int],
    refused: Refused,
) -> None:
    """Compare what is visible with what each object holds."""
    visible: dict[str, list[str]] = {}
    for row in warehouse.query(SAMPLE, bucket=bucket):
        visible.setdefault(row["key"], []).append(row["line"])
    ledger = {row["key"]: row for row in warehouse.query(LEDGER, bucket=bucket)}
    for key in visible.keys() - numbers.keys():
        report.faults.append(f"{route}: lines of {key!r}, which is no object")
    for key, number in numbers.items():
        expected = body(number).decode().splitlines()
        row = ledger.get(key, {"outcome": "none", "rows": 0, "error": ""})
        outcome = "loaded" if row["outcome"] == "committed" else "refused"
        report.outcomes[f"{route} {outcome}"] += 1
        if outcome == "loaded":
            right = sorted(visible.get(key, [])) == expected and row["rows"] == len(expected)
            right = right and key not in refused and readable(key)
        else:
            # By name: as it is, or written so that it fits on a line.
            named = repr(f"s3://{bucket}/{key}")[1:-1]
            named_in_error = named in row["error"] and "cannot be read" in row["error"]
            right = not readable(key) and key not in visible and named_in_error and refused.get(key)
        if not right:
            report.faults.append(
                f"{route}: {key!r}: {row}, {len(visible.get(key, []))} of {len(expected)} lines "
                f"visible, said {refused.get(key)!r}"
            )

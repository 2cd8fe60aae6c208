"""What the loader does for a ClickHouse that numbers no lines and lists what a glob covers.

The engine here is the newest, which understands the older forms, too; `make engines` runs the
pipeline on the older engines themselves.
"""

import gzip
from collections import Counter
from uuid import UUID

import boto3
import pytest

from loader.clickhouse.errors import from_answer
from loader.clickhouse.safety import OLDEST_ENGINE
from loader.errors import PermanentError, RetryableError
from loader.load import load
from loader.objects import S3Object, pattern
from loader.settings import Settings
from loader.sources import COUNTED_SINCE, PATHS_SINCE, S3Source
from tests.helpers.bulk_lake import counting_requests, fill

NUMBERS = """
select key, count() as lines, countIf(JSONExtractUInt(line, 'n') = source_line) as right
from {raw:Identifier}.statements
group by key
order by key
"""


def numbered(lines: int, padding: int = 0) -> bytes:
    """Lines that tell their own number."""
    return b"\n".join(b'{"n":%d,"x":"%s"}' % (n, b"x" * padding) for n in range(1, lines + 1))


@pytest.fixture(
    params=[OLDEST_ENGINE, PATHS_SINCE], ids=lambda version: f"{version[0]}.{version[1]}"
)
def older(request, warehouse):
    """A warehouse that is taken for one of before `_row_number`; the oldest lists, too."""
    assert request.param < COUNTED_SINCE
    warehouse.version = request.param
    return warehouse


def outcomes_of(warehouse, bucket, keys) -> dict[str, tuple[str, int]]:
    """Load these keys: what became of each, and its lines."""
    items = [S3Object(bucket, key) for key in keys]
    batches = load(warehouse, Settings.from_env(), items)
    return {one.item.key: (one.outcome, one.rows) for batch in batches for one in batch}


def test_lines_have_their_number_also_where_many_blocks_of_many_objects_are_read(older, bucket):
    # Each object has several blocks of 65,409 lines, and all are read at a time.
    bodies = {f"section/1/video/{name}.jsonl": numbered(140_000 + name, 20) for name in range(4)}
    bodies |= {f"section/2/video/{name}.jsonl": numbered(name) for name in range(1, 40)}
    bodies["section/2/video/packed.jsonl.gz"] = gzip.compress(numbered(70_000))
    fill(bucket, bodies)

    found = outcomes_of(older, bucket, bodies)

    lines = {key: 140_000 + name for name, key in enumerate(list(bodies)[:4])}
    lines |= {f"section/2/video/{name}.jsonl": name for name in range(1, 40)}
    lines["section/2/video/packed.jsonl.gz"] = 70_000
    assert found == {key: ("committed", count) for key, count in lines.items()}
    rows = {row["key"]: (row["lines"], row["right"]) for row in older.query(NUMBERS)}
    assert rows == {key: (count, count) for key, count in lines.items()}


def test_missing_objects_do_not_keep_others_from_loading(older, bucket, put):
    put("section/1/video/a.jsonl", numbered(2))
    put("section/1/video/empty.jsonl", b"")
    put("section/1/video/{a,b} 1.jsonl", numbered(3))
    keys = ["a.jsonl", "empty.jsonl", "gone.jsonl", "{a,b} 1.jsonl"]

    found = outcomes_of(older, bucket, [f"section/1/video/{key}" for key in keys])

    assert [found[f"section/1/video/{key}"] for key in keys] == [
        ("committed", 2),
        ("committed", 0),
        ("failed", 0),
        ("committed", 3),
    ]


def test_a_key_that_vanishes_after_its_head_request_fails_alone(older, bucket, put, monkeypatch):
    for name in ("a", "b", "c"):
        put(f"section/1/video/{name}.jsonl", numbered(2))
    insert = S3Source.insert

    def too_late(source: S3Source, batch: list[S3Object], load_id: UUID, *more: str) -> None:
        boto3.client("s3").delete_object(Bucket=bucket, Key="section/1/video/b.jsonl")
        insert(source, batch, load_id, *more)

    monkeypatch.setattr(S3Source, "insert", too_late)
    found = outcomes_of(older, bucket, [f"section/1/video/{name}.jsonl" for name in "abc"])

    assert [found[f"section/1/video/{name}.jsonl"][0] for name in "abc"] == [
        "committed",
        "failed",
        "committed",
    ]


def test_plain_keys_are_requested_one_by_one_and_nothing_is_listed(warehouse, bucket):
    warehouse.version = OLDEST_ENGINE
    keys = [f"section/{name}/video/2025-10-01T00-00-{name:02}.1Z_0CC1.jsonl" for name in range(20)]
    fill(bucket, {key: numbered(2) for key in keys} | {"section/1/video/other.jsonl": b"{}"})

    with counting_requests() as requests:
        found = outcomes_of(warehouse, bucket, keys)

    assert set(found.values()) == {("committed", 2)}
    assert Counter(key for method, key in requests if method == "GET") == Counter(keys)
    assert {key for method, key in requests if method == "HEAD"} == set(keys)


@pytest.mark.parametrize("key", ["a b.jsonl", "a+b.jsonl", "a%20.jsonl", "{a}.jsonl", "é.jsonl"])
def test_one_odd_key_makes_the_whole_batch_a_glob(key):
    items = [S3Object("lake", "section/plain.jsonl"), S3Object("lake", f"section/{key}")]
    assert pattern(items, named=True) == pattern(items) == "lake/*/*"
    assert pattern(items[:1], named=True) == "lake/section/plain.jsonl"


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("Poco::Net::MessageException: Malformed message", RetryableError),
        ("std::bad_function_call", PermanentError),
    ],
)
def test_a_broken_connection_to_s3_is_retryable(cause, kind):
    assert type(from_answer(f"Code: 1001. DB::Exception: {cause}. (STD_EXCEPTION)")) is kind

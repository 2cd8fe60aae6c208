"""Loading: every kind of object and key gets what it should, exactly once."""

import gzip
from collections import Counter
from pathlib import Path

import boto3
import pytest

from loader.clickhouse.connect import open_warehouse
from loader.errors import UnavailableError
from loader.files import local_objects
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from loader.sources import threads

LINE = b'{"verb":{"id":"x"}}'

RAW = """
select key, source_line, line
from {raw:Identifier}.statements
order by key, source_line
"""

LEDGER = """
select bucket, key, etag, rows, outcome, error, mode
from {raw:Identifier}.loads
order by key, committed_at
"""


def load_all(warehouse, items, **options):
    """Load and return the outcomes by key."""
    outcomes = [
        outcome
        for batch in load(warehouse, Settings.from_env(), items, **options)
        for outcome in batch
    ]
    return {outcome.item.key: outcome for outcome in outcomes}


def lines_of(warehouse) -> Counter:
    """How many lines raw holds of each key."""
    return Counter(row["key"] for row in warehouse.query(RAW))


@pytest.mark.parametrize(
    "key",
    [
        "section/1/video/plain.jsonl",
        "section/1/video/with space.jsonl",
        "section/1/video/a+b.jsonl",
        "section/1/video/100%.jsonl",
        "section/1/video/a%20b.jsonl",
        'section/1/video/it\'s "quoted".jsonl',
        "section/1/video/back\\slash.jsonl",
        "section/1/video/日本-é.jsonl",
        "section/1/video/{1,2}.jsonl",
        "section/1/video/what?.jsonl",
        "section/1/video/star*.jsonl",
        "section/1/video/**{a}.jsonl",
        "section/1/video/a=b&c#d;e.jsonl",
        "section/a=1/video/hive.jsonl",
        "section/1/video/tab\there.jsonl",
        "section/1/video/.hidden.jsonl",
        "top.jsonl",
    ],
)
def test_a_key_is_read_exactly(warehouse, put, bucket, key):
    put(key, LINE + b"\n" + LINE)
    # Neighbours that a glob made of the key would match.
    neighbours = ["section/1/video/1.jsonl", "section/1/video/whatX.jsonl", "topX.jsonl"]
    for neighbour in neighbours:
        put(neighbour, b"wrong")

    outcome = load_all(warehouse, [S3Object(bucket, key)])[key]

    assert (outcome.outcome, outcome.rows, outcome.error) == ("committed", 2, "")
    assert lines_of(warehouse) == {key: 2}


@pytest.mark.parametrize(
    ("key", "body", "outcome", "rows", "error"),
    [
        ("a/empty.jsonl", b"", "committed", 0, ""),
        ("a/empty.jsonl.gz", gzip.compress(b"", mtime=0), "committed", 0, ""),
        ("a/no-newline-at-end.jsonl", LINE + b"\n" + LINE, "committed", 2, ""),
        ("a/newline-at-end.jsonl", LINE + b"\n", "committed", 1, ""),
        ("a/bad-line.jsonl", LINE + b"\n{oops\n\xff\xfe\n" + LINE, "committed", 4, ""),
        ("a/gzip.jsonl.gz", gzip.compress(LINE + b"\n" + LINE, mtime=0), "committed", 2, ""),
        ("a/no-gzip.jsonl.gz", LINE, "failed", 0, "inflate failed"),
        (
            "a/cut-off.jsonl.gz",
            gzip.compress(LINE * 999, mtime=0)[:-12],
            "failed",
            0,
            "inflate failed",
        ),
        ("a/missing.jsonl", None, "failed", 0, "no such object"),
        ("a//double.jsonl", LINE, "failed", 0, "cannot be read by ClickHouse"),
        ("a/line\nbreak.jsonl", None, "failed", 0, "cannot be read by ClickHouse"),
    ],
)
def test_an_object_gets_what_it_should_and_its_neighbour_loads(
    warehouse, put, bucket, key, body, outcome, rows, error
):
    put("a/good.jsonl", LINE)
    if body is not None:
        put(key, body)

    outcomes = load_all(warehouse, [S3Object(bucket, key), S3Object(bucket, "a/good.jsonl")])

    assert (outcomes[key].outcome, outcomes[key].rows) == (outcome, rows)
    assert error in outcomes[key].error
    assert outcomes["a/good.jsonl"].outcome == "committed"
    ledger = {row["key"]: row for row in warehouse.query(LEDGER)}
    assert ledger[key]["outcome"] == outcome
    assert ledger[key]["rows"] == rows
    assert error in ledger[key]["error"]


def test_a_bucket_that_is_not_allowed_is_not_read(warehouse, put, bucket, monkeypatch):
    put("a.jsonl", LINE)
    monkeypatch.setenv("XAPI_ALLOWED_BUCKETS", "another")
    outcome = load_all(warehouse, [S3Object(bucket, "a.jsonl")])["a.jsonl"]
    assert outcome.outcome == "failed"
    assert f"bucket '{bucket}' is not allowed" in outcome.error
    assert lines_of(warehouse) == {}


def test_the_same_object_twice_loads_once(warehouse, put, bucket):
    put("a.jsonl", LINE)
    twice = [S3Object(bucket, "a.jsonl")] * 2
    assert load_all(warehouse, twice)["a.jsonl"].outcome == "committed"
    assert load_all(warehouse, twice)["a.jsonl"].outcome == "skipped"
    assert lines_of(warehouse) == {"a.jsonl": 1}


def test_an_overwritten_object_is_a_new_version(warehouse, put, bucket):
    put("a.jsonl", LINE)
    load_all(warehouse, [S3Object(bucket, "a.jsonl")])
    put("a.jsonl", LINE + b"\n" + LINE)
    assert load_all(warehouse, [S3Object(bucket, "a.jsonl")])["a.jsonl"].rows == 2
    assert len({row["etag"] for row in warehouse.query(LEDGER)}) == 2


def test_with_policy_ignore_the_first_version_stays(warehouse, put, bucket):
    put("a.jsonl", LINE)
    load_all(warehouse, [S3Object(bucket, "a.jsonl")])
    put("a.jsonl", LINE + b"\n" + LINE)
    outcome = load_all(warehouse, [S3Object(bucket, "a.jsonl")], policy="ignore")["a.jsonl"]
    assert outcome.outcome == "ignored"
    assert lines_of(warehouse) == {"a.jsonl": 1}


def test_many_objects_load_in_one_insert(warehouse, put, bucket):
    items = [S3Object(bucket, f"a/{number}.jsonl") for number in range(50)]
    for item in items:
        put(item.key, LINE)
    outcomes = load_all(warehouse, items).values()
    assert len({outcome.load_id for outcome in outcomes}) == 1
    parts = warehouse.query(
        "select count() as parts from system.parts "
        "where database = {raw:String} and table = 'statements' and active"
    )
    assert parts == [{"parts": 1}]


def test_objects_of_unknown_size_are_bounded_too(warehouse, put, bucket):
    items = [S3Object(bucket, f"section/{number}/video/x.jsonl") for number in range(5)]
    for item in items:
        put(item.key, LINE)
    outcomes = load_all(warehouse, items, most_bytes=2 * len(LINE)).values()
    assert {outcome.outcome for outcome in outcomes} == {"committed"}
    assert sorted(Counter(outcome.load_id for outcome in outcomes).values()) == [1, 2, 2]


@pytest.mark.parametrize(
    ("megabytes", "at_a_time"), [(0, 16), (0.02, 16), (16, 16), (32, 8), (48, 5), (5000, 4)]
)
def test_fewer_large_objects_are_read_at_a_time(megabytes, at_a_time):
    size = int(megabytes * 1024 * 1024)
    assert threads([S3Object("b", "k", "v", 0), S3Object("b", "l", "v", 2 * size)]) == at_a_time


def test_local_files_load_like_objects(warehouse, tmp_path: Path):
    folder = tmp_path / "drop {1} *"
    (folder / "deep").mkdir(parents=True)
    (folder / "a b.jsonl").write_bytes(LINE + b"\n" + LINE)
    (folder / "a?b.jsonl").write_bytes(LINE)
    (folder / "deep" / "c.jsonl.gz").write_bytes(gzip.compress(LINE))
    (folder / "not-this.txt").write_bytes(LINE)

    outcomes = load_all(warehouse, local_objects(folder), mode="file")

    found = {Path(key).name: outcome.rows for key, outcome in outcomes.items()}
    assert found == {"a b.jsonl": 2, "a?b.jsonl": 1, "c.jsonl.gz": 1}
    again = load_all(warehouse, local_objects(folder), mode="file")
    assert {outcome.outcome for outcome in again.values()} == {"skipped"}


def test_lines_are_numbered_from_one_and_kept_byte_for_byte(warehouse, put, bucket):
    put("a.jsonl", b'first\r\n\n{"third": "\xc3\xa9"}')
    load_all(warehouse, [S3Object(bucket, "a.jsonl")])
    rows = warehouse.query("select source_line, hex(line) as line from {raw:Identifier}.statements")
    assert {row["source_line"]: bytes.fromhex(row["line"]) for row in rows} == {
        1: b"first\r",
        2: b"",
        3: b'{"third": "\xc3\xa9"}',
    }


def test_a_server_that_is_down_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("XAPI_TARGET", "server")
    monkeypatch.setenv("CLICKHOUSE_PORT", "9")
    with pytest.raises(UnavailableError, match="localhost:9 does not answer"):
        open_warehouse(Settings.from_env())


def test_a_batch_requests_each_object_and_lists_nothing(
    warehouse, put, bucket, s3_endpoint, monkeypatch
):
    import werkzeug.serving

    requests = []
    monkeypatch.setattr(
        werkzeug.serving.WSGIRequestHandler,
        "log_request",
        lambda self, *_: requests.append((self.command, self.path)),
    )
    items = [S3Object(bucket, f"section/{number}/video/x.jsonl") for number in range(20)]
    for item in items:
        put(item.key, LINE)
    etag = boto3.client("s3").head_object(Bucket=bucket, Key=items[0].key)["ETag"].strip('"')
    requests.clear()

    load_all(warehouse, [S3Object(item.bucket, item.key, etag=etag) for item in items])

    assert Counter(method for method, _ in requests) == {"HEAD": 20, "GET": 20}
    assert not [path for _, path in requests if "list-type" in path]

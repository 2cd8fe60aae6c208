"""Objects that take too much memory fail alone, by name and for good; their neighbours load."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from loader import load as loading
from loader.clickhouse import errors as clickhouse_errors
from loader.clickhouse import safety
from loader.clickhouse.safety import UnsafeEngineError
from loader.demo import producer
from loader.errors import MemoryLimitError, RetryableError
from loader.files import local_objects
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.bombs import BOMB, LIMIT_MB, MOST_GROWTH_MB, peak

LINE = b'{"verb":{"id":"x"}}\n'


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small limit, so that small bombs break it."""
    monkeypatch.setenv("XAPI_LOAD_MEMORY_MB", str(LIMIT_MB))


def outcomes_of(warehouse, items, **options) -> dict:
    """Load, and return the outcomes by key."""
    done = load(warehouse, Settings.from_env(), items, **options)
    return {outcome.item.key: outcome for batch in done for outcome in batch}


def test_a_bomb_fails_alone_after_a_handful_of_tries_and_its_neighbours_load(
    limited, warehouse, put, bucket, monkeypatch
):
    assert len(BOMB) < 2_000_000
    items = [S3Object(bucket, f"section/1/video/{number:02}.jsonl.gz") for number in range(40)]
    bomb = items[17]
    for item in items:
        put(item.key, BOMB if item is bomb else gzip.compress(LINE * 3, mtime=0))
    tried = Counter()
    insert = loading.S3Source.insert

    def counted(self, batch, load_id, *more):
        tried.update(item.key for item in batch)
        insert(self, batch, load_id, *more)

    monkeypatch.setattr(loading.S3Source, "insert", counted)
    before = peak()

    found = outcomes_of(warehouse, items)

    failed = {key: outcome for key, outcome in found.items() if outcome.outcome != "committed"}
    assert set(failed) == {bomb.key}
    assert (failed[bomb.key].outcome, failed[bomb.key].retryable) == ("failed", False)
    assert bomb.uri in failed[bomb.key].error
    assert "XAPI_LOAD_MEMORY_MB" in failed[bomb.key].error
    assert tried[bomb.key] <= 6
    assert max(tried.values()) <= 6
    assert peak() - before < MOST_GROWTH_MB
    # And what is read afterwards, on the same connection, is right.
    assert outcomes_of(warehouse, items[:3])[items[0].key].outcome == "skipped"


def test_an_object_of_very_many_short_lines_loads(warehouse, put, bucket):
    put("a.jsonl.gz", gzip.compress(b"\n" * 3_000_000, mtime=0))
    outcome = outcomes_of(warehouse, [S3Object(bucket, "a.jsonl.gz")])["a.jsonl.gz"]
    assert (outcome.outcome, outcome.rows) == ("committed", 3_000_000)


def test_what_is_inserted_but_too_large_to_be_counted_fails_for_good(
    limited, warehouse, put, bucket, monkeypatch
):
    put("a.jsonl", LINE)
    large = "count() + 0 * length(range(100000000)) as lines"
    count = loading.COUNT_LOADED.replace("count() as lines", large)
    monkeypatch.setattr(loading, "COUNT_LOADED", count)
    outcome = outcomes_of(warehouse, [S3Object(bucket, "a.jsonl")])["a.jsonl"]
    assert (outcome.outcome, outcome.retryable) == ("failed", False)
    assert "XAPI_LOAD_MEMORY_MB" in outcome.error


def test_local_files_are_limited_too(limited, warehouse, tmp_path: Path):
    (tmp_path / "good.jsonl").write_bytes(LINE)
    (tmp_path / "bomb.jsonl.gz").write_bytes(BOMB)
    found = outcomes_of(warehouse, local_objects(tmp_path), mode="file")
    outcomes = {Path(key).name: outcome for key, outcome in found.items()}
    assert outcomes["good.jsonl"].outcome == "committed"
    assert outcomes["bomb.jsonl.gz"].outcome == "failed"
    assert "XAPI_LOAD_MEMORY_MB" in outcomes["bomb.jsonl.gz"].error


@pytest.mark.parametrize("mode", ["direct", "lambda"])
def test_a_bomb_is_not_sent_as_a_bundle(limited, chdb_path, tmp_path, monkeypatch, mode):
    monkeypatch.setenv("XAPI_ETL_MODE", mode)
    file = tmp_path / "bomb.jsonl.gz"
    file.write_bytes(BOMB)
    [sent] = producer.send([file], Settings.from_env())
    assert "bytes are too many for one bundle" in sent.error


# Which limit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Query memory limit exceeded: would use 257.35 MiB", MemoryLimitError),
        ("Memory limit (for query) exceeded: would use 257.35 MiB", MemoryLimitError),
        ("(total) memory limit exceeded: would use 7.35 GiB", RetryableError),
        ("Memory limit (total) exceeded: would use 7.35 GiB", RetryableError),
        ("User memory limit exceeded: would use 7.35 GiB", RetryableError),
        ("Memory limit (for user) exceeded: would use 7.35 GiB", RetryableError),
    ],
)
def test_only_the_limit_of_the_statement_itself_is_broken_for_good(text, kind):
    error = clickhouse_errors.from_answer(f"Code: 241. DB::Exception: {text}")
    assert type(error) is kind


def test_an_object_that_broke_the_limit_is_tried_alone():
    items = [S3Object("b", f"{number}.jsonl") for number in range(5)]

    def parts(text: str) -> list:
        return loading._parts(
            items, clickhouse_errors.from_answer(f"Code: 241. DB::Exception: {text}")
        )

    alone = [[items[3]], items[:2], [items[2], items[4]]]
    assert parts("Query memory limit exceeded: (in file/uri b/3.jsonl): While …") == alone
    assert parts("Query memory limit exceeded") == [items[:2], items[2:]]
    assert parts("(total) memory limit exceeded: (in file/uri b/3.jsonl)") == [items[:2], items[2:]]


@pytest.mark.parametrize(
    "key",
    [
        "a(version 2).jsonl",
        "a (version 26.9.2.1 (official build)).jsonl",
        "Stack trace.jsonl",
        "two  spaces\tand a tab.jsonl",
        f"{'long/' * 200}.jsonl",
        "0.jsonl).jsonl",
        "(in file/uri b/0.jsonl).jsonl",
    ],
)
def test_an_object_that_broke_the_limit_is_found_whatever_its_key_is(key):
    items = [S3Object("b", name) for name in ("0.jsonl", "1.jsonl", key)]
    text = (
        f"Code: 241. DB::Exception: Query memory limit exceeded: (in file/uri b/{key}): While "
        "executing ReadFromObjectStorage. (MEMORY_LIMIT_EXCEEDED) (version 26.9.2.1 (official "
        "build))"
    )
    assert loading._parts(items, clickhouse_errors.from_answer(text))[0] == [items[2]]


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ({"value": "0"}, False),
        ({"value": "0", "highest": str(3 << 30)}, False),
        ({"value": "0", "highest": str(1 << 30)}, True),
        ({"value": str(1 << 30), "readonly": "1"}, True),
        ({"value": str(2 << 30), "readonly": "1"}, False),
    ],
)
def test_a_profile_that_forbids_the_limit_is_refused_before_anything_is_loaded(
    warehouse, monkeypatch, row, refused
):
    probe = safety.probe
    free = {"name": safety.MEMORY, "readonly": "0", "lowest": "", "highest": "", "user": "x"}
    monkeypatch.setattr(safety, "probe", lambda w: probe(w) | {safety.MEMORY: free | row})
    if refused:
        with pytest.raises(UnsafeEngineError, match="set XAPI_LOAD_MEMORY_MB"):
            safety.require(warehouse, Settings())
    else:
        safety.require(warehouse, Settings())

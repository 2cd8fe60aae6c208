"""Objects, files and bundles that take too much memory of a server fail alone and for good."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.errors import PermanentError
from loader.files import local_objects
from loader.load import load
from loader.settings import Settings
from tests.helpers.bombs import BOMB, LIMIT_MB, LINE_MB, MOST_GROWTH_MB, one_line, peak
from tests.helpers.trigger_stage import INSERT, LINE, Stage, named


@pytest.fixture
def small(settings) -> Settings:
    """The settings of a server with a small limit, so that small bombs break it."""
    return replace(settings, load_memory_mb=LIMIT_MB)


def test_of_a_queue_only_the_bomb_returns_and_soon(lake_server, small, put, bucket):
    put("section/1/video/good.jsonl", LINE * 2)
    put("section/1/video/bomb.jsonl.gz", BOMB)
    stage = Stage(small)
    with closing(stage.trigger):
        failed = stage.deliver(
            named(bucket, "section/1/video/good.jsonl"),
            named(bucket, "section/1/video/bomb.jsonl.gz"),
            seconds=100,
        )
    assert failed == ["m1"]
    assert stage.visible() == {"section/1/video/good.jsonl": 2}
    # For good: it comes soon, to be a dead letter within minutes.
    assert stage.delays == {"r1": 30}
    inserts = [sql for sql in lake_server.queries if INSERT.match(sql)]
    assert inserts and all(f"max_memory_usage = {LIMIT_MB << 20}" in sql for sql in inserts)
    assert len(inserts) <= 3


def test_a_file_that_is_sent_to_a_server_is_limited_here_as_well(lake_server, small, tmp_path):
    (tmp_path / "good.jsonl").write_bytes(LINE)
    (tmp_path / "bomb.jsonl.gz").write_bytes(one_line(LINE_MB, before=LINE))
    before = peak()
    with closing(open_warehouse(small)) as warehouse:
        schema.init(warehouse, small)
        done = load(warehouse, small, local_objects(tmp_path), mode="file")
        found = {Path(one.item.key).name: one for batch in done for one in batch}
    assert found["good.jsonl"].outcome == "committed"
    assert (found["bomb.jsonl.gz"].outcome, found["bomb.jsonl.gz"].retryable) == ("failed", False)
    assert "bomb.jsonl.gz" in found["bomb.jsonl.gz"].error
    assert peak() - before < MOST_GROWTH_MB


def test_a_bundle_is_limited(small, lake_server):
    stage = Stage(small)
    with closing(stage.trigger), pytest.raises(PermanentError, match="XAPI_LOAD_MEMORY_MB"):
        stage.trigger.answer({"body": "a" * (100 << 20)}, 100)


def test_the_log_of_a_bomb_is_one_line(lake_server, small, put, bucket):
    put("section/1/video/bomb.jsonl.gz", BOMB)
    stage = Stage(small)
    with closing(stage.trigger):
        stage.deliver(named(bucket, "section/1/video/bomb.jsonl.gz"), seconds=100)
    [line] = stage.lines("message_rejected")
    assert len(json.dumps(line)) < 2000

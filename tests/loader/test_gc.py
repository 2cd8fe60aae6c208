"""Garbage: old lines that no commit names go, everything else stays."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from loader.load import load
from loader.objects import S3Object
from loader.pipeline import Pipeline
from tests.helpers.bulk_lake import rows, run_cli

HOUR = 3600

LEAVE_LINES = """
insert into {raw:Identifier}.statements (load_id, bucket, key, source_line, line, loaded_at)
select {load_id:UUID}, 'lake', {key:String}, number + 1, 'x', now64(3) - {age:UInt32}
from numbers({lines:UInt32})
"""

LEDGER = """
insert into {raw:Identifier}.loads (load_id, bucket, outcome)
select {load_id:UUID}, 'lake', {outcome:String}
"""

LINES = "select key, count() as n from {raw:Identifier}.statements group by key order by key"

COMMITTED, OLD, MIXED, YOUNG, UNKNOWN = (f"00000000-0000-0000-0000-{n:012}" for n in range(5))


@pytest.fixture
def leftovers(chdb_path):
    """Lines of a committed load; leftovers of 30 hours, of 1 hour, of both, and of an attempt
    that timed out."""
    with Pipeline.from_env() as pipeline:
        pipeline.init()
        run = pipeline.warehouse.command
        run(LEAVE_LINES, load_id=COMMITTED, key="committed.jsonl", age=99 * HOUR, lines=1)
        run(LEAVE_LINES, load_id=OLD, key="a.jsonl", age=30 * HOUR, lines=3)
        run(LEAVE_LINES, load_id=YOUNG, key="a.jsonl", age=1 * HOUR, lines=4)
        run(LEAVE_LINES, load_id=MIXED, key="a.jsonl", age=30 * HOUR, lines=5)
        run(LEAVE_LINES, load_id=MIXED, key="a.jsonl", age=1 * HOUR, lines=5)
        run(LEAVE_LINES, load_id=UNKNOWN, key="a.jsonl", age=25 * HOUR, lines=2)
        run(LEDGER, load_id=COMMITTED, outcome="committed")
        run(LEDGER, load_id=UNKNOWN, outcome="unknown")


def test_old_leftovers_are_removed_and_nothing_else(leftovers, capsys):
    found = json.loads(run_cli(capsys, "gc", "--json"))
    assert found == {"loads": 2, "lines": 5, "dry_run": False}
    # A load whose last line is young may be under way, however old its first one is.
    assert rows(LINES) == [{"key": "a.jsonl", "n": 14}, {"key": "committed.jsonl", "n": 1}]
    again = json.loads(run_cli(capsys, "gc", "--json"))
    assert (again["loads"], again["lines"]) == (0, 0)


def test_a_dry_run_counts_the_same_and_removes_nothing(leftovers, capsys):
    before = rows(LINES)
    said = run_cli(capsys, "gc", "--dry-run")
    assert said.startswith("would remove: 5 lines of 2 loads")
    assert rows(LINES) == before


def test_the_age_is_the_given_one(leftovers, capsys):
    found = json.loads(run_cli(capsys, "gc", "--older-than", "0", "--even-running", "--json"))
    assert (found["loads"], found["lines"]) == (4, 19)
    # What is committed stays, however old it is.
    assert rows(LINES) == [{"key": "committed.jsonl", "n": 1}]


def test_an_age_at_which_a_load_may_be_running_needs_a_second_flag(leftovers, capsys):
    before = rows(LINES)
    assert "--even-running" in run_cli(capsys, "gc", "--older-than", "1", code=2)
    assert rows(LINES) == before
    assert run_cli(capsys, "gc", "--older-than", "1", "--dry-run").startswith("would remove")


def test_many_loads_are_removed_in_several_statements(leftovers, capsys, monkeypatch):
    monkeypatch.setattr("loader.gc.MOST_IDS", 1)
    assert json.loads(run_cli(capsys, "gc", "--json"))["loads"] == 2


def test_without_dbt_tables_it_works_on_raw_alone(chdb_path, capsys):
    run_cli(capsys, "init")
    found = json.loads(run_cli(capsys, "gc", "--json"))
    assert found == {"loads": 0, "lines": 0, "dry_run": False}


def test_a_load_whose_lines_gc_removed_does_not_commit(put, bucket, chdb_path):
    put("section/1/video/a.jsonl", b"x\ny")
    with Pipeline.from_env() as pipeline:
        pipeline.init()
        start = datetime.now(UTC)

        def clock() -> datetime:
            """The start, and then the day after; gc has run in between."""
            if not pipeline.warehouse.query(LINES):
                return start
            assert pipeline.gc(age=0, even_running=True).lines == 2
            return start + timedelta(days=1)

        items = [S3Object(bucket, "section/1/video/a.jsonl")]
        (outcomes,) = load(pipeline.warehouse, pipeline.settings, items, clock=clock)
        assert [(one.outcome, one.retryable) for one in outcomes] == [("failed", True)]
        assert "not committed, because gc may" in outcomes[0].error
        assert pipeline.load(f"s3://{bucket}/section/1/video/a.jsonl").rows == 2

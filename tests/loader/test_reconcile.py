"""Proof of completeness: each kind of difference is found, named, and loaded where it can be."""

import json

import boto3
import pytest

from loader.load import load
from loader.objects import S3Object
from loader.pipeline import Pipeline
from tests.helpers.bulk_lake import LINE, committed, fill, key_of, rows, run_cli

TWO = LINE + b"\n" + LINE


@pytest.fixture
def lake(bucket, chdb_path):
    """Ten loaded objects of one section, one of another. Returns the URI."""
    fill(bucket, {key_of(1, "2025-09-01", number): LINE for number in range(10)})
    fill(bucket, {key_of(2, "2025-09-05"): TWO})
    with Pipeline.from_env() as pipeline:
        pipeline.backfill(pipeline.plan(f"s3://{bucket}/section/"))
    return f"s3://{bucket}/section/"


def compare(capsys, lake, *options, code=0) -> dict:
    """Run reconcile and return its JSON."""
    return json.loads(run_cli(capsys, "reconcile", lake, "--json", *options, code=code))


def kinds(report) -> dict[str, list[str]]:
    """Keys by kind of difference."""
    found: dict[str, list[str]] = {}
    for one in report["differences"]:
        found.setdefault(one["kind"], []).append(S3Object.from_uri(one["object"]).key)
    return found


def leave_lines(key: str, bucket: str) -> None:
    """Lines of an attempt that was killed before its commit."""
    with Pipeline.from_env() as pipeline:
        pipeline.warehouse.command(
            "insert into {raw:Identifier}.statements (load_id, bucket, key, source_line, line) "
            "select generateUUIDv4(), {bucket:String}, {key:String}, number, 'x' from numbers(3)",
            bucket=bucket,
            key=key,
        )


def test_a_complete_load_is_reported_as_complete(lake, capsys):
    report = compare(capsys, lake)
    assert (report["agrees"], report["listed"], report["equal"], report["lines"]) == (
        True,
        11,
        11,
        12,
    )
    assert "listing, ledger and rows agree" in run_cli(capsys, "reconcile", lake)


def test_each_difference_is_named_and_what_can_be_loaded_is(lake, capsys, bucket):
    missing, tried, changed, gone, begun = (
        key_of(1, "2025-09-01", number) for number in (11, 12, 3, 4, 15)
    )
    fill(bucket, {missing: LINE, begun: TWO, changed: TWO})
    with Pipeline.from_env() as pipeline:
        pipeline.load(f"s3://{bucket}/{tried}")  # it is not there yet, so it fails
    fill(bucket, {tried: LINE})
    boto3.client("s3").delete_object(Bucket=bucket, Key=gone)
    leave_lines(begun, bucket)

    report = compare(capsys, lake, code=1)

    assert kinds(report) == {
        "missing": [missing, tried],
        "uncommitted": [begun],
        "changed": [changed],
        "extra": [gone],
    }
    notes = {difference["object"]: difference["note"] for difference in report["differences"]}
    assert "no such object" in notes[f"s3://{bucket}/{tried}"]
    assert (report["leftover_objects"], report["leftover_lines"]) == (1, 3)

    report = compare(capsys, lake, "--load-missing", code=1)
    assert report["loaded"] == {"committed": 4}
    # What S3 no longer has cannot be loaded.
    assert kinds(report) == {"extra": [gone]}
    # Lines of a killed load stay for gc; readers do not see them, so they are no difference.
    assert report["leftover_lines"] == 3
    assert committed()[begun] == 1


def test_lines_that_are_gone_or_too_many_are_found_and_loaded_again(lake, capsys, bucket):
    less, more = key_of(2, "2025-09-05"), key_of(1, "2025-09-01", 5)
    with Pipeline.from_env() as pipeline:
        pipeline.warehouse.command(
            "delete from {raw:Identifier}.statements where key = {key:String} and source_line = 2",
            key=less,
        )
        pipeline.warehouse.command(
            "insert into {raw:Identifier}.statements "
            "select * from {raw:Identifier}.statements where key = {key:String}",
            key=more,
        )
    report = compare(capsys, lake, code=1)
    assert kinds(report) == {"lines": [more, less]}
    assert "2 lines in the ledger, 1 in raw" in report["differences"][1]["note"]
    report = compare(capsys, lake, "--load-missing")
    assert (report["loaded"], report["agrees"]) == ({"committed": 2}, True)


def test_a_load_that_has_all_its_lines_with_some_under_another_key_is_found(lake, capsys, bucket):
    one, other = (key_of(1, "2025-09-01", number) for number in (5, 6))
    with Pipeline.from_env() as pipeline:
        pipeline.warehouse.command(
            "insert into {raw:Identifier}.statements "
            "select * replace ({other:String} as key) from {raw:Identifier}.statements "
            "where statements.key = {one:String}",
            one=one,
            other=other,
        )
        pipeline.warehouse.command(
            "delete from {raw:Identifier}.statements where key = {one:String}", one=one
        )
    assert kinds(compare(capsys, lake, code=1)) == {"lines": [one, other]}


def test_a_key_with_leftovers_of_many_loads_counts_once(lake, capsys, bucket, monkeypatch):
    monkeypatch.setattr("loader.bulk.reconcile.LOADS", 1)
    key = key_of(1, "2025-09-01", 15)
    fill(bucket, {key: TWO})
    for _ in range(3):
        leave_lines(key, bucket)
    report = compare(capsys, lake, code=1)
    assert kinds(report) == {"uncommitted": [key]}
    assert (report["leftover_objects"], report["leftover_lines"]) == (1, 9)


def test_a_version_that_was_replaced_in_s3_and_loaded_is_no_difference(lake, capsys, bucket):
    fill(bucket, {key_of(2, "2025-09-05"): LINE})
    with Pipeline.from_env() as pipeline:
        pipeline.backfill(pipeline.plan(lake))
        pipeline.backfill(pipeline.plan(lake, force=True))
    assert compare(capsys, lake)["agrees"]


def test_sections_and_days_limit_both_sides(lake, capsys, bucket):
    late = key_of(1, "2025-09-09")
    fill(bucket, {late: LINE})
    boto3.client("s3").delete_object(Bucket=bucket, Key=key_of(2, "2025-09-05"))
    fill(bucket, {key_of(2, "2025-09-06"): LINE})
    only_early = ["--section-id", "1", "--end-date", "2025-09-01"]
    assert compare(capsys, lake, *only_early)["listed"] == 10
    report = compare(capsys, lake, "--start-date", "2025-09-05", code=1)
    assert kinds(report) == {
        "missing": [late, key_of(2, "2025-09-06")],
        "extra": [key_of(2, "2025-09-05")],
    }


def test_keys_are_paired_in_the_order_of_s3(bucket, chdb_path, capsys, monkeypatch):
    monkeypatch.setattr("loader.bulk.reconcile.PAGE", 3)
    names = ["a b", "a", "a+b", "Z", "é", "日本", "a/b", "a-b", "a_b", "\U0001f600", "\uffee", "~"]
    fill(bucket, {f"odd/{name}.jsonl": LINE for name in names})
    with Pipeline.from_env() as pipeline:
        pipeline.backfill(pipeline.plan(f"s3://{bucket}/odd/"))
    report = compare(capsys, f"s3://{bucket}/odd/")
    assert (report["agrees"], report["listed"]) == (True, 12)


def test_without_tables_it_says_what_to_do(bucket, chdb_path, capsys):
    fill(bucket, {"a.jsonl": LINE})
    with pytest.raises(Exception, match="xapi-elt init"), Pipeline.from_env() as pipeline:
        pipeline.reconcile(f"s3://{bucket}/")
    assert rows("select count() as n from system.tables where database = {raw:String}") == [
        {"n": 0}
    ]


def test_versions_that_were_missed_are_counted_and_no_difference(lake, capsys, bucket):
    key = key_of(1, "2025-09-01", 20)
    old = boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=LINE)["ETag"].strip('"')
    fill(bucket, {key: TWO})
    with Pipeline.from_env() as pipeline:
        item = S3Object(bucket, key, old, len(LINE))
        list(load(pipeline.warehouse, pipeline.settings, [item], mode="event"))
    report = compare(capsys, lake)
    assert (report["agrees"], report["missed"]) == (True, 1)
    assert "overwritten before they were read: 1 " in run_cli(capsys, "reconcile", lake)
    assert "missed" in run_cli(capsys, "status")
    assert old in run_cli(capsys, "status", "--json")
    # Written again, it is loaded, and so no longer missed.
    fill(bucket, {key: LINE})
    run_cli(capsys, "backfill", lake)
    assert compare(capsys, lake)["missed"] == 0


def test_lines_beyond_their_retention_are_counted_and_no_difference(lake, capsys):
    with Pipeline.from_env() as pipeline:
        for sql in (
            "insert into {raw:Identifier}.expired_loads (load_id, lines) "
            "select load_id, count() from {raw:Identifier}.statements group by load_id",
            "truncate table {raw:Identifier}.statements",
        ):
            pipeline.warehouse.command(sql)
    report = compare(capsys, lake)
    assert (report["agrees"], report["expired_lines"], report["lines"]) == (True, 12, 12)
    assert "removed from raw: 12" in run_cli(capsys, "reconcile", lake)
    assert compare(capsys, lake, "--section-id", "2")["expired_lines"] == 2

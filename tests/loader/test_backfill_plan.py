"""Bulk loads: what is selected and planned, from a listing or an S3 Inventory."""

import csv
import gzip
import io
import json
import re
import tracemalloc
from datetime import UTC, date, datetime
from types import SimpleNamespace
from unittest.mock import Mock
from urllib.parse import quote_plus

import boto3
import pytest

from loader.bulk import backfill
from loader.bulk.listing import Listing
from loader.bulk.selection import Selection, day_of, select
from loader.errors import PermanentError, SettingsError
from loader.pipeline import Pipeline
from loader.settings import Settings
from tests.helpers.bulk_lake import (
    LINE,
    committed,
    counting_requests,
    fill,
    key_of,
    rows,
    run_cli,
)
from tests.helpers.paths import ROOT

NOON = datetime(2025, 9, 15, 12, tzinfo=UTC)


# What is selected


@pytest.mark.parametrize(
    ("key", "day"),
    [
        ("section/1/video/2025-10-01T23-59-59.123456Z_0CC1.jsonl", date(2025, 10, 1)),
        ("2025-10-01T00-00-15Z.jsonl", date(2025, 10, 1)),
        ("section/1/video/batch-2025-10-01T00-00-15.jsonl.gz", date(2025, 10, 1)),
        # No time in the name, no such day, or a time in a folder: the last change counts.
        ("section/1/video/a.jsonl", NOON.date()),
        ("section/1/video/2025-13-45T00-00-15Z.jsonl", NOON.date()),
        ("2025-10-01T00-00-15Z/a.jsonl", NOON.date()),
    ],
)
def test_the_day_of_an_object_is_that_of_its_name_else_of_its_last_change(key, day):
    assert day_of(key, NOON) == day


def test_a_day_is_a_utc_day():
    late = datetime.fromisoformat("2025-09-01T23:30:00-05:00")
    assert day_of("a.jsonl", late) == date(2025, 9, 2)


@pytest.mark.parametrize(
    ("prefix", "lists"),
    [
        ("", ["section/1/", "section/2/"]),
        ("sect", ["section/1/", "section/2/"]),
        ("section/", ["section/1/", "section/2/"]),
        ("section/1/video/", ["section/1/video/"]),
        ("archive/section/", ["archive/section/1/", "archive/section/2/"]),
        ("archive/", ["archive/"]),
        ("section/3", []),
    ],
)
def test_with_sections_only_their_prefixes_are_listed_where_possible(prefix, lists):
    assert Selection("lake", prefix, (1, 2)).prefixes() == lists


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lake/section"], "s3://bucket/prefix"),
        (["s3://"], "s3://bucket/prefix"),
        (["{lake}", "--start-date", "2025-09-02", "--end-date", "2025-09-01"], "is after end_date"),
        (["{lake}", "--start-date", "2025-9-1"], "YYYY-MM-DD"),
        (["{lake}", "--start-date", "20250901"], "YYYY-MM-DD"),
        (["{lake}", "--end-date", "2025-02-30"], "YYYY-MM-DD"),
        (["{lake}", "--end-date", ""], "YYYY-MM-DD"),
        (["{lake}", "--section-id", "1;2"], "a whole number"),
        (["{lake}", "--section-id", "7"], "no objects of section 7"),
        (["{lake}", "--section-id", "1", "--section-id", "9"], "existing sections: 1, 10, 2"),
        (["{lake}nothing/"], "no .jsonl or .jsonl.gz objects under"),
        (["s3://not-allowed/section/"], "XAPI_ALLOWED_BUCKETS"),
        (["{lake}", "--policy", "merge"], "accepted: append"),
    ],
)
@pytest.mark.parametrize("command", ["backfill", "reconcile"])
def test_a_wrong_call_is_one_line_and_touches_nothing(lake, capsys, command, arguments, says):
    with Pipeline.from_env() as pipeline:
        pipeline.init()
    error = run_cli(capsys, command, *(part.format(lake=lake) for part in arguments), code=2)
    assert says in error
    assert error.count("\n") == 1
    assert rows("select count() as n from {raw:Identifier}.loads") == [{"n": 0}]
    assert rows("select count() as n from {raw:Identifier}.statements") == [{"n": 0}]


def test_a_bucket_that_is_not_there_is_one_line(lake, capsys, monkeypatch):
    monkeypatch.setenv("XAPI_ALLOWED_BUCKETS", "never-made")
    assert "s3://never-made/:" in run_cli(capsys, "backfill", "s3://never-made/", code=2)


def test_an_end_may_stay_open(bucket):
    assert select(f"s3://{bucket}/", start_date="2025-09-01").last_day is None


def test_the_page_names_only_options_that_there_are(capsys):
    page = (ROOT / "docs" / "backfill.md").read_text()
    helps = "".join(
        run_cli(capsys, command, "--help") for command in ("backfill", "reconcile", "gc")
    )
    of_dbt = {"--select", "--vars", "--project-dir", "--full-refresh"}
    named = set(re.findall(r"--[a-z][a-z-]+", page)) - of_dbt
    assert named - set(re.findall(r"--[a-z][a-z-]+", helps)) == set()


# What is planned


def test_a_dry_run_counts_and_changes_nothing(lake, capsys, chdb_path):
    said = run_cli(capsys, "backfill", lake, "--dry-run")
    assert "objects: 6 (" in said
    assert "to load: 6" in said
    assert "at least 12 S3 requests" in said
    assert "time: unknown" in said
    tables = "select count() as n from system.tables where database = {raw:String}"
    assert rows(tables) == [{"n": 0}]


def test_the_plan_knows_what_the_ledger_holds_and_how_long_the_rest_takes(lake, capsys):
    run_cli(capsys, "backfill", lake, "--section-id", "2")
    plan = json.loads(run_cli(capsys, "backfill", lake, "--dry-run", "--json"))["plan"]
    assert (plan["listed"], plan["found"], plan["held"], plan["count"]) == (6, 6, 1, 5)
    assert plan["bytes"] == plan["found_bytes"] - len(LINE)
    assert plan["requests"] == 10
    assert plan["list_requests"] == 1
    measured = rows("select duration_ms as ms from {raw:Identifier}.loads")[0]["ms"] / 1000
    # Whichever of objects and bytes takes longer, at the measured speed.
    assert plan["seconds"] == pytest.approx(measured * max(5, plan["bytes"] / len(LINE)))


def test_both_days_are_included_and_only_selected_objects_are_loaded(lake, capsys, bucket):
    run_cli(capsys, "backfill", lake, "--start-date", "2025-09-01", "--end-date", "2025-09-01")
    assert committed() == dict.fromkeys(
        [
            key_of(1, "2025-09-01"),
            key_of(1, "2025-09-01", 1, ".jsonl.gz"),
            key_of(2, "2025-09-01"),
            key_of(10, "2025-09-01"),
        ],
        1,
    )


def test_a_section_is_that_section_not_those_it_begins(lake, capsys):
    report = json.loads(run_cli(capsys, "backfill", lake, "--section-id", "1", "--json"))
    assert report["objects"] == {"committed": 4}
    assert report["rows"] == 5
    assert report["failed"] == []


# An inventory instead of a listing


def put_inventory(bucket: str, named: list[tuple[str, str, str]]) -> str:
    """Write an S3 Inventory: rows of key, etag, IsDeleteMarker. Returns its manifest."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    for key, etag, deleted in named:
        changed = "2025-09-01T00:00:05.000Z"
        writer.writerow([bucket, quote_plus(key, safe="/"), "true", deleted, "19", changed, etag])
    manifest = {
        "sourceBucket": bucket,
        "destinationBucket": f"arn:aws:s3:::{bucket}",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag",
        "files": [{"key": "inventory/data/1.csv.gz", "size": 1, "MD5checksum": "x"}],
    }
    fill(
        bucket,
        {
            "inventory/data/1.csv.gz": gzip.compress(text.getvalue().encode()),
            "inventory/manifest.json": json.dumps(manifest).encode(),
        },
    )
    return f"s3://{bucket}/inventory/manifest.json"


def test_an_inventory_is_read_instead_of_a_listing(lake, capsys, bucket):
    odd = "section/3/video/a b+ü%20.jsonl"
    fill(bucket, {odd: LINE})
    etag = boto3.client("s3").head_object(Bucket=bucket, Key=odd)["ETag"].strip('"')
    manifest = put_inventory(
        bucket,
        [
            (odd, etag, "false"),
            # Changed since, deleted since, deleted before, another section.
            (key_of(1, "2025-09-01"), "0" * 32, "false"),
            (key_of(1, "2025-09-07"), etag, "false"),
            (key_of(1, "2025-09-08"), "", "true"),
            (key_of(2, "2025-09-01"), etag, "false"),
        ],
    )
    sections = ["--section-id", "1", "--section-id", "3"]
    options = [lake, *sections, "--inventory", manifest, "--json"]
    with counting_requests() as requests:
        report = json.loads(run_cli(capsys, "backfill", *options, code=1))
    assert report["objects"] == {"committed": 2, "failed": 1}
    assert "no such object" in report["failed"][0]["error"]
    assert "?" not in [path for _, path in requests]
    # In a second run the changed object is requested (its version was another) and not loaded.
    report = json.loads(run_cli(capsys, "backfill", *options, code=1))
    assert report["objects"] == {"skipped": 1, "failed": 1}
    assert committed() == {odd: 1, key_of(1, "2025-09-01"): 1}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "not the manifest.json of an S3 Inventory"),
        (b"hello", "not the manifest.json of an S3 Inventory"),
        (b'{"sourceBucket":"x","fileFormat":"ORC","fileSchema":"struct<>","files":[],'
         b'"destinationBucket":"arn:aws:s3:::x"}', "accepted: CSV"),
        (b'{"sourceBucket":"x","fileFormat":"CSV","fileSchema":"Bucket, Key","files":[],'
         b'"destinationBucket":"arn:aws:s3:::x"}', "is for bucket x"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_inventory_is_refused_with_the_reason(lake, capsys, bucket, body, says):
    fill(bucket, {"manifest.json": body})
    manifest = f"s3://{bucket}/manifest.json"
    assert says in run_cli(capsys, "backfill", lake, "--inventory", manifest, code=2)


# Memory


def test_a_plan_of_many_keys_stays_small_in_memory():
    keys, page = 20_000, 1000
    modified = datetime(2025, 9, 1, tzinfo=UTC)

    def paginate(**_):
        for first in range(0, keys, page):
            yield {
                "Contents": [
                    {
                        "Key": f"section/1/video/2025-09-01T00-00-15.{number:06}Z_{'C' * 32}.jsonl",
                        "ETag": '"0123456789abcdef0123456789abcdef"',
                        "Size": 1000,
                        "LastModified": modified,
                    }
                    for number in range(first, first + page)
                ]
            }

    client = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=paginate))
    empty = SimpleNamespace(query=Mock(side_effect=PermanentError("there is no such table")))
    settings = Settings(allowed_buckets=("lake",))
    tracemalloc.start()
    plan = backfill.plan(empty, settings, Listing(client, Selection("lake")))
    read = sum(item.size for item in plan.objects())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.count == keys
    assert read == plan.bytes == keys * 1000
    # As objects in memory they would take some 13 MB, and a plan in memory 3 MB.
    assert peak < 5e6


# What is left out


def test_objects_that_are_not_read_are_counted_by_ending(bucket, chdb_path, capsys):
    names = ["a.json", "b.json", "c.jsonl.GZ", "no-ending", "2025-09-02T00-00-15.123456Z_0CC1"]
    names += ["folder.d/none", "folder/", "x.JSONL", "y.jsonl", "z.csv.gz"]
    fill(bucket, {f"section/1/{name}": b"" if name[-1] == "/" else LINE for name in names})
    expected = {".json": 2, ".GZ": 1, "none": 3, ".JSONL": 1, ".gz": 1}
    uri = f"s3://{bucket}/section/"

    plan = json.loads(run_cli(capsys, "backfill", uri, "--dry-run", "--json"))["plan"]
    assert (plan["listed"], plan["left_out"]) == (1, expected)
    text = run_cli(capsys, "backfill", uri)
    shown = "left out: 3 without ending, 2 .json, 1 .GZ, 1 .JSONL, 1 .gz (only .jsonl and .jsonl.gz"
    assert shown in " ".join(text.split())
    report = json.loads(run_cli(capsys, "reconcile", uri, "--json"))
    assert (report["agrees"], report["left_out"]) == (True, expected)
    assert shown in " ".join(run_cli(capsys, "reconcile", uri).split())

    days = ["--start-date", "2025-09-02", "--end-date", "2025-09-02"]
    plan = json.loads(run_cli(capsys, "backfill", uri, "--dry-run", "--json", *days))["plan"]
    assert plan["left_out"] == {"none": 1}
    nothing = f"s3://{bucket}/section/1/a"
    assert "left out: 1 .json" in run_cli(capsys, "backfill", nothing, code=2)


def test_many_endings_are_counted_together():
    page = {
        "Contents": [
            {"Key": f"a.{number:03}", "ETag": "", "Size": 1, "LastModified": NOON}
            for number in range(100)
        ]
    }
    client = SimpleNamespace(
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [page]),
    )
    listing = Listing(client, Selection("lake"))
    with pytest.raises(SettingsError, match=r"80 with other endings, 1 \.000"):
        list(listing)
    assert listing.left_out.total() == 100

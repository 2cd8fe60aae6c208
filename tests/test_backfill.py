"""Bulk loads: what is planned, what is loaded, what it costs, and what stops it."""

import csv
import gzip
import io
import json
import re
import tracemalloc
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote_plus

import boto3
import pytest
from bulk import LINE, committed, counting_requests, fill, key_of, rows, run_cli
from clickhouse_http import ClickHouseHttp

from loader import backfill
from loader.backfill import Plan, Throttle
from loader.errors import RetryableError, UnavailableError
from loader.listing import Listing, Selection, day_of, select
from loader.load import MOST_NAME_BYTES, load, pieces
from loader.objects import S3Object
from loader.pipeline import Pipeline
from loader.settings import Settings
from loader.warehouse import embedded_config, open_warehouse

NOON = datetime(2025, 9, 15, 12, tzinfo=UTC)


@pytest.fixture
def lake(bucket, chdb_path):
    """Two sections, three days, and things that are not to be loaded. Returns the URI."""
    fill(
        bucket,
        {
            key_of(1, "2025-08-31"): LINE,
            key_of(1, "2025-09-01"): LINE,
            key_of(1, "2025-09-01", 1, ".jsonl.gz"): gzip.compress(LINE + b"\n" + LINE),
            key_of(1, "2025-09-02"): LINE,
            key_of(2, "2025-09-01"): LINE,
            key_of(10, "2025-09-01"): LINE,
            key_of(1, "2025-09-01", 2, ".json"): b"no",
            "section/1/video/": b"",
            "other/2025-09-01T00-00-00.000000Z_A.jsonl": LINE,
        },
    )
    return f"s3://{bucket}/section/"


@pytest.fixture
def server(chdb_path, s3_endpoint, monkeypatch):
    """A ClickHouse over HTTP (chDB behind it); the settings name it."""
    with Pipeline.from_env() as pipeline:
        pipeline.init()
        config = embedded_config(pipeline.settings)
    with ClickHouseHttp(chdb_path, config) as running:
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(running.port))
        yield running


# What is asked for


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
def test_with_sections_only_theirs_is_listed_where_the_prefix_tells(prefix, lists):
    assert Selection("lake", prefix, (1, 2)).prefixes() == lists


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lake/section"], "s3://bucket/prefix"),
        (["s3://"], "s3://bucket/prefix"),
        (["{lake}", "--start-date", "2025-09-02", "--end-date", "2025-09-01"], "is after end date"),
        (["{lake}", "--start-date", "2025-9-1"], "YYYY-MM-DD"),
        (["{lake}", "--start-date", "20250901"], "YYYY-MM-DD"),
        (["{lake}", "--end-date", "2025-02-30"], "YYYY-MM-DD"),
        (["{lake}", "--end-date", ""], "YYYY-MM-DD"),
        (["{lake}", "--section-id", "1;2"], "a whole number"),
        (["{lake}", "--section-id", "7"], "no objects of section 7"),
        (["{lake}", "--section-id", "1", "--section-id", "9"], "there are: 1, 10, 2"),
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
    assert "s3://never-made:" in run_cli(capsys, "backfill", "s3://never-made/", code=2)


def test_an_end_may_stay_open(bucket):
    assert select(f"s3://{bucket}/", start_date="2025-09-01").last_day is None


def test_the_page_names_only_options_that_there_are(capsys):
    page = (Path(__file__).resolve().parent.parent / "docs" / "backfill.md").read_text()
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
    assert "not known before something was loaded" in said
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


def test_both_days_count_and_only_what_is_asked_for_is_loaded(lake, capsys, bucket):
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


# What is loaded


def test_what_the_ledger_holds_is_neither_asked_for_nor_loaded(lake, capsys, bucket):
    run_cli(capsys, "backfill", lake, "--section-id", "1", "--end-date", "2025-08-31")
    with counting_requests() as requests:
        run_cli(capsys, "backfill", lake)
    # Held is the object, not its section; each of the others takes a HEAD and a GET.
    expected = [key for key in committed() if key != key_of(1, "2025-08-31")]
    assert Counter(requests) == Counter(
        [("GET", "?")] + [(method, key) for key in expected for method in ("HEAD", "GET")]
    )
    with counting_requests() as requests:
        said = run_cli(capsys, "backfill", lake)
    assert requests == [("GET", "?")]
    assert said.endswith("objects: none; lines loaded: 0\n")
    assert set(committed().values()) == {1}


def test_a_changed_object_is_loaded_as_a_new_version(lake, capsys, bucket):
    run_cli(capsys, "backfill", lake)
    fill(bucket, {key_of(2, "2025-09-01"): LINE + b"\n" + LINE})
    report = json.loads(run_cli(capsys, "backfill", lake, "--json"))
    assert (report["objects"], report["rows"]) == ({"committed": 1}, 2)


def test_with_policy_replace_an_older_version_that_comes_back_is_new(lake, capsys, bucket):
    key = key_of(2, "2025-09-01")
    options = [lake, "--policy", "replace", "--json"]
    run_cli(capsys, "backfill", *options)
    for body in (LINE + b"\n" + LINE, LINE):
        fill(bucket, {key: body})
        report = json.loads(run_cli(capsys, "reconcile", lake, "--json", code=1))
        assert report["counts"] == {"changed": 1}
        report = json.loads(run_cli(capsys, "backfill", *options))
        assert report["objects"] == {"committed": 1}
        assert json.loads(run_cli(capsys, "reconcile", lake, "--json"))["agrees"]
    assert committed()[key] == 3


def test_force_loads_anew_and_commits_once_more(lake, capsys):
    run_cli(capsys, "backfill", lake)
    report = json.loads(run_cli(capsys, "backfill", lake, "--force", "--json"))
    assert report["plan"]["held"] == report["objects"]["committed"] == 6
    assert set(committed().values()) == {2}


def test_one_bad_object_is_named_and_the_rest_loads(lake, capsys, bucket):
    bad = key_of(1, "2025-09-01", 3, ".jsonl.gz")
    fill(bucket, {bad: b"this is no gzip"})
    report = json.loads(run_cli(capsys, "backfill", lake, "--json", code=1))
    assert report["objects"] == {"committed": 6, "failed": 1}
    assert [failure["object"] for failure in report["failed"]] == [f"s3://{bucket}/{bad}"]
    assert report["not_tried"] == 0
    ledger = rows(
        "select outcome, mode from {raw:Identifier}.loads where key = {key:String}", key=bad
    )
    assert ledger == [{"outcome": "failed", "mode": "bulk"}]


@pytest.mark.parametrize(
    ("option", "inserts"), [(["--batch-objects", "2"], 4), (["--batch-mb", "0.00004"], 5)]
)
def test_a_batch_has_as_many_objects_and_bytes_as_it_may(lake, capsys, option, inserts):
    # Bytes: one object of August, 19; of September in the order of the keys 19, more than 40 (two
    # lines in gzip), 19, 19, 19. No INSERT reads two months.
    report = json.loads(run_cli(capsys, "backfill", lake, *option, "--json"))
    assert (report["inserts"], report["objects"]) == (inserts, {"committed": 6})


def test_a_load_is_of_one_month_though_the_listing_is_by_section(lake, capsys, bucket):
    days = ("2025-07-31", "2025-08-01", "2025-09-01")
    fill(bucket, {key_of(section, day, 7): LINE for section in (1, 2, 3) for day in days})
    run_cli(capsys, "backfill", lake)
    loads = rows(
        "select arraySort(groupUniqArray(extract(key, '2025-..'))) as months, count() as n "
        "from {raw:Identifier}.loads group by load_id order by months"
    )
    assert loads == [
        {"months": ["2025-07"], "n": 3},
        {"months": ["2025-08"], "n": 4},
        {"months": ["2025-09"], "n": 8},
    ]


def test_a_piece_ends_where_a_statement_would_be_too_long():
    items = [S3Object("lake", f"{number:04}{'é' * 400}") for number in range(300)]
    sizes = [len(piece) for piece in pieces(items)]
    assert sum(sizes) == 300
    assert max(sizes) * 811 <= MOST_NAME_BYTES


def test_a_thousand_keys_as_torus_writes_them_are_one_piece():
    key = "section/216100/attempt_evaluated/2025-10-01T00-00-15.123456Z_{:032X}.jsonl"
    items = [S3Object("torus-xapi-prod", key.format(number)) for number in range(2000)]
    assert [len(piece) for piece in pieces(items)] == [1000, 1000]


def test_a_large_object_is_a_piece_of_its_own():
    items = [S3Object("lake", str(size), size=size) for size in (5, 4, 30, 1, 9)]
    assert [[item.size for item in piece] for piece in pieces(items, most_bytes=10)] == [
        [5, 4],
        [30],
        [1, 9],
    ]


def test_a_load_is_bounded_whoever_asks_for_it():
    items = [S3Object("lake", str(number), size=200 * 1024 * 1024) for number in range(5)]
    assert [len(piece) for piece in pieces(items)] == [2, 2, 1]


def test_a_throttle_spreads_batches_over_time():
    slept, now = [], [100.0]
    throttle = Throttle(
        10,
        1000,
        clock=lambda: now[0],
        sleep=lambda s: (slept.append(s), now.__setitem__(0, now[0] + s)),
    )
    assert (throttle.most, throttle.most_bytes) == (10, 1000)
    for size in (10, 10, 200):
        throttle.wait([S3Object("lake", "a", size=size)] * 5)
    throttle.wait([S3Object("lake", "a")])
    # 5 objects are half a second; 1,000 bytes are a whole one.
    assert slept == [0.5, 0.5, 1.0]


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
    # A second time the changed one is asked for (its version was another) and not loaded.
    report = json.loads(run_cli(capsys, "backfill", *options, code=1))
    assert report["objects"] == {"skipped": 1, "failed": 1}
    assert committed() == {odd: 1, key_of(1, "2025-09-01"): 1}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "no manifest.json of an S3 Inventory"),
        (b"hello", "no manifest.json of an S3 Inventory"),
        (b'{"sourceBucket":"x","fileFormat":"ORC","fileSchema":"struct<>","files":[],'
         b'"destinationBucket":"arn:aws:s3:::x"}', "accepted: CSV"),
        (b'{"sourceBucket":"x","fileFormat":"CSV","fileSchema":"Bucket, Key","files":[],'
         b'"destinationBucket":"arn:aws:s3:::x"}', "is of bucket x"),
    ],
)  # fmt: skip
def test_what_is_no_inventory_is_said_so(lake, capsys, bucket, body, says):
    fill(bucket, {"manifest.json": body})
    manifest = f"s3://{bucket}/manifest.json"
    assert says in run_cli(capsys, "backfill", lake, "--inventory", manifest, code=2)


# On a server


def test_several_inserts_are_in_flight_on_a_server(server, lake, capsys, bucket):
    fill(bucket, {key_of(1, "2025-09-03", number): LINE for number in range(34)})
    server.fault = lambda sql: (
        ("delay", 0.5) if "insert into" in sql and ".statements" in sql else None
    )
    report = json.loads(
        run_cli(capsys, "backfill", lake, "--batch-objects", "10", "--in-flight", "4", "--json")
    )
    assert report["objects"] == {"committed": 40}
    assert report["inserts"] == 5
    # Each INSERT was held up for half a second; one after the other they would take two.
    assert report["seconds"] < 1.9
    assert set(committed().values()) == {1}


def test_long_names_and_many_refusals_fit_a_server(server, bucket, monkeypatch):
    items = [S3Object(bucket, f"{number:03}{'k' * 890}.jsonl") for number in range(150)]
    fill(bucket, {item.key: LINE for item in items})
    refused = [
        S3Object("elsewhere", f"section/1/video/{number:090}.jsonl") for number in range(600)
    ]
    settings = Settings.from_env()
    warehouse = open_warehouse(settings)
    outcomes = [one for done in load(warehouse, settings, items + refused) for one in done]
    warehouse.close()
    assert Counter(one.outcome for one in outcomes) == {"committed": 150, "failed": 600}


def test_a_server_that_goes_away_stops_the_load_and_the_next_one_goes_on(server, lake, capsys):
    inserts = []

    def after_two(sql):
        if "insert into" in sql and ".statements" in sql:
            inserts.append(sql)
        return "reset" if len(inserts) > 2 else None

    server.fault = after_two
    options = [lake, "--batch-objects", "1", "--in-flight", "1", "--json"]
    report = json.loads(run_cli(capsys, "backfill", *options, code=1))
    assert report["objects"]["committed"] == 2
    assert report["not_tried"] + sum(report["objects"].values()) == 6
    server.fault = None
    report = json.loads(run_cli(capsys, "backfill", *options))
    assert report["objects"] == {"committed": 4}
    assert set(committed().values()) == {1}


# When S3 does not answer


class DeadSource:
    """A place where every request fails as a dead endpoint does; counts them."""

    def __init__(self, error="Connection refused"):
        self.error, self.calls = error, Counter()

    def check(self, item):
        """All names are fine."""

    def stat(self, batch):
        """Fail."""
        self.calls["stat"] += 1
        raise RetryableError(self.error)

    def insert(self, batch, load_id):
        """Fail."""
        self.calls["insert"] += 1
        raise RetryableError(self.error)


@pytest.mark.parametrize("etag", ["", "x"])
def test_a_dead_endpoint_is_asked_twice_not_twice_for_each_object(warehouse, etag):
    source = DeadSource()
    items = [S3Object("lake", f"{number}.jsonl", etag=etag) for number in range(1000)]
    outcomes = [one for done in load(warehouse, Settings(), items, source=source) for one in done]
    assert {(one.outcome, one.retryable) for one in outcomes} == {("failed", True)}
    assert len(outcomes) == 1000
    assert source.calls.total() == 2


def test_a_refused_object_is_still_found_among_others(warehouse):
    source = DeadSource("HTTP response code: 403")
    items = [S3Object("lake", f"{number}.jsonl", etag="x") for number in range(4)]
    list(load(warehouse, Settings(), items, source=source))
    assert source.calls["insert"] == 7


def test_a_dead_endpoint_stops_the_backfill_after_one_batch(warehouse, monkeypatch):
    source = DeadSource()
    monkeypatch.setattr("loader.load.source_for", lambda *_: source)
    monkeypatch.setattr("loader.backfill.source_for", lambda *_: source)
    plan = Plan(Selection("lake"))
    for number in range(50):
        plan.add(S3Object("lake", f"{number}.jsonl", etag="x"))
    summary = backfill.run(warehouse, Settings(), plan, throttle=Throttle(most=10))
    assert summary.counts == {"failed": 10}
    assert "S3 does not answer" in summary.stopped
    assert not summary.complete


def test_a_server_that_is_down_stops_the_backfill(monkeypatch):
    def down(*_, **__):
        raise UnavailableError("ClickHouse at localhost:9 does not answer")

    monkeypatch.setattr("loader.backfill.load", down)
    plan = Plan(Selection("lake"), in_flight=4)
    plan.add(S3Object("lake", "a.jsonl", etag="x"))
    summary = backfill.run(None, Settings(), plan)
    assert (summary.done, summary.asked) == (0, 1)
    assert "does not answer" in summary.stopped


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
    empty = SimpleNamespace(query=lambda *_, **__: [{"tables": 0}])
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

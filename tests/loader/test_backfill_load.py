"""What a bulk load loads, in which pieces, and how it does on a server."""

import json
import threading
from collections import Counter

import pytest

from loader.batches import pieces
from loader.bulk.backfill import Throttle
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.load import load
from loader.objects import S3Object
from loader.parameters import text
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
from tests.helpers.clickhouse_http import ClickHouseHttp


@pytest.fixture
def server(chdb_path, s3_endpoint, monkeypatch):
    """A ClickHouse over HTTP (chDB behind it); the settings name it."""
    with Pipeline.from_env() as pipeline:
        pipeline.init()
        config = engine_config(pipeline.settings)
    with ClickHouseHttp(chdb_path, config) as running:
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(running.port))
        yield running


# What is loaded


def test_objects_in_the_ledger_are_neither_requested_nor_loaded(lake, capsys, bucket):
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


def test_force_loads_again_and_commits_once_more(lake, capsys):
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
    for mark in ("é", "'", "\\", "`", "\t", "\0"):
        items = [S3Object("lake", f"{number:04}{mark * 900}") for number in range(300)]
        found = list(pieces(items))
        assert sum(map(len, found)) == 300
        sizes = [len(text([item.path for item in piece]).encode()) for piece in found]
        assert 100_000 < max(sizes) < 128 * 1024


def test_a_thousand_keys_as_torus_writes_them_are_one_piece():
    key = "section/216100/attempt_evaluated/2025-10-01T00-00-15.123456Z_{:032X}.jsonl"
    items = [S3Object("torus-xapi-prod", key.format(number)) for number in range(2000)]
    assert [len(piece) for piece in pieces(items)] == [1000, 1000]


def test_a_large_object_is_a_separate_piece():
    items = [S3Object("lake", str(size), size=size) for size in (5, 4, 30, 1, 9)]
    assert [[item.size for item in piece] for piece in pieces(items, most_bytes=10)] == [
        [5, 4],
        [30],
        [1, 9],
    ]


def test_every_kind_of_load_is_bounded():
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


# On a server


def test_several_inserts_are_in_flight_on_a_server(server, lake, capsys, bucket):
    fill(bucket, {key_of(1, "2025-09-03", number): LINE for number in range(34)})
    held, four_are_here = [], threading.Barrier(4)

    def hold(sql):
        """Let the first four INSERTs go on when all of them are there."""
        if "insert into" in sql and ".statements" in sql:
            held.append(sql)
            if len(held) <= 4:
                four_are_here.wait(60)

    server.fault = hold
    report = json.loads(
        run_cli(capsys, "backfill", lake, "--batch-objects", "10", "--in-flight", "4", "--json")
    )
    assert report["objects"] == {"committed": 40}
    assert (report["inserts"], len(held)) == (5, 5)
    assert not four_are_here.broken
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


def test_a_lost_server_stops_the_load_and_the_next_load_continues(server, lake, capsys):
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

"""What does not depend on the machine: requests, statements, parts, rows read, bytes."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import boto3
import chdb
import make_zip
import pytest

from bench import history, lambda_cost, section_queries, storage
from bench.engine import Database, load_objects
from bench.increments import rows_read
from bench.run import MEASUREMENTS
from bench.statements import Lines
from loader.files import local_objects
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.bulk_lake import LINE, counting_requests, key_of
from tests.helpers.paths import ROOT
from tests.helpers.processes import shared_forks

# Measurements that need packages of their own (bench/requirements.txt): `make bench` has them.
WITH_MORE_PACKAGES = {"end_to_end"}
HISTORY, NEW, GRANULE = 100_000, 1_000, 8_192
# A granule of raw has 1 MiB of lines, and these have 1.2 KB.
RAW_GRANULE = 1_000
VIDEO = ("--select", "+video_events")
OBJECTS = 40


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A hundred thousand statements in ten loads of 500 objects, applied to video_events by dbt."""
    folder = tmp_path_factory.mktemp("history")

    def run(_: str, *arguments: str, **more: str) -> None:
        """Run dbt as the other tests do: the time that it takes to start does not matter here."""
        command = ["dbt", *arguments, "--no-write-json"]
        process = shared_forks(ROOT).start(command, os.environ | more, folder)
        assert process.wait() == 0, process.output

    database = Database(folder, run)
    with database.open() as (warehouse, _):
        history.fill(warehouse, HISTORY)
    database.dbt("run", *VIDEO)
    yield database
    database.remove()


class Counting:
    """A warehouse that notes what is sent to it."""

    def __init__(self, warehouse: Any):
        self._warehouse = warehouse
        self.version = warehouse.version
        self.sent: list[str] = []

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """See `Warehouse.query`."""
        self.sent.append(sql)
        return self._warehouse.query(sql, **values)

    def command(self, sql: str, **values: Any) -> None:
        """See `Warehouse.command`."""
        self.sent.append(sql)
        self._warehouse.command(sql, **values)


def load_lines(database: Database, path: Path, lines: Lines) -> None:
    """Write lines to a file, and load it."""
    engine = chdb.connect(":memory:")
    path.write_bytes(engine.query(lines.sql(), "TSVRaw").bytes())
    engine.close()
    with database.open() as (warehouse, settings):
        assert load_objects(warehouse, settings, local_objects(path)) == lines.count


@pytest.fixture
def notified(bucket: str) -> list[S3Object]:
    """Objects in S3, as its notifications name them."""
    client = boto3.client("s3")
    objects = []
    for number in range(OBJECTS):
        key = key_of(number, "2025-10-01")
        answer = client.put_object(Bucket=bucket, Key=key, Body=LINE + b"\n")
        objects.append(S3Object(bucket, key, answer["ETag"].strip('"'), len(LINE) + 1))
    return objects


def test_an_object_costs_one_head_and_one_get_and_no_listing(warehouse, notified):
    with counting_requests() as requests:
        load_objects(warehouse, Settings.from_env(), notified)
    assert Counter(method for method, _ in requests) == {"HEAD": OBJECTS, "GET": OBJECTS}
    assert "?" not in {key for _, key in requests}


def test_a_load_sends_four_statements_for_any_number_of_objects(warehouse, notified):
    counting = Counting(warehouse)
    for objects in (notified[:1], notified[1:]):
        counting.sent.clear()
        load_objects(counting, Settings.from_env(), objects)
        assert len(counting.sent) == 4, counting.sent


def test_an_insert_writes_one_part(warehouse, notified):
    load_objects(warehouse, Settings.from_env(), notified)
    parts = warehouse.query(
        "select sum(max_block_number - min_block_number + 1) as inserted, sum(rows) as lines "
        "from system.parts where active and database = 'xapi_raw' and table = 'statements'"
    )
    assert parts == [{"inserted": 1, "lines": OBJECTS}]


def test_a_run_with_nothing_to_do_reads_no_raw_line_and_little_of_the_ledger(past):
    reads = rows_read(past, *VIDEO)
    assert reads["raw"] <= 2  # the key of the pseudonyms, one row
    # Tables of the system among them; it was 14 times when each run looked for superseded objects.
    assert reads["all"] <= 8 * HISTORY // history.PER_OBJECT


@pytest.mark.long
def test_an_increment_of_a_mart_finds_its_events_by_their_loads(past, tmp_path):
    # Before the tests that make the ledger large: a mart's run reads loads as well.
    mart = ("--select", "int_learner_videos")
    past.dbt("run", "--select", "+int_learner_videos")
    a_day_of_a_section = Lines(
        170_000_000, NEW, sections=1, start=datetime(2026, 2, 1, tzinfo=UTC), days=1,
        family=history.VIDEO_ONLY,
    )  # fmt: skip
    load_lines(past, tmp_path / "day.jsonl", a_day_of_a_section)
    past.dbt("run", *VIDEO)
    # The version of its rows is one column of the mart; without the index, all events are read
    # twice more.
    assert NEW <= rows_read(past, *mart)["all"] <= 2 * HISTORY


def test_an_increment_reads_its_own_loads_and_neither_the_history_nor_the_ledger(past, tmp_path):
    others = 200_000
    with past.open() as (warehouse, _):
        warehouse.command(
            "insert into xapi_raw.loads (load_id, bucket, key, etag, outcome, policy) "
            "select (select generateUUIDv4()), 'others', toString(number), 'v1', 'committed', "
            "if(number % 2 = 0, 'append', 'replace') from numbers({others:UInt64})",
            others=others,
        )
    past.dbt("run", *VIDEO)
    load_lines(past, tmp_path / "new.jsonl", Lines(90_000_000, NEW))
    # Lines are read twice, the second time their objects' names only; those that were merged with
    # others are in two granules at most. The ledger is queried three times for their object,
    # which is in a granule or two of it.
    most = 2 * (NEW + 2 * RAW_GRANULE) + 3 * 2 * GRANULE
    assert 2 * NEW <= rows_read(past, *VIDEO)["raw"] <= most < min(HISTORY, others)


@pytest.mark.long
def test_an_increment_searches_the_month_of_its_moments_once(past, tmp_path):
    month = datetime(2024, 3, 1, tzinfo=UTC)
    month_of_a_section = Lines(
        150_000_000, HISTORY, sections=1, start=month, days=30, family=history.VIDEO_ONLY
    )
    load_lines(past, tmp_path / "month.jsonl", month_of_a_section)
    past.dbt("run", *VIDEO)
    an_hour_of_it = Lines(
        160_000_000, NEW, sections=1, start=month + timedelta(days=20), days=1 / 24,
        family=history.VIDEO_ONLY,
    )  # fmt: skip
    load_lines(past, tmp_path / "hour.jsonl", an_hour_of_it)
    # What repeats another line is in its hour, which may be in any granule of the month; the new
    # lines themselves are read once for each condition on them.
    read = rows_read(past, *VIDEO)["into video_events"]
    assert NEW <= read <= HISTORY + 12 * NEW + 3 * GRANULE


@pytest.mark.long
def test_a_family_reads_its_own_lines_of_the_store(past, tmp_path):
    lines = 50_000
    load_lines(past, tmp_path / "mixed.jsonl", Lines(120_000_000, lines))
    past.dbt("run", "--select", "+page_attempt_events")
    engine = chdb.connect(str(past.path))
    try:
        read = engine.query(
            "select count(page_attempt_guid) as attempts from xapi.int_xapi__statements "
            "where family = 'page_attempt' and load_id in ("
            f"select load_id from xapi_raw.loads where rows = {lines})"
        )
    finally:
        engine.close()
    attempts = int(read.bytes())
    # The ledger is read, too. Each of one or two parts may have its attempts in two granules.
    ledger = HISTORY // history.PER_OBJECT + 10
    assert attempts > lines / 100
    assert read.storage_rows_read() - ledger <= attempts + 4 * GRANULE < lines


def test_thirty_days_of_a_section_read_a_granule_of_each_month(past):
    rows = 300_000
    with past.open() as (warehouse, _):
        ours, by_hash, _ = section_queries.fill(warehouse, rows, 300)
    wheres = list(section_queries.conditions("section + 30 days", 300, 21))
    read = section_queries.ask(str(past.path), ours, wheres)["rows"]
    assert read <= 2 * GRANULE
    # The other order reads both months whole.
    assert section_queries.ask(str(past.path), by_hash, wheres)["rows"] >= rows / 12


def test_a_statement_takes_its_bytes(past):
    with past.open() as (warehouse, _):
        raw = storage.stored(warehouse, "xapi_raw", "statements")
        events = storage.stored(warehouse, "xapi", "video_events")
    assert raw.ours <= 150, raw
    assert events.ours <= 85, events


def test_the_zip_of_the_function_is_small(tmp_path):
    assert make_zip.build(output=tmp_path / "function.zip").stat().st_size <= 256 * 1024


@pytest.mark.parametrize("name", sorted(set(MEASUREMENTS) - WITH_MORE_PACKAGES))
def test_every_measurement_imports_what_it_measures_and_takes_a_site(name):
    assert list(signature(import_module(f"bench.{name}").measure).parameters) == ["site"]


def test_the_measurement_of_the_function_builds_the_zip_that_is_deployed(tmp_path):
    made = lambda_cost.builder().build(output=tmp_path / "measured.zip")
    assert made.read_bytes() == make_zip.build(output=tmp_path / "deployed.zip").read_bytes()

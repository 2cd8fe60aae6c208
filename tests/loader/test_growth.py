"""The histories that the benchmark of growth compares."""

from collections.abc import Iterator

import pytest

from bench import growth, history
from bench.engine import Database
from bench.listing import PAGE, serve_listing
from bench.sizes import LONG
from loader.pipeline import Pipeline
from loader.settings import Settings

LINES = 20_000
OBJECTS = LINES // LONG.per_object


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Two loads in raw and ledger; no tables."""
    database = Database(tmp_path_factory.mktemp("growth"))
    with database.open() as (warehouse, _):
        history.fill(warehouse, LINES, growth.BUCKET, LONG)
    yield database
    database.remove()


def test_loads_of_a_live_history_are_committed_when_their_lines_have_happened(past):
    with past.open() as (warehouse, _):
        [ledger] = warehouse.query(
            "select count() as objects, sum(rows) as lines, uniqExact(load_id) as loads, "
            "toDate(min(committed_at)) as first_day, toDate(max(committed_at)) as last_day "
            "from xapi_raw.loads"
        )
        [raw] = warehouse.query(
            "select max(loaded_at) as last, uniqExact(load_id, loaded_at) as times "
            "from xapi_raw.statements"
        )
    assert (ledger["objects"], ledger["lines"], ledger["loads"]) == (OBJECTS, LINES, 2)
    assert str(ledger["first_day"]) == "2025-10-31"  # half of 728 days after the start
    assert str(ledger["last_day"]) == f"{LONG.end:%Y-%m-%d}"
    assert raw["times"] == 2
    assert str(raw["last"])[:10] == f"{LONG.end:%Y-%m-%d}"


def test_reconcile_agrees_with_a_listing_of_all_keys(past, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    with past.open() as (warehouse, _):
        found = warehouse.query(growth.KEYS.format(bucket=growth.BUCKET, prefix="section/"))
    keys.write_text("".join(f"{row['key']}\n" for row in found))
    assert len(found) > PAGE
    monkeypatch.setenv("XAPI_CHDB_PATH", str(past.path))
    monkeypatch.setenv("XAPI_ALLOWED_BUCKETS", growth.BUCKET)
    with serve_listing(keys) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        with Pipeline(Settings.from_env()) as pipeline:
            compared = pipeline.reconcile(f"s3://{growth.BUCKET}/")
    assert (compared.agrees, compared.listed, compared.equal) == (True, OBJECTS, OBJECTS)
    assert compared.lines == LINES


def test_gc_removes_the_leftovers_that_are_made_for_it(past, monkeypatch):
    monkeypatch.setenv("XAPI_CHDB_PATH", str(past.path))
    with past.open() as (warehouse, _):
        warehouse.command(growth.LEFTOVERS, bucket=growth.BUCKET)
    with Pipeline(Settings.from_env()) as pipeline:
        garbage = pipeline.gc(age=0, even_running=True)
    assert (garbage.loads, garbage.lines) == (1, LINES // 2)

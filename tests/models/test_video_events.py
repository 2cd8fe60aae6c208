"""From lines to video_events: every value right, every event once, for all kinds of repeats."""

import gzip
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.files import local_objects
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.compare import differences, readings
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.paths import SHARED

FUN = SHARED / "fun_mooc_video.jsonl.gz"
TORUS = SHARED / "torus_shapes.jsonl"

needs_shared_data = pytest.mark.skipif(
    not FUN.exists(), reason=f"development data is not here: {SHARED}"
)

COUNTS = """
select count() as rows, uniqExact(event_id) as events from {database:Identifier}.video_events
"""

IDS = "select toString(event_id) as id from {database:Identifier}.video_events order by id"


def load_and_build(items, folder: Path, **options) -> None:
    """Load objects and bring video_events up to date."""
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        for batch in load(warehouse, settings, items, **options):
            assert {outcome.outcome for outcome in batch} <= {"committed", "skipped"}, batch
    run_dbt("run", "--select", "+video_events", folder=folder)


def query(sql: str) -> list[dict]:
    """Rows of a query on the database of the environment."""
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        return warehouse.query(sql)


@needs_shared_data
def test_objects_and_local_files_give_the_same_events_as_an_independent_reading(
    put, bucket, tmp_path, monkeypatch
):
    bodies = {"fun.jsonl.gz": gzip.decompress(FUN.read_bytes()), "torus.jsonl": TORUS.read_bytes()}
    ids = {}

    monkeypatch.setenv("XAPI_CHDB_PATH", str(tmp_path / "from-s3"))
    put("section/0/video/fun.jsonl.gz", FUN.read_bytes())
    put("section/2161/video/torus.jsonl", TORUS.read_bytes())
    keys = {
        "fun.jsonl.gz": "section/0/video/fun.jsonl.gz",
        "torus.jsonl": "section/2161/video/torus.jsonl",
    }
    load_and_build([S3Object(bucket, key) for key in keys.values()], tmp_path)
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        expected = readings({f"{bucket}/{keys[name]}": body for name, body in bodies.items()})
        assert differences(warehouse, expected, "video") == []
        ids["s3"] = warehouse.query(IDS)

    monkeypatch.setenv("XAPI_CHDB_PATH", str(tmp_path / "from-files"))
    for path in (FUN, TORUS):
        shutil.copy(path, tmp_path / path.name)
    local = local_objects(tmp_path / FUN.name) + local_objects(tmp_path / TORUS.name)
    load_and_build(local, tmp_path, mode="file")
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        expected = readings(
            {item.key: body for item, body in zip(local, bodies.values(), strict=True)}
        )
        assert differences(warehouse, expected, "video") == []
        ids["files"] = warehouse.query(IDS)

    assert ids["s3"] == ids["files"]
    assert len(ids["s3"]) == 8758 + 13


@needs_shared_data
def test_repeats_of_any_kind_change_nothing(put, bucket, chdb_path, tmp_path):
    body = TORUS.read_bytes()
    lines = body.splitlines()
    put("a/1/first.jsonl", body)
    first = S3Object(bucket, "a/1/first.jsonl")
    load_and_build([first], tmp_path)
    assert query(COUNTS) == [{"rows": 13, "events": 13}]
    before = query("select * from {database:Identifier}.video_events order by event_id")

    put("a/1/again.jsonl", body)
    put("a/1/upside-down.jsonl", b"\n".join(reversed(lines)))
    put("a/1/twice-inside.jsonl", b"\n".join(lines + lines))
    put("b/half-1.jsonl", b"\n".join(lines[:7]))
    put("b/half-2.jsonl", b"\n".join(lines[7:]))
    repeats = [
        [first, first],
        [S3Object(bucket, "a/1/again.jsonl"), S3Object(bucket, "a/1/upside-down.jsonl")],
        [S3Object(bucket, "a/1/twice-inside.jsonl"), S3Object(bucket, "b/half-1.jsonl")],
        [S3Object(bucket, "b/half-2.jsonl")],
    ]
    for items in repeats:
        load_and_build(items, tmp_path)
        assert query(COUNTS) == [{"rows": 13, "events": 13}]
    after = query("select * from {database:Identifier}.video_events order by event_id")
    assert after == before
    # After a forced load the object has another load; the events are the same.
    load_and_build([first], tmp_path, force=True)
    assert query(COUNTS) == [{"rows": 13, "events": 13}]
    assert query(IDS) == sorted(
        ({"id": row["event_id"]} for row in before), key=lambda row: row["id"]
    )


def test_a_load_that_was_not_committed_is_not_seen(put, bucket, warehouse, tmp_path):
    put("a.jsonl", _played("2025-10-01T00:00:00Z"))
    put("b.jsonl", _played("2025-10-02T00:00:00Z"))
    settings = Settings.from_env()
    for key in ("a.jsonl", "b.jsonl"):
        list(load(warehouse, settings, [S3Object(bucket, key)]))
    # As after a crash between the lines and the ledger row.
    warehouse.command(
        "alter table {raw:Identifier}.loads delete where key = 'b.jsonl' "
        "settings mutations_sync = 2"
    )
    warehouse.close()

    run_dbt("run", "--select", "+video_events", folder=tmp_path)
    assert query(COUNTS) == [{"rows": 1, "events": 1}]

    load_and_build([S3Object(bucket, "b.jsonl")], tmp_path)
    assert query(COUNTS) == [{"rows": 2, "events": 2}]


@pytest.mark.long
def test_nothing_is_applied_by_compile_docs_or_an_empty_run(put, bucket, warehouse, tmp_path):
    put("a.jsonl", _played("2025-10-01T00:00:00Z"))
    list(load(warehouse, Settings.from_env(), [S3Object(bucket, "a.jsonl")]))
    warehouse.close()

    run_dbt("run", "--empty", "--select", "+video_events", folder=tmp_path)
    run_dbt("compile", folder=tmp_path)
    run_dbt("docs", "generate", folder=tmp_path)
    assert query(COUNTS) == [{"rows": 0, "events": 0}]

    run_dbt("run", "--select", "+video_events", folder=tmp_path)
    assert query(COUNTS) == [{"rows": 1, "events": 1}]
    run_dbt("run", "--full-refresh", "--select", "+video_events", folder=tmp_path)
    run_dbt("run", "--select", "+video_events", folder=tmp_path)
    assert query(COUNTS) == [{"rows": 1, "events": 1}]


def _played(time: str) -> bytes:
    return (
        '{"actor":{"account":{"name":1}},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},'
        '"object":{"id":"v"},'
        '"context":{"extensions":{"http://oli.cmu.edu/extensions/section_id":7}},'
        f'"timestamp":"{time}"}}'
    ).encode()

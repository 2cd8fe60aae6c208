"""What an overwritten object means, from load to video_events."""

from contextlib import closing
from pathlib import Path

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.dbt_runs import run_dbt

EVENTS = """
select video_url, source_path, source_line, toString(timestamp) as time
from {database:Identifier}.video_events
order by timestamp, video_url
"""

STORED = "select count() as lines from {database:Identifier}.int_xapi__statements"


def statement(video: str, month: int) -> bytes:
    return (
        '{"actor":{"account":{"name":1}},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},'
        f'"object":{{"id":"{video}"}},"timestamp":"2025-{month:02}-01T00:00:00Z"}}'
    ).encode()


def load_and_build(
    bucket: str, keys: list[str], folder: Path, **options
) -> list[tuple[str, str, int]]:
    """Load objects and build; return video, key and line of each event."""
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        list(load(warehouse, settings, [S3Object(bucket, key) for key in keys], **options))
    run_dbt("run", "--select", "+video_events", folder=folder)
    with closing(open_warehouse(settings)) as warehouse:
        rows = warehouse.query(EVENTS)
    return [
        (row["video_url"], row["source_path"].partition("/")[2], row["source_line"]) for row in rows
    ]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("append", [("old", "a", 1), ("kept", "a", 2), ("elsewhere", "b", 1), ("new", "a", 2)]),
        ("ignore", [("old", "a", 1), ("kept", "a", 2), ("elsewhere", "b", 1)]),
        ("replace", [("kept", "a", 1), ("elsewhere", "b", 1), ("new", "a", 2)]),
    ],
)
def test_an_overwritten_object_follows_the_policy(
    put, bucket, chdb_path, tmp_path, policy, expected
):
    elsewhere = statement("elsewhere", 3)
    put("b", elsewhere)
    put("a", b"\n".join([statement("old", 1), statement("kept", 2)]))
    load_and_build(bucket, ["a", "b"], tmp_path)
    put("a", b"\n".join([statement("kept", 2), statement("new", 4)]))

    assert load_and_build(bucket, ["a"], tmp_path, policy=policy) == expected
    # Nothing more happens, however often it runs; a rebuild from raw says the same.
    assert load_and_build(bucket, ["a"], tmp_path, policy=policy) == expected
    run_dbt("run", "--full-refresh", "--select", "+video_events", folder=tmp_path)
    assert load_and_build(bucket, [], tmp_path) == expected


def test_an_event_that_another_object_says_too_outlives_its_replaced_source(
    put, bucket, chdb_path, tmp_path
):
    put("a", statement("shared", 1))
    assert load_and_build(bucket, ["a"], tmp_path) == [("shared", "a", 1)]
    put("b", statement("shared", 1))
    load_and_build(bucket, ["b"], tmp_path)
    put("a", b"")
    assert load_and_build(bucket, ["a"], tmp_path, policy="replace") == [("shared", "b", 1)]
    put("b", b"")
    assert load_and_build(bucket, ["b"], tmp_path, policy="replace") == []


def test_going_back_to_an_older_version_is_a_replacement_too(put, bucket, chdb_path, tmp_path):
    for video in ("first", "second", "first"):
        put("a", statement(video, 1))
        events = load_and_build(bucket, ["a"], tmp_path, policy="replace")
        assert events == [(video, "a", 1)]


def test_a_forced_load_takes_the_place_of_the_one_before(put, bucket, chdb_path, tmp_path):
    put("a", b"\n".join([statement("x", 1), statement("y", 2)]))
    before = load_and_build(bucket, ["a"], tmp_path)
    # Raw lines were damaged: one is gone. Loading the object anew mends it.
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        warehouse.command(
            "alter table {raw:Identifier}.statements delete where source_line = 2 "
            "settings mutations_sync = 2"
        )
    assert load_and_build(bucket, ["a"], tmp_path, force=True) == before
    run_dbt("run", "--full-refresh", "--select", "+video_events", folder=tmp_path)
    assert load_and_build(bucket, [], tmp_path) == before
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        assert warehouse.query(STORED) == [{"lines": 2}]

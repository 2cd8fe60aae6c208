"""The pipeline on older engines that it accepts: the same events as on the newest one.

`make engines` installs them, each with its own Python; `make test` does not run this. A
stand-in for a server (clickhouse_http.py) runs in that Python, everything else in this one.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.clickhouse.warehouse import Warehouse
from loader.demo.sample import SamplePlan, objects
from loader.files import local_objects
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.bulk_lake import fill, run_cli
from tests.helpers.clickhouse_process import ENGINES, start_process
from tests.helpers.compare import TABLES, differences, readings
from tests.helpers.dbt_runs import run_dbt

PYTHONS = sorted(ENGINES.glob("*/bin/python"))
PLAN = SamplePlan(sections=2, months=1)
ODD = "section/{7} it's odd/video/100% ?.jsonl"
RANGE = "{start_date: 2025-09-08, end_date: 2025-09-21}"

IDS = """
select count() as events, toString(groupBitXor(reinterpretAsUInt128(event_id))) as ids
from {database:Identifier}.$table
"""


@pytest.fixture(params=PYTHONS, ids=[python.parts[-3] for python in PYTHONS])
def server(request, bucket, tmp_path, monkeypatch) -> Iterator[Settings]:
    """A server of an older engine; the settings name it as target `server`."""
    config = engine_config(Settings.from_env())
    where = ("--path", str(tmp_path / "server"), "--config-file", str(config))
    process, port = start_process(*where, python=request.param)
    monkeypatch.setenv("XAPI_TARGET", "server")
    monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
    monkeypatch.setenv("CLICKHOUSE_PORT", str(port))
    settings = Settings.from_env()
    try:
        with closing(open_warehouse(settings)) as warehouse:
            assert warehouse.version == tuple(map(int, request.param.parts[-3].split(".")))
        yield settings
    finally:
        process.kill()
        process.wait()


def build(folder: Path, *more: str) -> None:
    """Run dbt and all data tests."""
    run_dbt("build", "--exclude-resource-type", "unit_test", *more, folder=folder)


def wrong(settings: Settings, bodies: dict[str, bytes]) -> list[str]:
    """What the tables tell otherwise than an independent reading of the objects."""
    expected = readings(bodies)
    with closing(open_warehouse(settings)) as warehouse:
        return [line for family in TABLES for line in differences(warehouse, expected, family)]


def ids(warehouse: Warehouse) -> dict[str, dict]:
    """The events of each table: how many, and a sum of their ids."""
    return {table: warehouse.query(IDS.replace("$table", table))[0] for table in TABLES.values()}


def test_an_older_server_makes_the_same_events(
    server, bucket, tmp_path, capsys, monkeypatch, chdb_path
):
    lake = {one.key: one.body for one in objects(PLAN)}
    lake[ODD] = next(iter(lake.values())).replace(b"T", b"t")
    fill(bucket, lake)
    run_cli(capsys, "init")
    # Some of it through the handler of the Lambda, which has another client.
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"mode": "bulk", "end_date": "2025-09-07"}))
    by_handler = json.loads(run_cli(capsys, "invoke", str(event)))["objects"]["committed"]
    assert 0 < by_handler < len(lake)
    run_cli(capsys, "backfill", f"s3://{bucket}/section/")
    build(tmp_path)
    with closing(open_warehouse(server)) as warehouse:
        older = ids(warehouse)
    run_cli(capsys, "reconcile", f"s3://{bucket}/section/")
    # Again: nothing changes; days rebuilt from raw are the same.
    run_cli(capsys, "backfill", f"s3://{bucket}/section/")
    build(tmp_path)
    run_dbt("run", "--select", "marts.events", "--vars", RANGE, folder=tmp_path)
    with closing(open_warehouse(server)) as warehouse:
        assert ids(warehouse) == older

    # The newest engine, embedded, gives these events the same ids.
    monkeypatch.setenv("XAPI_TARGET", "embedded")
    run_cli(capsys, "backfill", f"s3://{bucket}/section/")
    run_dbt("run", folder=tmp_path / "embedded")
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        assert ids(warehouse) == older


def test_an_older_server_follows_replaced_and_forced_objects(server, bucket, tmp_path, put):
    plans = (SamplePlan(seed, sections=1, months=1, odd_objects=False) for seed in (1, 2))
    old, new = (list(objects(plan)) for plan in plans)
    first = {f"section/1/video/{number}.jsonl": one.body for number, one in enumerate(old[:9])}
    fill(bucket, first)
    items = [S3Object(bucket, key) for key in first]
    local = tmp_path / "a local file.jsonl"
    local.write_bytes(old[9].body)
    with closing(open_warehouse(server)) as warehouse:
        schema.init(warehouse, server)
        for one in (items, local_objects(local)):
            list(load(warehouse, server, one))
    build(tmp_path)
    bodies = {f"{bucket}/{key}": body for key, body in first.items()}
    bodies[str(local)] = old[9].body
    assert wrong(server, bodies) == []

    second = dict(zip(list(first)[:4], [one.body for one in new[:4]], strict=True))
    fill(bucket, second)
    with closing(open_warehouse(server)) as warehouse:
        list(load(warehouse, server, items[:4], policy="replace"))
        list(load(warehouse, server, items[6:], force=True))
    build(tmp_path)
    bodies |= {f"{bucket}/{key}": body for key, body in second.items()}
    assert wrong(server, bodies) == []
    build(tmp_path, "--full-refresh")
    assert wrong(server, bodies) == []

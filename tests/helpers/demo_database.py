"""The demo's statements and the development data, loaded and built once for all tests."""

from pathlib import Path

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.demo.sample import SamplePlan, objects
from loader.files import local_objects
from loader.load import load
from loader.settings import Settings
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.paths import SHARED


def build_demo(folder: Path) -> None:
    """Load them and build all tables but those of operations."""
    lake = folder / "lake"
    lake.mkdir(parents=True)
    for number, item in enumerate(objects(SamplePlan())):
        suffix = ".jsonl.gz" if item.key.endswith(".gz") else ".jsonl"
        (lake / f"{number}{suffix}").write_bytes(item.body)
    for path in SHARED.glob("*.jsonl*"):
        (lake / path.name).write_bytes(path.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAPI_CHDB_PATH", str(folder / "clickhouse"))
        settings = Settings.from_env()
        warehouse = open_warehouse(settings)
        schema.init(warehouse, settings)
        list(load(warehouse, settings, local_objects(lake), mode="file"))
        warehouse.close()
        run_dbt("run", "--exclude", "operations", folder=folder)

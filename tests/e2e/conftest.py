"""A local AWS with the real stack and the real zip, and a ClickHouse server beside it.

`make e2e` runs these; `make test` does not.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from e2e.stage import ClickHouse, Stack
from ministack import MiniStack, wait_until

from loader import schema
from loader.errors import LoaderError
from loader.http_warehouse import HttpWarehouse

if not os.environ.get("XAPI_E2E"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """An AWS without a stack yet, and a ClickHouse with empty tables."""
    # Without a pause between attempts, what will not pass is a dead letter soon.
    with MiniStack({"XAPI_RETRY_SECONDS": "1"}) as aws:
        clickhouse = ClickHouse(tmp_path, aws.endpoint)
        clickhouse.start()
        try:
            with closing(HttpWarehouse(clickhouse.settings)) as warehouse:
                schema.init(warehouse, clickhouse.settings)
            yield Stack(aws, clickhouse)
        finally:
            clickhouse.kill()


@pytest.fixture
def until() -> Callable:
    """Wait for something; a question that cannot be answered yet is asked again."""

    def wait(probe: Callable[[], Any], seconds: float = 60) -> Any:
        def patient() -> Any:
            try:
                return probe()
            except LoaderError:
                return None

        return wait_until(patient, seconds)

    return wait

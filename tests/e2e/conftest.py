"""A local AWS with the real stack and the real zip, and a ClickHouse server beside it.

`make e2e` installs the stand-in for AWS and runs these; `make test` does not.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from loader.clickhouse import schema
from loader.clickhouse.http import HttpWarehouse
from loader.errors import LoaderError
from tests.e2e.stage import PATIENCE, ClickHouse, Stack
from tests.helpers.ministack import COMMAND, MiniStack, wait_until

if not COMMAND.exists():
    collect_ignore_glob = ["test_*.py"]


@contextmanager
def beside_clickhouse(folder: Path, **environment: str) -> Iterator[Stack]:
    """An AWS without a stack yet, and a ClickHouse with empty tables."""
    # Without a pause between attempts, what will not pass is a dead letter soon.
    with MiniStack({"XAPI_RETRY_SECONDS": "1", **environment}) as aws:
        clickhouse = ClickHouse(folder, aws.endpoint)
        clickhouse.start()
        try:
            with closing(HttpWarehouse(clickhouse.settings)) as warehouse:
                schema.init(warehouse, clickhouse.settings)
            yield Stack(aws, clickhouse)
        finally:
            clickhouse.kill()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """An AWS that allows everything."""
    with beside_clickhouse(tmp_path) as stack:
        yield stack


@pytest.fixture
def strict_stack(tmp_path: Path) -> Iterator[Stack]:
    """An AWS that enforces the policies of roles and queues; 'test' is its root user."""
    root = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with beside_clickhouse(tmp_path, AUTH="true", **root) as stack:
        yield stack


@pytest.fixture
def until() -> Callable:
    """Wait for a condition; a check that fails with an error is repeated."""

    def wait(probe: Callable[[], Any]) -> Any:
        def patient() -> Any:
            try:
                return probe()
            except LoaderError:
                return None

        return wait_until(patient, PATIENCE)

    return wait

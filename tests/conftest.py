"""Fixtures for all tests: a local S3, buckets in it, and embedded databases."""

import logging
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.settings import Settings
from tests.helpers.secrets import (
    AWS_SECRET,
    SHOWN,
    SearchedPopen,
    files_with_secrets,
    shows_secret,
)

# The files that take longest, longest first. Started last, one of them would keep one worker busy
# while the other has nothing left to do.
LONG = (
    "test_video_marts.py",
    "test_upgrade.py",
    "test_rebuild.py",
    "test_balance.py",
    "test_roles.py",
    "test_event_ids.py",
    "test_dbt_commands.py",
    "test_video_events.py",
    "test_rules.py",
    "test_restore.py",
    "test_report.py",
    "test_chaos.py",
    "test_dbt_unit_tests.py",
    "test_demo.py",
    "test_sequences.py",
    "test_query.py",
    "test_fence.py",
    "test_policies.py",
    "test_kept_views.py",
    "test_families.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by file, longest first; with --no-loadscope-reorder xdist keeps this order."""
    rank = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[pytest.TestReport]:
    """A test that passed, but printed or logged a secret, has failed; so has one whose processes
    did."""
    report = yield
    shown = [name for name, text in report.sections if shows_secret(text)]
    shown += [f"output of {command}" for command in SHOWN]
    SHOWN.clear()
    if shown and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} shows a secret of the tests in: {', '.join(shown)}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_secret_in_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No file that the tests leave (logs, output of processes, databases) contains a secret."""
    yield
    found = [str(path) for path in files_with_secrets(tmp_path_factory.getbasetemp())]
    assert not found, f"files with a secret of the tests: {found}"


@pytest.fixture(scope="session", autouse=True)
def _search_output_of_processes() -> Iterator[None]:
    """What processes print is searched like what the tests print."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", SearchedPopen)
        yield


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Remove settings of the person who runs the tests, so that results do not depend on them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("XAPI_", "CLICKHOUSE_", "AWS_", "S3_XAPI_")) and name not in (
                "XAPI_SHARED_DATA",
                "XAPI_CHAOS",
                "AWS_CA_BUNDLE",
            ):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "test-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


@pytest.fixture(scope="session")
def s3_endpoint(_clean_environment: None) -> Iterator[str]:
    """A local S3 (moto's server) for the whole run; AWS_ENDPOINT_URL points at it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield endpoint
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, the only one that may be loaded."""
    name = f"lake-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    monkeypatch.setenv("S3_XAPI_BUCKET_NAME", name)
    return name


@pytest.fixture
def put(bucket: str):
    """Write an object into the bucket: put(key, body)."""

    def put_object(key: str, body: bytes, **more) -> None:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=body, **more)

    return put_object


@pytest.fixture
def chdb_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new embedded database; the settings name it."""
    path = tmp_path / "clickhouse"
    monkeypatch.setenv("XAPI_CHDB_PATH", str(path))
    return path


@pytest.fixture
def warehouse(chdb_path: Path):
    """An open embedded database with empty raw tables. Closed after the test."""
    settings = Settings.from_env()
    opened = open_warehouse(settings)
    # Otherwise the engine waits less than a second for S3, which is slow on a busy machine, and
    # then requests the object a second time.
    opened.apply_settings({"s3_use_adaptive_timeouts": "0"})
    schema.init(opened, settings)
    yield opened
    opened.close()

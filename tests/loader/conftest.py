"""Fixtures of the loader's tests: lakes, queues, ClickHouse servers and a trigger on one."""

import gzip
import json
from collections.abc import Iterator
from contextlib import closing

import boto3
import pytest

from loader.clickhouse import schema
from loader.clickhouse.embedded import engine_config
from loader.clickhouse.http import HttpWarehouse
from loader.settings import Settings
from tests.helpers.bulk_lake import LINE, fill, key_of
from tests.helpers.clickhouse_clients import connect
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.secrets import PASSWORD
from tests.helpers.trigger_stage import Stage


@pytest.fixture
def lake(bucket, chdb_path):
    """Two sections, three days, and things that are not to be loaded. Returns the URI."""
    fill(
        bucket,
        {
            key_of(1, "2025-08-31"): LINE,
            key_of(1, "2025-09-01"): LINE,
            key_of(1, "2025-09-01", 1, ".jsonl.gz"): gzip.compress(LINE + b"\n" + LINE),
            key_of(1, "2025-09-02"): LINE,
            key_of(2, "2025-09-01"): LINE,
            key_of(10, "2025-09-01"): LINE,
            key_of(1, "2025-09-01", 2, ".json"): b"no",
            "section/1/video/": b"",
            "other/2025-09-01T00-00-00.000000Z_A.jsonl": LINE,
        },
    )
    return f"s3://{bucket}/section/"


@pytest.fixture
def queue(bucket, monkeypatch) -> str:
    """A queue whose messages go to its dead-letter queue after two attempts."""
    sqs = boto3.client("sqs")
    dead = sqs.create_queue(QueueName=f"{bucket}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    redrive = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 2}
    attributes = {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "30"}
    url = sqs.create_queue(QueueName=bucket, Attributes=attributes)["QueueUrl"]
    monkeypatch.setenv("XAPI_SQS_QUEUE_URL", url)
    monkeypatch.setenv("XAPI_RETRY_SECONDS", "0")
    return url


@pytest.fixture
def notify(queue, bucket):
    """Put messages into the queue that name objects: notify(key, …)."""

    def send(*keys: str) -> None:
        for key in keys:
            body = json.dumps({"bucket": bucket, "key": key})
            boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=body)

    return send


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHttp]:
    """One server for a file of tests: a process has one engine."""
    with ClickHouseHttp(tmp_path_factory.mktemp("clickhouse"), password=PASSWORD) as server:
        yield server


@pytest.fixture
def server(bare_server: ClickHouseHttp) -> ClickHouseHttp:
    """The server with an empty table and nothing recorded."""
    bare_server.fault = None
    client = connect(bare_server)
    client.command("DROP TABLE IF EXISTS lines")
    client.command("CREATE TABLE lines (load_id UUID, line String) ENGINE MergeTree ORDER BY line")
    bare_server.queries.clear()
    return bare_server


@pytest.fixture(scope="module")
def started_lake_server(s3_endpoint, tmp_path_factory) -> Iterator[ClickHouseHttp]:
    """A ClickHouse server that reads from the local S3."""
    config = engine_config(Settings.from_env())
    path = tmp_path_factory.mktemp("clickhouse")
    with ClickHouseHttp(path, str(config), password=PASSWORD) as server:
        settings = Settings(target="server", port=server.port, password=PASSWORD)
        with closing(HttpWarehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
        yield server


@pytest.fixture
def settings(started_lake_server, bucket) -> Settings:
    """The server, and a new bucket as the only one that may be loaded."""
    return Settings(
        target="server",
        host="127.0.0.1",
        port=started_lake_server.port,
        password=PASSWORD,
        bucket=bucket,
        allowed_buckets=(bucket,),
    )


@pytest.fixture
def lake_server(started_lake_server) -> ClickHouseHttp:
    """The server without faults and nothing recorded; what other tests loaded is of other
    buckets."""
    started_lake_server.fault = None
    started_lake_server.queries.clear()
    return started_lake_server


@pytest.fixture
def stage(lake_server, settings) -> Iterator[Stage]:
    """A trigger with that server and that bucket. Closed after the test."""
    opened = Stage(settings)
    yield opened
    opened.trigger.close()

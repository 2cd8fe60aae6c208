"""What the tests of the trigger share: a ClickHouse server, a trigger on it, and its messages."""

import io
import json
import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from loader.clickhouse import schema
from loader.clickhouse.embedded import engine_config
from loader.clickhouse.http import HttpWarehouse, open_http
from loader.events.trigger import Trigger
from loader.log import Log
from loader.settings import Settings
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.secrets import PASSWORD

LINE = b'{"verb":{"id":"x"}}\n'
INSERT = re.compile(r"insert into \{raw:Identifier\}\.statements")

# What readers may see: the rows of the earliest commit of each version.
VISIBLE = """
select key, etag, count() as rows, uniqExact(source_line) as places
from {raw:Identifier}.statements
where bucket in {buckets:Array(String)} and (load_id, bucket, key) in (
    select load_id, bucket, key
    from {raw:Identifier}.loads
    where outcome = 'committed'
    order by committed_at, load_id
    limit 1 by bucket, key, etag
)
group by bucket, key, etag
order by key
"""

LEDGER = """
select key, outcome, error, mode, rows
from {raw:Identifier}.loads
where bucket in {buckets:Array(String)}
order by committed_at, key
"""


@pytest.fixture(scope="module")
def running(s3_endpoint, tmp_path_factory) -> Iterator[ClickHouseHttp]:
    """A ClickHouse server that reads from the local S3."""
    config = engine_config(Settings.from_env())
    path = tmp_path_factory.mktemp("clickhouse")
    with ClickHouseHttp(path, str(config), password=PASSWORD) as server:
        settings = Settings(target="server", port=server.port, password=PASSWORD)
        with closing(HttpWarehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
        yield server


@pytest.fixture
def settings(running, bucket) -> Settings:
    """The server, and a new bucket as the only one that may be loaded."""
    return Settings(
        target="server",
        host="127.0.0.1",
        port=running.port,
        password=PASSWORD,
        bucket=bucket,
        allowed_buckets=(bucket,),
    )


@pytest.fixture
def server(running) -> ClickHouseHttp:
    """The server without faults and nothing recorded; what other tests loaded is of other
    buckets."""
    running.fault = None
    running.queries.clear()
    return running


class Stage:
    """A trigger, what it logs, and what it tells its queue."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.output = io.StringIO()
        self.delays: dict[str, int] = {}
        self.warehouse = HttpWarehouse(settings)
        self.trigger = Trigger(
            settings,
            partial(open_http, settings, None),
            Log("INFO", self.output),
            delay=lambda delays: self.delays.update(delays),
        )

    def lines(self, event: str = "") -> list[dict]:
        """The lines it logged."""
        lines = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [line for line in lines if not event or line.get("event") == event]

    def deliver(self, *messages, seconds: float = 20) -> list[str]:
        """Hand out messages as a batch of a queue; the ids of those that failed."""
        answer = self.trigger.answer(batch(*messages), seconds)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def visible(self, *buckets: str) -> dict[str, int]:
        """Rows that readers may see, by key."""
        rows = self.warehouse.query(VISIBLE, buckets=[*self.settings.allowed_buckets, *buckets])
        assert all(row["rows"] == row["places"] for row in rows), rows
        return {row["key"]: row["rows"] for row in rows}

    def ledger(self, *buckets: str) -> list[dict]:
        """Rows of the ledger, oldest first."""
        return self.warehouse.query(LEDGER, buckets=[*self.settings.allowed_buckets, *buckets])


@pytest.fixture
def stage(server, settings) -> Iterator[Stage]:
    """A trigger with that server and that bucket. Closed after the test."""
    opened = Stage(settings)
    yield opened
    opened.trigger.close()


def batch(*messages) -> dict:
    """A batch of a queue; the messages are named 'm0', 'm1', …"""
    return {
        "Records": [
            {
                "eventSource": "aws:sqs",
                "messageId": f"m{number}",
                "receiptHandle": f"r{number}",
                "attributes": {"ApproximateReceiveCount": "2"},
                "body": message if isinstance(message, str) else json.dumps(message),
            }
            for number, message in enumerate(messages)
        ]
    }


def named(bucket: str, *keys: str, etag: str | None = None) -> dict:
    """A message of EventBridge for each of some keys (or one for several, by hand)."""
    about = {} if etag is None else {"etag": etag}
    events = [
        {
            "source": "aws.s3",
            "detail-type": "Object Created",
            "time": "2025-10-01T00:00:15Z",
            "detail": {"bucket": {"name": bucket}, "object": {"key": key} | about},
        }
        for key in keys
    ]
    return events[0]

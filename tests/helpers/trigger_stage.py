"""A trigger on a ClickHouse server, and its messages, for the tests of the trigger."""

import io
import json
import re
from functools import partial

from loader.clickhouse.http import HttpWarehouse, open_http
from loader.clickhouse.warehouse import Warehouse
from loader.events.trigger import Trigger
from loader.log import Log
from loader.settings import Settings

LINE = b'{"verb":{"id":"x"}}\n'
INSERT = re.compile(r"insert into \{raw:Identifier\}\.statements")

# What readers may see: the rows of the earliest commit of each version.
# What readers may see: the rows of the earliest commit of each version.
VISIBLE = """
select key, etag, count() as rows, uniqExact(source_line) as places, uniqExact(load_id) as loads
from {raw:Identifier}.statements
where (empty({buckets:Array(String)}) or bucket in {buckets:Array(String)})
    and (load_id, bucket, key) in (
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


class Stage:
    """A trigger with its log and the delays that it sets in its queue."""

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
        """Deliver messages as a batch of a queue; returns the ids of those that failed."""
        answer = self.trigger.answer(batch(*messages), seconds)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def visible(self, *buckets: str) -> dict[str, int]:
        """Rows that readers may see, by key."""
        return visible_rows(self.warehouse, *self.settings.allowed_buckets, *buckets)

    def ledger(self, *buckets: str) -> list[dict]:
        """Rows of the ledger, oldest first."""
        return self.warehouse.query(LEDGER, buckets=[*self.settings.allowed_buckets, *buckets])


def visible_rows(warehouse: Warehouse, *buckets: str) -> dict[str, int]:
    """Rows that readers may see, by key; each line once, all of one load.

    Args:
        warehouse: where to look.
        buckets: whose objects; of all buckets if left out.
    """
    rows = warehouse.query(VISIBLE, buckets=list(buckets))
    assert all(row["rows"] == row["places"] and row["loads"] == 1 for row in rows), rows
    return {row["key"]: row["rows"] for row in rows}


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

"""A worker on a queue, and queries on its loads, for tests of worker, dbt runs and producers."""

import io
import json
from contextlib import closing

import boto3

from loader.aws.sqs import Queue
from loader.clickhouse.connect import open_warehouse
from loader.events.trigger import from_settings
from loader.events.worker import Worker
from loader.log import Log
from loader.settings import Settings

LINE = b'{"verb":{"id":"x"}}\n'

ROWS = "select key, count() as rows from {raw:Identifier}.statements group by key order by key"
LOADS = "select key, outcome, mode, load_id from {raw:Identifier}.loads order by committed_at, key"


def held(url: str) -> tuple[int, int]:
    """Numbers of visible messages and of messages in flight."""
    answer = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    found = answer["Attributes"]
    waiting = int(found["ApproximateNumberOfMessages"])
    return waiting, int(found["ApproximateNumberOfMessagesNotVisible"])


def work(queue: str, **options):
    """Run a worker in this process until the queue is empty; its totals and its log."""
    settings, output = Settings.from_env(), io.StringIO()
    log = Log("DEBUG", output)
    options.setdefault("trigger", from_settings(settings, log=log))
    worker = Worker(Queue(queue), log=log, poll=0, release=True, **options)
    totals = worker.run(once=True)
    return totals, [json.loads(line) for line in output.getvalue().splitlines()]


def ask(sql: str) -> list[dict]:
    """Query the embedded database, which no other process may have open."""
    with closing(open_warehouse(Settings.from_env(), wait=1)) as warehouse:
        return warehouse.query(sql)

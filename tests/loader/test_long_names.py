"""Long names with characters that are escaped: their objects fail alone, or load, and the batch of
their neighbours is never refused as too long."""

import json

import boto3
import pytest

from loader import ledger
from loader.clickhouse.connect import open_warehouse
from loader.events import redrive
from loader.load import load
from loader.objects import S3Object
from tests.helpers.trigger_stage import LINE, named

GOOD = "section/1/video/good.jsonl"


@pytest.mark.parametrize("mark", ["\t", "\\", "`"])
def test_long_keys_of_one_batch_load(stage, put, bucket, mark):
    keys = [f"section/1/video/{number:03}{mark * 985}.jsonl" for number in range(80)]
    for key in (GOOD, *keys):
        put(key, LINE)
    assert stage.deliver(*(named(bucket, key) for key in (GOOD, *keys)), seconds=60) == []
    assert stage.visible() == {key: 1 for key in (GOOD, *keys)}


def test_long_keys_load_through_the_other_client_too(lake_server, settings, put, bucket):
    keys = [f"section/1/video/{number:03}{'`' * 985}.jsonl" for number in range(80)]
    for key in keys:
        put(key, LINE)
    warehouse = open_warehouse(settings)
    items = [S3Object(bucket, key) for key in keys]
    done = [one for batch in load(warehouse, settings, items) for one in batch]
    warehouse.close()
    assert [one.outcome for one in done] == ["committed"] * len(keys)


@pytest.mark.parametrize("mark", ["\\", "\x01", "'"])
def test_refused_keys_whose_errors_quote_them_leave_their_neighbours(stage, put, bucket, mark):
    put(GOOD, LINE)
    keys = [f"section/1//{number:03}{mark * 990}.jsonl" for number in range(90)]
    failed = stage.deliver(*(named(bucket, key) for key in (GOOD, *keys)), seconds=60)
    assert failed == [f"m{number}" for number in range(1, 91)]
    assert stage.visible() == {GOOD: 1}
    errors = [row["error"] for row in stage.ledger() if row["outcome"] == "failed"]
    assert len(errors) == 90
    assert {len(error.encode()) <= ledger.MOST_ERROR_BYTES for error in errors} == {True}
    assert all(f"s3://{bucket}/section/1//" in error for error in errors)


def test_dead_letters_with_long_keys_are_explained(stage, bucket, queue):
    keys = [f"a/{number}{chr(92) * 1000}.jsonl" for number in range(150)]
    for key in keys:
        body = json.dumps({"bucket": bucket, "key": key})
        boto3.client("sqs").send_message(QueueUrl=f"{queue}-dead", MessageBody=body)
    source = redrive.Queue(queue)
    found = redrive.inspect(source, source.dead_letters(), stage.warehouse, 1000)
    [reason] = found.reasons
    assert (reason["reason"], reason["messages"]) == (redrive.UNTRIED, 150)

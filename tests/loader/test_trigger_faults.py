"""Events under faults, against the clock and at the same time: nothing is lost, nothing doubled."""

import io
import re
import threading
import time

import boto3
import pytest

from loader.errors import RetryableError
from loader.events.messages import Message
from loader.events.trigger import Trigger, Verdict
from loader.log import Log
from tests.helpers.trigger_stage import (
    INSERT,
    LINE,
    Stage,
    batch,
    named,
)

STATEMENTS = {
    "the question what is committed": r"[\s\S]*committed_objects",
    "the insert of lines": INSERT.pattern,
    "the look at what was inserted": r"select \*\s+from \(\s+select\s+key,\s+any",
    "the commit": r"insert into \{raw:Identifier\}\.loads",
}


@pytest.mark.parametrize("fault", ["refuse", "reset", "lose_answer", "http_500", ("delay", 30)])
@pytest.mark.parametrize("place", STATEMENTS)
def test_a_fault_anywhere_acknowledges_nothing_and_loses_nothing(
    stage, lake_server, put, bucket, place, fault
):
    """Redelivered, it is there exactly once."""
    keys = [f"section/{n}/video/{n}.jsonl" for n in range(3)]
    for key in keys:
        put(key, LINE * 2)
    etag = boto3.client("s3").head_object(Bucket=bucket, Key=keys[0])["ETag"].strip('"')
    lake_server.fault = lambda sql: fault if re.match(STATEMENTS[place], sql) else None
    messages = [named(bucket, key, etag=etag) for key in keys]

    committed = place == "the commit" and fault == "lose_answer"
    # Where it must reach the commit, a busy machine needs more time.
    seconds = 10 if committed else 1.2
    assert stage.deliver(*messages, seconds=seconds) == ["m0", "m1", "m2"]
    assert stage.visible() == ({key: 2 for key in keys} if committed else {})
    # What may pass comes again later and later.
    assert set(stage.delays.values()) <= {240, 30}

    lake_server.fault = None
    assert stage.deliver(*messages) == []
    assert stage.visible() == {key: 2 for key in keys}


def test_an_answer_comes_before_the_time_is_up(stage, lake_server, put, bucket):
    put("section/1/video/a.jsonl", LINE)
    lake_server.fault = lambda sql: ("delay", 30)
    started = time.monotonic()
    assert stage.deliver(named(bucket, "section/1/video/a.jsonl"), seconds=2) == ["m0"]
    assert time.monotonic() - started < 2
    lake_server.fault = None


def test_an_insert_that_outlasts_the_time_is_unknown_in_the_ledger(stage, lake_server, put, bucket):
    put("section/1/video/a.jsonl", LINE)
    lake_server.fault = lambda sql: ("delay", 30) if INSERT.match(sql) else None
    assert stage.deliver(named(bucket, "section/1/video/a.jsonl"), seconds=4) == ["m0"]
    [row] = stage.ledger()
    assert row["outcome"] == "unknown"
    assert "in time" in row["error"]
    lake_server.fault = None


def test_concurrent_deliveries_leave_one_winner(lake_server, settings, put, bucket):
    keys = [f"section/{n}/video/{n}.jsonl" for n in range(5)]
    for key in keys:
        put(key, LINE * 4)
    stages = [Stage(settings) for _ in range(4)]
    failures: list[str] = []

    def deliver(number: int) -> None:
        order = keys[number:] + keys[:number]
        failures.extend(stages[number].deliver(*[named(bucket, key) for key in order]))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert stages[0].visible() == {key: 4 for key in keys}


def test_notifications_out_of_order_leave_each_version_once(stage, put, bucket):
    key = "section/1/video/a.jsonl"
    versions = []
    for body in (LINE, LINE * 2):
        put(key, body)
        found = boto3.client("s3").head_object(Bucket=bucket, Key=key)
        versions.append(found["ETag"].strip('"'))
    for etag in reversed(versions):
        assert stage.deliver(named(bucket, key, etag=etag)) == []
    # Only the second version can be read any more; the first notification brings nothing new.
    assert stage.visible() == {key: 2}


def test_a_fault_of_ours_acknowledges_nothing(settings):
    def broken(_deadline):
        raise ZeroDivisionError("a bug")

    output = io.StringIO()
    trigger = Trigger(settings, broken, Log(stream=output))
    answer = trigger.answer(batch(named(settings.bucket, "section/1/video/a.jsonl")), 20)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert "unexpected ZeroDivisionError at test_trigger_faults.py" in output.getvalue()
    assert "a bug" not in output.getvalue()


def test_retryable_failures_wait_longer_each_time_and_permanent_ones_shortly():
    def waits(retryable: bool) -> list[int]:
        messages = [Message(receives=number) for number in (1, 2, 3, 4, 1000)]
        return [Verdict(message, ["x"], retryable).wait(60) for message in messages]

    assert waits(retryable=True) == [60, 240, 900, 900, 900]
    assert waits(retryable=False) == [30] * 5


def test_a_queue_that_refuses_a_delay_changes_nothing_else(stage, bucket):
    def refuse(delays):
        raise RetryableError("no right to")

    stage.trigger.delay = refuse
    assert stage.deliver(named(bucket, "section/1/video/gone.jsonl")) == ["m0"]
    assert stage.lines("delay_refused")[0]["error"] == "no right to"


ODD = {
    "a surrogate in the bucket": {"bucket": {"name": "la\ud800ke"}},
    "a bucket of 200 KB": {"bucket": {"name": "b" * 200_000}},
    "no bucket": {"bucket": None},
    "a surrogate in the etag": {"object": {"eTag": "\ud800"}},
    "an etag of 200 KB": {"object": {"eTag": "e" * 200_000}},
    "an etag that is a list": {"object": {"eTag": [None]}},
    "a key that is a number": {"object": {"key": 7}},
    "no object": {"object": None},
}
HARMLESS = {
    "size true": {"object": {"size": True}},
    "size as text": {"object": {"size": "many"}},
    "a negative size": {"object": {"size": -5}},
    "a huge size": {"object": {"size": 10**30}},
    "year 1": {"time": "0001-01-01T00:00:00+14:00"},
    "year 9999": {"time": "9999-12-31T23:59:59-14:00"},
    "no time": {"time": {"at": None}},
}


def test_odd_messages_fail_alone(stage, put, bucket):
    """Those with odd numbers and times load; those without usable names return to the queue."""
    odd = {**ODD, **HARMLESS}
    keys = {name: f"section/1/video/{number}.jsonl" for number, name in enumerate(odd)}
    messages = []
    for name, change in odd.items():
        put(keys[name], LINE)
        about = {"bucket": {"name": bucket}, "object": {"key": keys[name]}}
        for member in ("bucket", "object"):
            if member in change:
                more = change[member]
                about[member] = about[member] | more if isinstance(more, dict) else more
        record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": about}
        messages.append({"Records": [record | {"eventTime": change.get("time")}]})
    put("section/1/video/good.jsonl", LINE)
    messages.append(named(bucket, "section/1/video/good.jsonl"))

    assert stage.deliver(*messages) == [f"m{number}" for number in range(len(ODD))]
    expected = {*(keys[name] for name in HARMLESS), "section/1/video/good.jsonl"}
    assert stage.visible().keys() == expected

"""The worker, which does what Lambda's event source mapping does; and the commands around it."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest

from loader.aws.sqs import Queue
from loader.errors import LoaderError, RetryableError
from loader.events.worker import Worker
from loader.log import Log
from tests.helpers.ministack import wait_until
from tests.helpers.paths import EVENTS
from tests.helpers.worker_queue import LINE, LOADS, ROWS, ask, held, work

COMMAND = Path(sys.executable).with_name("xapi-elt")


def test_a_queue_is_worked_off_in_one_insert(chdb_path, queue, put, notify):
    """SQS hands out ten messages at most; a batch is of several such handfuls."""
    keys = [f"section/{n:02}/video/a.jsonl" for n in range(23)]
    for key in keys:
        put(key, LINE)
    notify(*keys)
    totals, _ = work(queue)
    assert (totals.batches, totals.messages, totals.failed) == (1, 23, 0)
    assert held(queue) == (0, 0)
    assert {row["key"]: row["rows"] for row in ask(ROWS)} == dict.fromkeys(keys, 1)
    assert len({row["load_id"] for row in ask(LOADS)}) == 1


def test_a_batch_has_no_more_messages_than_it_may(chdb_path, queue, put, notify):
    keys = [f"section/{n:02}/video/a.jsonl" for n in range(5)]
    for key in keys:
        put(key, LINE)
    notify(*keys)
    totals, _ = work(queue, batch_size=2)
    assert (totals.batches, totals.messages) == (3, 5)


def test_only_what_failed_comes_again_and_ends_in_the_dead_letter_queue(
    chdb_path, queue, put, notify
):
    put("section/1/video/good.jsonl", LINE)
    notify("section/1/video/good.jsonl", "section/1/video/gone.jsonl")
    totals, log = work(queue)
    # Once with the other one, once alone; the third time it is not handed out any more.
    assert (totals.messages, totals.failed) == (3, 2)
    assert held(queue) == (0, 0)
    assert held(f"{queue}-dead") == (1, 0)
    assert {row["key"]: row["rows"] for row in ask(ROWS)} == {"section/1/video/good.jsonl": 1}
    outcomes = [(row["key"], row["outcome"]) for row in ask(LOADS)]
    assert outcomes.count(("section/1/video/gone.jsonl", "failed")) == 2
    assert [line["error"] for line in log if line.get("event") == "message_rejected"]


@pytest.mark.parametrize(
    "about", [{"eTag": "\ud800"}, {"eTag": "e" * 100_000}, {"key": None}, {"versionId": [None]}]
)
def test_an_odd_message_fails_alone(chdb_path, queue, bucket, put, notify, about):
    put("section/1/video/good.jsonl", LINE)
    notify("section/1/video/good.jsonl", "section/")
    s3 = {"bucket": {"name": bucket}, "object": {"key": "section/1/video/odd.jsonl"} | about}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}
    body = json.dumps({"Records": [record]})
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=body)
    totals, _ = work(queue)
    assert (totals.messages, totals.failed) == (4, 2)
    assert held(queue) == (0, 0)
    assert held(f"{queue}-dead") == (1, 0)
    assert {row["key"]: row["rows"] for row in ask(ROWS)} == {"section/1/video/good.jsonl": 1}


class FakeTrigger:
    """Returns a given answer after a while."""

    def __init__(self, answer, seconds=0.0):
        self.committed = 0
        self.delay = None
        self._answer = answer
        self._seconds = seconds

    def answer(self, event):
        time.sleep(self._seconds)
        return self._answer(event) if callable(self._answer) else self._answer

    def prepare(self):
        pass

    def close(self):
        pass


def broken(event):
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "answer",
    [
        broken,
        {},
        {"batchItemFailures": [{"itemIdentifier": "an unknown id"}]},
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{}]},
    ],
)
def test_an_answer_that_makes_no_sense_acknowledges_nothing(queue, notify, answer):
    notify("a.jsonl", "b.jsonl")
    totals, _ = work(queue, trigger=FakeTrigger(answer))
    assert (totals.messages, totals.failed) == (2, 2)
    assert held(queue) == (0, 2)


def test_a_long_load_keeps_its_messages_hidden(queue, notify):
    boto3.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    notify("a.jsonl")
    others = []

    def look(event):
        for _ in range(4):
            time.sleep(0.4)
            others.extend(Queue(queue).receive(10, 0))
        return {"batchItemFailures": []}

    totals, _ = work(queue, trigger=FakeTrigger(look))
    assert (totals.messages, totals.failed, others) == (1, 0, [])
    assert held(queue) == (0, 0)


class Arrivals:
    """A queue at which a hundred messages a second arrive, and its clock."""

    url = "q"

    def __init__(self):
        self.now, self.waits, self.taken = 0.0, [], 0

    def receive(self, most, wait):
        self.waits.append(wait)
        if wait and self._number() == 0:  # a long poll ends with the first message
            self.now += 0.01
        first, self.taken = self.taken, self.taken + min(most, 10, self._number())
        record = {"receiptHandle": "r", "attributes": {}}
        return [record | {"messageId": str(number)} for number in range(first, self.taken)]

    def visibility(self):
        return 30

    def depth(self):
        return 0, 0

    def delete(self, receipts):
        list(receipts)

    def delay(self, delays):
        list(delays)

    def _number(self):
        return round(self.now * 100) - self.taken


@pytest.mark.parametrize(("batch_size", "messages", "seconds"), [(1000, 101, 1.01), (50, 50, 0.51)])
def test_a_window_takes_few_requests_and_ends_with_a_full_batch(
    monkeypatch, batch_size, messages, seconds
):
    queue, stop, batches = Arrivals(), threading.Event(), []

    def wait(pause):
        queue.now += pause

    def load(event):
        batches.append((len(event["Records"]), queue.now))
        stop.set()
        return {"batchItemFailures": []}

    monkeypatch.setattr(stop, "wait", wait)
    how = {"batch_size": batch_size, "window": 1, "clock": lambda: queue.now}
    Worker(queue, FakeTrigger(load), Log(stream=io.StringIO()), stop=stop, **how).run()
    assert batches == [(messages, pytest.approx(seconds))]
    assert len(queue.waits) <= 2 + messages / 10 + 4
    assert queue.waits.count(0) == len(queue.waits) - 1


def test_a_missing_queue_is_reported_at_once(s3_endpoint, monkeypatch):
    with pytest.raises(LoaderError, match=r"NonExistentQueue|does not exist"):
        work(f"{s3_endpoint}/123456789012/no-such-queue")


def test_a_queue_that_is_silent_for_a_while_is_waited_for(monkeypatch):
    answers = [RetryableError("silence"), RetryableError("silence"), []]
    stop, output = threading.Event(), io.StringIO()

    def receive(most, wait):
        answer = answers.pop(0)
        if isinstance(answer, RetryableError):
            raise answer
        stop.set()
        return answer

    queue = SimpleNamespace(url="q", receive=receive, visibility=lambda: 1, depth=lambda: (0, 0))
    monkeypatch.setattr(stop, "wait", lambda seconds: None)
    Worker(queue, FakeTrigger({}), Log(stream=output), stop=stop).run()
    assert output.getvalue().count("queue_silent") == 2


def start_worker(*options: str) -> subprocess.Popen:
    """The command in a separate process; its log is JSON on standard output."""
    return subprocess.Popen(
        [COMMAND, "worker", "--json", *options], stdout=subprocess.PIPE, text=True
    )


def test_sigterm_ends_the_worker_after_the_batch_in_hand(chdb_path, queue, put, notify):
    keys = [f"section/{n}/video/a.jsonl" for n in range(3)]
    for key in keys:
        put(key, LINE)
    process = start_worker("--window", "0")
    try:
        assert '"started"' in process.stdout.readline()
        notify(*keys)
        wait_until(lambda: '"object"' in process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    stopped = json.loads(output.splitlines()[-1])
    assert stopped["event"] == "stopped"
    # What it took is done and acknowledged; what it did not take still waits.
    assert held(queue) == (3 - stopped["messages"], 0)
    subprocess.run([COMMAND, "worker", "--once"], check=True, stderr=subprocess.DEVNULL)
    assert {row["key"]: row["rows"] for row in ask(ROWS)} == dict.fromkeys(keys, 1)


# Commands ------------------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a command."""
    return subprocess.run(
        [COMMAND, *arguments], env=os.environ | environment, capture_output=True, text=True
    )


def test_invoke_runs_an_event_here(chdb_path, s3_endpoint, tmp_path):
    done = run("invoke", str(EVENTS / "bundle.json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 2
    batch = {"eventSource": "aws:sqs", "messageId": "1", "body": "odd"}
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"Records": [batch]}))
    done = run("invoke", str(event))
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"batchItemFailures": [{"itemIdentifier": "1"}]}


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (["worker"], "XAPI_SQS_QUEUE_URL", 2),
        (["invoke", "no-such.json"], "no-such.json", 2),
        (["send", "no-such.jsonl"], "no-such.jsonl", 2),
        (["send", __file__, "--category", "a/b"], "--category", 2),
        (["send", __file__, "--section-id", "-1"], "--section-id", 2),
    ],
)
def test_a_wrong_call_is_one_line(chdb_path, arguments, says, code):
    done = run(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr

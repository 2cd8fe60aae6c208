"""The worker: Lambda's event source mapping on a queue of one's own; and producers and dbt."""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from ministack import wait_until

from loader import producer
from loader.errors import PermanentError, RetryableError, SettingsError
from loader.log import Log
from loader.queue import Queue, QueueError
from loader.settings import Settings
from loader.transform import Transform
from loader.trigger import from_settings
from loader.warehouse import open_warehouse
from loader.worker import Worker

EVENTS = Path(__file__).with_name("events")
COMMAND = Path(sys.executable).with_name("xapi-elt")
LINE = b'{"verb":{"id":"x"}}\n'

ROWS = "select key, count() as rows from {raw:Identifier}.statements group by key order by key"
LOADS = "select key, outcome, mode, load_id from {raw:Identifier}.loads order by committed_at, key"


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
def tell(queue, bucket):
    """Put messages into the queue that name objects: tell(key, …)."""

    def send(*keys: str) -> None:
        for key in keys:
            body = json.dumps({"bucket": bucket, "key": key})
            boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=body)

    return send


def held(url: str) -> tuple[int, int]:
    """Messages that wait, and messages that somebody works on."""
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
    """Ask the embedded database, which nobody else may have open."""
    with closing(open_warehouse(Settings.from_env(), wait=1)) as warehouse:
        return warehouse.query(sql)


def test_a_queue_is_worked_off_in_one_insert(chdb_path, queue, put, tell):
    """SQS hands out ten messages at most; a batch is of several such handfuls."""
    keys = [f"section/{n:02}/video/a.jsonl" for n in range(23)]
    for key in keys:
        put(key, LINE)
    tell(*keys)
    totals, _ = work(queue)
    assert (totals.batches, totals.messages, totals.failed) == (1, 23, 0)
    assert held(queue) == (0, 0)
    assert {row["key"]: row["rows"] for row in ask(ROWS)} == dict.fromkeys(keys, 1)
    assert len({row["load_id"] for row in ask(LOADS)}) == 1


def test_a_batch_has_no_more_messages_than_it_may(chdb_path, queue, put, tell):
    keys = [f"section/{n:02}/video/a.jsonl" for n in range(5)]
    for key in keys:
        put(key, LINE)
    tell(*keys)
    totals, _ = work(queue, batch_size=2)
    assert (totals.batches, totals.messages) == (3, 5)


def test_only_what_failed_comes_again_and_ends_in_the_dead_letter_queue(
    chdb_path, queue, put, tell
):
    put("section/1/video/good.jsonl", LINE)
    tell("section/1/video/good.jsonl", "section/1/video/gone.jsonl")
    totals, log = work(queue)
    # Once with the other one, once alone; the third time it is not handed out any more.
    assert (totals.messages, totals.failed) == (3, 2)
    assert held(queue) == (0, 0)
    assert held(f"{queue}-dead") == (1, 0)
    assert {row["key"]: row["rows"] for row in ask(ROWS)} == {"section/1/video/good.jsonl": 1}
    outcomes = [(row["key"], row["outcome"]) for row in ask(LOADS)]
    assert outcomes.count(("section/1/video/gone.jsonl", "failed")) == 2
    assert [line["error"] for line in log if line.get("event") == "message_rejected"]


class FakeTrigger:
    """Answers what it is told to, after a while."""

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
        {"batchItemFailures": [{"itemIdentifier": "nobody knows it"}]},
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{}]},
    ],
)
def test_an_answer_that_makes_no_sense_acknowledges_nothing(queue, tell, answer):
    tell("a.jsonl", "b.jsonl")
    totals, _ = work(queue, trigger=FakeTrigger(answer))
    assert (totals.messages, totals.failed) == (2, 2)
    assert held(queue) == (0, 2)


def test_a_long_load_keeps_its_messages_hidden(queue, tell):
    boto3.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    tell("a.jsonl")
    others = []

    def look(event):
        for _ in range(4):
            time.sleep(0.4)
            others.extend(Queue(queue).receive(10, 0))
        return {"batchItemFailures": []}

    totals, _ = work(queue, trigger=FakeTrigger(look))
    assert (totals.messages, totals.failed, others) == (1, 0, [])
    assert held(queue) == (0, 0)


def test_a_queue_that_is_not_there_is_said_at_once(s3_endpoint, monkeypatch):
    with pytest.raises(RetryableError, match=r"NonExistentQueue|does not exist"):
        work(f"{s3_endpoint}/123456789012/no-such-queue")


def test_a_queue_that_is_silent_for_a_while_is_waited_for(monkeypatch):
    answers = [QueueError("silence"), QueueError("silence"), []]
    stop, output = threading.Event(), io.StringIO()

    def receive(most, wait):
        answer = answers.pop(0)
        if isinstance(answer, QueueError):
            raise answer
        stop.set()
        return answer

    queue = SimpleNamespace(url="q", receive=receive, visibility=lambda: 1)
    monkeypatch.setattr(stop, "wait", lambda seconds: None)
    Worker(queue, FakeTrigger({}), Log(stream=output), stop=stop).run()
    assert output.getvalue().count("queue_silent") == 2


def start_worker(*options: str) -> subprocess.Popen:
    """The command, as a process of its own; its log is JSON on standard output."""
    return subprocess.Popen(
        [COMMAND, "worker", "--json", *options], stdout=subprocess.PIPE, text=True
    )


def test_sigterm_ends_the_worker_after_the_batch_in_hand(chdb_path, queue, put, tell):
    keys = [f"section/{n}/video/a.jsonl" for n in range(3)]
    for key in keys:
        put(key, LINE)
    process = start_worker("--window", "0")
    try:
        assert '"started"' in process.stdout.readline()
        tell(*keys)
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


# Transform -----------------------------------------------------------------------------------

# Stands for dbt: notes that the database is free, and in whose folder it runs.
NOTE = """
import os, pathlib, sys
from loader.embedded import wait_until_free
path = pathlib.Path(os.environ["XAPI_CHDB_PATH"])
assert path.is_absolute() and not wait_until_free(path, 0)
with open(sys.argv[1], "a") as file:
    print(pathlib.Path.cwd(), file=file)
"""


def test_dbt_runs_after_loads_while_the_database_is_free(chdb_path, queue, put, tell, tmp_path):
    put("section/1/video/a.jsonl", LINE)
    tell("section/1/video/a.jsonl")
    notes = tmp_path / "notes"
    settings, log = Settings.from_env(), Log(stream=io.StringIO())
    transform = Transform(settings, log, [sys.executable, "-c", NOTE, str(notes)])
    totals, _ = work(queue, transform=transform)
    assert (totals.transforms, totals.failed_transforms) == (1, 0)
    assert notes.read_text().splitlines() == [str(Path(__file__).parent.parent)]


def transform(code: str, now: list[float], output: io.StringIO | None = None) -> Transform:
    """A transform that runs a line of Python, by a clock that is set by hand."""
    log = Log(stream=output or io.StringIO())
    return Transform(Settings(), log, [sys.executable, "-c", code], 30, clock=lambda: now[0])


def test_dbt_is_due_when_the_queue_is_empty_or_loads_waited_long_enough():
    now = [0.0]
    due = transform("", now)
    assert due.is_due(idle=True) and not due.is_due(idle=False)  # what an earlier worker left
    assert due.run(threading.Event())
    assert not due.is_due(idle=True)
    due.note(1)
    assert due.is_due(idle=True) and not due.is_due(idle=False)
    now[0] += 30
    assert due.is_due(idle=False)


def test_a_failed_dbt_says_why_and_is_tried_again_later():
    now, output = [0.0], io.StringIO()
    failing = transform("import sys; sys.exit('model broken')", now, output)
    assert not failing.run(threading.Event())
    assert "model broken" in output.getvalue()
    assert not failing.is_due(idle=True)
    now[0] += 30
    assert failing.is_due(idle=True)


def test_a_stop_ends_dbt_too():
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    assert not transform("import time; time.sleep(60)", [0.0]).run(stop)
    assert time.monotonic() - started < 5


# Producers -----------------------------------------------------------------------------------

KEY = re.compile(r"section/7/video/\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z_[0-9A-F]{32}\.jsonl")


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """A plain file and a zipped one."""
    plain, zipped = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(LINE * 2)
    zipped.write_bytes(gzip.compress(LINE * 3))
    return [plain, zipped]


def test_direct_sends_into_the_database(chdb_path, files, s3_endpoint):
    sent = list(producer.send(files, Settings.from_env(), 7))
    assert [item.rows for item in sent] == [2, 3]
    assert all(KEY.fullmatch(item.place) for item in sent)
    assert {row["rows"] for row in ask(ROWS)} == {2, 3}
    assert {row["mode"] for row in ask(LOADS)} == {"file"}


def test_s3_puts_under_the_key_layout(bucket, files, monkeypatch):
    monkeypatch.setenv("XAPI_ETL_MODE", "s3")
    sent = list(producer.send(files, Settings.from_env(), 7))
    found = boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    keys = sorted(item["Key"] for item in found)
    assert sorted(item.place for item in sent) == [f"s3://{bucket}/{key}" for key in keys]
    assert all(KEY.fullmatch(key.removesuffix(".gz")) for key in keys)
    assert [key.endswith(".gz") for key in keys] in ([True, False], [False, True])


class FakeLambda:
    """A deployed function that runs the trigger here."""

    def __init__(self, fails: bool = False):
        self.events: list[dict] = []
        self._fails = fails

    def invoke(self, FunctionName, Payload):
        self.events.append(json.loads(Payload))
        if self._fails:
            answer = {"errorMessage": "ClickHouse does not answer", "errorType": "X"}
            return {
                "FunctionError": "Unhandled",
                "Payload": io.BytesIO(json.dumps(answer).encode()),
            }
        answer = {"rows": self.events[-1]["body"].count("\n")}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


def test_lambda_sends_the_statements_in_the_event(files, monkeypatch, tmp_path):
    monkeypatch.setenv("XAPI_ETL_MODE", "lambda")
    client = FakeLambda()
    monkeypatch.setattr(producer, "_client", lambda service: client)
    large, odd = tmp_path / "large.jsonl", tmp_path / "odd.jsonl"
    large.write_bytes(b"x" * 7_000_000)
    odd.write_bytes(b"\xff\n")
    sent = list(producer.send([*files, large, odd], Settings.from_env(), 7))
    assert [item.rows for item in sent] == [2, 3, None, None]
    assert "too large" in sent[2].error and "UTF-8" in sent[3].error
    assert [event["key"] for event in client.events] == [item.place for item in sent[:2]]
    monkeypatch.setattr(producer, "_client", lambda service: FakeLambda(fails=True))
    [failed] = producer.send(files[:1], Settings.from_env(), 7)
    assert "ClickHouse does not answer" in failed.error


def test_a_wrong_call_sends_nothing(chdb_path, files, monkeypatch, tmp_path):
    settings = Settings.from_env({"XAPI_ETL_MODE": "s3"})
    with pytest.raises(SettingsError, match="S3_XAPI_BUCKET_NAME"):
        list(producer.send(files, settings))
    with pytest.raises(SettingsError, match="no such file"):
        list(producer.send([*files, tmp_path / "gone.jsonl"], Settings.from_env()))
    assert not chdb_path.exists()


def test_an_event_is_too_large_before_it_is_sent():
    with pytest.raises(PermanentError, match="XAPI_ETL_MODE=s3"):
        producer.invoke(None, "f", {"body": "x" * 7_000_000})


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

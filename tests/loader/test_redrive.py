"""Dead letters: their reasons are shown, and they return to the queue without a loss."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from loader.aws.sqs import Queue
from loader.errors import RetryableError
from loader.events import redrive
from tests.helpers.ministack import wait_until
from tests.helpers.secrets import MARK
from tests.helpers.worker_queue import LINE, ROWS, ask, held, work

COMMAND = Path(sys.executable).with_name("xapi-elt")


def run(*arguments: str, code: int = 0, **environment: str) -> str:
    """Run `xapi-elt redrive`; what it printed."""
    done = subprocess.run(
        [COMMAND, "redrive", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def dead_letter(queue: str, body: str, **more) -> None:
    """Put a message into the dead-letter queue."""
    boto3.client("sqs").send_message(QueueUrl=f"{queue}-dead", MessageBody=body, **more)


def test_reasons_are_those_of_the_ledger_and_a_redrive_loads_what_was_repaired(
    chdb_path, queue, put, notify
):
    late = [f"section/1/video/late-{n}.jsonl" for n in range(2)]
    notify(*late)
    put("section/1/video/good.jsonl", LINE)
    notify("section/1/video/good.jsonl")
    work(queue)
    dead_letter(queue, "no JSON")
    assert held(f"{queue}-dead") == (3, 0)

    page = json.loads(run("--status", "--json"))
    assert (page["waiting"], page["in_flight"], page["dead"], page["seen"]) == (0, 0, 3, 3)
    [missing, odd] = page["reasons"]
    assert (missing["messages"], odd["messages"]) == (2, 1)
    assert "<object>" in missing["reason"] and missing["example"].startswith("s3://lake-")
    assert odd["reason"] == "the message is not JSON"
    assert json.loads(run("--dry-run", "--json"))["to_move"] == 3
    assert held(f"{queue}-dead") == (3, 0)
    assert "would move 2 messages" in run("--dry-run", "--max", "2")

    for key in late:
        put(key, LINE)
    assert "--yes, --dry-run or --status" in run(code=2)
    assert "moved 3 messages" in run("--yes")
    assert held(queue) == (3, 0)
    work(queue)
    assert {row["key"] for row in ask(ROWS)} == {*late, "section/1/video/good.jsonl"}
    # What can never succeed is a dead letter again.
    assert held(f"{queue}-dead") == (1, 0)


def test_what_was_loaded_in_the_meantime_is_said_and_skipped(chdb_path, bucket, queue, put, notify):
    put("a.jsonl", LINE)
    notify("a.jsonl")
    work(queue)
    body = json.dumps({"bucket": bucket, "key": "a.jsonl"})
    for text in (body, body.replace("a.jsonl", "never.jsonl"), '{"Event": "s3:TestEvent"}'):
        dead_letter(queue, text)
    reasons = {row["reason"] for row in json.loads(run("--status", "--json"))["reasons"]}
    assert reasons == {redrive.LOADED, redrive.UNTRIED, redrive.NO_OBJECT}
    assert json.loads(run("--max", "2", "--yes", "--json"))["moved"] == 2
    assert held(f"{queue}-dead") == (1, 0)
    work(queue)
    assert ask(ROWS) == [{"key": "a.jsonl", "rows": 1}]


@pytest.mark.parametrize("option", ["--queue-url", "XAPI_SQS_QUEUE_URL"])
def test_an_address_with_a_password_is_refused_and_not_printed(option):
    url = f"http://user:{MARK}@127.0.0.1:1/1/queue"
    given = ("--queue-url", url) if option == "--queue-url" else ()
    env = {} if given else {"XAPI_SQS_QUEUE_URL": url}
    shown = run("--status", *given, code=2, **env)
    assert option in shown and MARK not in shown


def test_attributes_and_large_messages_survive_the_move(queue):
    attributes = {"who": {"StringValue": "platform", "DataType": "String"}}
    for _ in range(3):
        dead_letter(queue, "x" * 120_000, MessageAttributes=attributes)
    source = Queue(queue)
    assert redrive.redrive(source, source.dead_letters(), 3) == 3
    found = source.receive(10, 0)
    assert [len(record["body"]) for record in found] == [120_000] * 3
    assert found[0]["messageAttributes"]["who"]["StringValue"] == "platform"


class Breaks(Exception):
    """The process ends here."""


@pytest.mark.parametrize("broken", ["send", "delete"])
def test_an_interruption_loses_no_message(queue, monkeypatch, broken):
    for number in range(25):
        dead_letter(queue, str(number))
    source = Queue(queue)
    dead = source.dead_letters()
    calls = []

    def breaks(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Breaks
        return original(*arguments)

    victim = source if broken == "send" else dead
    original = getattr(victim, broken)
    monkeypatch.setattr(victim, broken, breaks)
    monkeypatch.setattr(redrive, "MOVE", 1)
    with pytest.raises(Breaks):
        redrive.redrive(source, dead, 25)
    monkeypatch.undo()
    moved = [record["body"] for record in _all(source)]
    assert len(moved) == (10 if broken == "send" else 20)
    # SQS shows again what was hidden.
    left: list[str] = []
    wait_until(lambda: left.extend(one["body"] for one in _all(dead)) or len(left) >= 15)
    assert len(left) == 15
    assert set(moved + left) == {str(number) for number in range(25)}


def test_a_refused_send_shows_the_messages_again(queue, monkeypatch):
    for number in range(3):
        dead_letter(queue, str(number))
    source = Queue(queue)
    dead = source.dead_letters()

    def refuses(records):
        raise RetryableError("busy")

    monkeypatch.setattr(source, "send", refuses)
    with pytest.raises(RetryableError):
        redrive.redrive(source, dead, 3)
    assert held(dead.url) == (3, 0)


def _all(queue: Queue) -> list[dict]:
    found = []
    while some := queue.receive(10, 0):
        found += some
    return found


def test_without_clickhouse_the_depths_are_shown_and_nothing_moves(queue):
    dead_letter(queue, '{"bucket": "b", "key": "k"}')
    nowhere = {"XAPI_TARGET": "server", "CLICKHOUSE_PORT": "9"}
    page = run("--status", **nowhere)
    assert "reasons unknown:" in page and "1 dead letters" in page
    assert "does not answer" in run("--yes", code=1, **nowhere)
    assert held(f"{queue}-dead") == (1, 0)


def test_a_queue_without_dead_letters_is_a_wrong_setting(queue):
    assert "has no dead-letter queue" in run("--status", code=2, XAPI_SQS_QUEUE_URL=f"{queue}-dead")

"""Faults of the network between the loader, or dbt, and a ClickHouse server: each kind of statement
is refused, hung up on, or executed without an answer."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus, unquote_plus

from tests.chaos.harness import World, scenario
from tests.chaos.lakes import blocks
from tests.chaos.network import fill

HANDLER = Path(__file__).with_name("lambda_process.py")

# The statements of a load, by what only they say.
STATEMENTS = {
    "stat": "format = 'One'",
    "ledger": r"committed_objects\s+where bucket",
    "insert": r"insert into \{raw:Identifier\}\.statements",
    "verify": r"uniqExact\(source_line\)",
    "commit": r"insert into \{raw:Identifier\}\.loads",
}

# Seconds that an invocation has where a statement outlasts it.
SHORT = 4

# Statements of dbt whose effect must not depend on their answer.
TRANSFORM = {
    "claim": "create table if not exists .*elt_claim__",
    "heartbeat": "modify comment",
    "claimed": r"insert into \S+elt_claim__",
    "slice": r"insert into \S*(video_events|int_xapi__statements|part_attempt_events)",
    "applied": r"insert into \S+elt_applied_loads",
    "recorded": r"insert into \S+elt_tables",
    "release": "modify comment 'free'",
    "clean-up": "drop table if exists .*elt_claim__",
}
REFRESH = TRANSFORM | {"exchange": "exchange tables", "drop": "drop table .*elt_new__"}
REBUILD = {
    "rebuilt": r"insert into \S+elt_new__",
    "attach": "attach partition",
    "recorded": r"insert into \S+elt_tables",
    "exchange": "exchange tables",
    "drop": "drop table .*elt_new__",
    "heartbeat": "modify comment",
    "release": "modify comment 'free'",
}
WITHDRAW = {
    "delete": r"delete from \S+",
    "kept": r"insert into \S+elt_new__",
    "exchange": "exchange tables",
    "applied": TRANSFORM["applied"],
    "recorded": TRANSFORM["recorded"],
}

# What may be left of a dbt run that ended in an error is taken over after this.
SOON = ("--vars", "{lock_expires_seconds: 1}")


def faults(world: World, match: str, fault: str | list, times: int = 1) -> None:
    """Tell the server which statements fail, and how."""
    text = json.dumps({"match": match, "fault": fault, "times": times})
    _write(world, text)


def no_faults(world: World) -> None:
    """From here on the server is well."""
    _write(world, "{}")


def _write(world: World, text: str) -> None:
    new = world.folder / "fault.new"
    new.write_text(text)
    os.replace(new, world.folder / "fault.json")


def event_of(world: World, keys: list[str]) -> dict:
    """An event of the queue with a notification of S3 for each key."""
    return {"Records": [record(f"m{n}", notification(world, key)) for n, key in enumerate(keys)]}


def record(name: str, body: str) -> dict:
    """A message as Lambda hands it over."""
    return {
        "messageId": name,
        "receiptHandle": f"receipt-{name}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSource": "aws:sqs",
    }


def notification(world: World, key: str) -> str:
    """What a notification of S3 says about an object as it is now."""
    etag = world.current.get((world.bucket, key), "0" * 32)
    item = {"key": quote_plus(key, safe="/"), "size": 1, "eTag": etag}
    named = {"bucket": {"name": world.bucket}, "object": item}
    event = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": named}
    return json.dumps({"Records": [event | {"eventTime": "2025-10-01T00:00:00.000Z"}]})


def start_handler(world: World, event: dict, seconds: float = 60) -> subprocess.Popen:
    """Start the Lambda's handler on an event; `answer_of` waits for it."""
    path = world.folder / f"event-{id(event)}.json"
    path.write_text(json.dumps(event))
    return subprocess.Popen(
        [sys.executable, str(HANDLER), str(path), str(seconds)],
        env=world.env | {"XAPI_RETRY_SECONDS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    )


def answer_of(process: subprocess.Popen, seconds: float = 120) -> set[str] | None:
    """The messages that a handler did not do; None if it answered nothing, which acknowledges
    nothing either."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        return None
    answer = json.loads(output.splitlines()[-1])
    return {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}


def acknowledged(world: World, event: dict, failed: set[str] | None) -> int:
    """Hold the loader to what it acknowledged: the version that each message named, if the object
    was never another. Returns how many that are."""
    done = 0
    for message in event["Records"] if failed is not None else ():
        if message["messageId"] in failed:
            continue
        item = json.loads(message["body"])["Records"][0]["s3"]["object"]
        key = unquote_plus(item["key"])
        if world.current.get((world.bucket, key)) == item["eTag"]:
            world.held.add((key, item["eTag"]))
            done += 1
    return done


def _any_fault(dice: random.Random) -> str | list:
    return dice.choice(
        ("refuse", "reset", "http_500", "lose_answer", "lose_answer", "cut_answer", ["delay", 0.4])
    )


@scenario("server", "a loader's statement fails, clickhouse-connect", "server")
def loader_statement(world: World, dice: random.Random) -> None:
    """`xapi-elt load` meets a fault at one of its statements."""
    keys = fill(world, dice)
    kind, fault = dice.choice(list(STATEMENTS)), _any_fault(dice)
    faults(world, STATEMENTS[kind], fault, dice.choice((1, 1, 2)))
    uris = [f"s3://{world.bucket}/{key}" for key in keys]
    code = world.start("xapi-elt", "load", *uris).wait(120)
    world.hit(f"{kind}: {fault}, exit {code}")
    if code == 0:
        world.held |= {(key, etag) for (_, key), etag in world.current.items()}
    no_faults(world)
    world.look()


@scenario("server", "a loader's statement fails, Lambda", "server")
def lambda_statement(world: World, dice: random.Random) -> None:
    """The handler meets a fault; what it did not do is delivered again, with some of the rest."""
    event = event_of(world, fill(world, dice))
    for _ in range(dice.randint(1, 2)):
        kind, fault = dice.choice(list(STATEMENTS)), _any_fault(dice)
        faults(world, STATEMENTS[kind], fault, dice.choice((1, 1, 2)))
        failed = answer_of(start_handler(world, event))
        done = acknowledged(world, event, failed)
        world.hit(f"{kind}: {fault}, {done} of {len(event['Records'])} acknowledged")
        no_faults(world)
        world.look()
        if failed is not None:
            kept = [m for m in event["Records"] if m["messageId"] in failed or dice.random() < 0.2]
            event = {"Records": kept}
        if not event["Records"]:
            return  # nothing is left to deliver, and a queue delivers no nothing
    failed = answer_of(start_handler(world, event))
    assert failed == set(), f"without a fault the handler left {failed}"
    acknowledged(world, event, failed)
    world.look()


@scenario("server", "a statement outlasts the Lambda", "server")
def lambda_timeout(world: World, dice: random.Random) -> None:
    """The handler's time ends while a statement waits, or after it was executed; the statement
    goes on behind its back while the messages are handed out again."""
    world.commits_twice = True
    event = event_of(world, fill(world, dice))
    kind, where = dice.choice(list(STATEMENTS)), dice.choice(("delay", "answer_late"))
    faults(world, STATEMENTS[kind], [where, dice.uniform(3, 5)])
    failed = answer_of(start_handler(world, event, SHORT))
    done = acknowledged(world, event, failed)
    world.hit(f"{kind}: {where}, {done} of {len(event['Records'])} acknowledged")
    world.look()
    again = answer_of(start_handler(world, event))
    assert again == set(), f"the second handler left {again}"
    acknowledged(world, event, again)
    world.look()


def _disturb(
    world: World, dice: random.Random, kinds: dict[str, str], *command: str, models: bool = True
) -> None:
    """Run dbt while one kind of its statements fails; then as usual. In between, the tables hold
    nothing that must not be, unless they have yet to give it up (`models` is false then)."""
    kind, fault = dice.choice(list(kinds)), _any_fault(dice)
    faults(world, kinds[kind], fault, dice.choice((1, 1, 2)))
    code = world.start_dbt("run", *command).wait(200)
    left = json.loads((world.folder / "fault.json").read_text())
    no_faults(world)
    world.hit(f"{kind}: {fault}, dbt ends with {code}", code != 0 or fault == left["fault"])
    world.look(models)
    world.dbt("run", "--select", "+marts.events", *SOON)


@scenario("dbt over HTTP", "an increment's statement fails", "server")
def increment(world: World, dice: random.Random) -> None:
    """New loads are applied in slices, and a statement fails."""
    fill(world, dice)
    world.load()
    if dice.random() < 0.5:
        world.dbt("run", "--select", "+marts.events")
        for number in range(5):
            world.put(f"section/2161/video/more-{number}.jsonl", dice.choice(blocks(100)))
        world.load()
    slices = ["--vars", "{slice_lines: 200, lock_expires_seconds: 1}"]
    _disturb(world, dice, TRANSFORM, "--select", "+marts.events", *slices)


@scenario("dbt over HTTP", "a full refresh's statement fails", "server")
def refresh(world: World, dice: random.Random) -> None:
    """Tables are rebuilt and exchanged, and a statement fails."""
    fill(world, dice)
    world.load()
    world.dbt("run", "--select", "+marts.events")
    _disturb(world, dice, REFRESH, "--select", "+video_events", "--full-refresh", *SOON)


@scenario("dbt over HTTP", "a rebuild's statement fails", "server")
def rebuild(world: World, dice: random.Random) -> None:
    """Months are rebuilt, and a statement fails."""
    fill(world, dice)
    world.load()
    world.dbt("run", "--select", "+marts.events")
    days = "{start_date: 2025-09-05, end_date: 2025-11-20, lock_expires_seconds: 1}"
    _disturb(world, dice, REBUILD, "--select", "video_events", "--vars", days)


@scenario("dbt over HTTP", "a withdrawal's statement fails", "server")
def withdraw(world: World, dice: random.Random) -> None:
    """Objects were replaced, their rows are given up, and a statement fails."""
    world.policy = "replace"
    keys = [key for key in fill(world, dice) if key.endswith(".jsonl")]
    world.load()
    world.dbt("run", "--select", "+marts.events")
    for key in dice.sample(keys, min(len(keys), 4)):
        world.put(key, dice.choice(blocks(100)))
    world.load()
    _disturb(world, dice, WITHDRAW, "--select", "+marts.events", *SOON, models=False)

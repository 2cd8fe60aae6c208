"""The queue at its worst: messages that come twice, late, in any order and to several at once, and
dead letters that are sent again."""

import json
import os
import random
import signal
import time

from tests.chaos.harness import World, scenario
from tests.chaos.lakes import blocks
from tests.chaos.network import fill
from tests.chaos.network_server import (
    STATEMENTS,
    acknowledged,
    answer_of,
    faults,
    no_faults,
    notification,
    record,
    start_handler,
)

# Rounds in which a queue must be worked off.
ROUNDS = 12


class Mail:
    """A queue with a dead-letter queue, and what was sent through it."""

    def __init__(self, world: World, visibility: int, receives: int = 4):
        self.world, self.sqs = world, world.client("sqs")
        self.dead = self.sqs.create_queue(QueueName=f"{world.bucket}-dead")["QueueUrl"]
        arn = self._attributes(self.dead)["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives})
        attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": str(visibility)}
        answer = self.sqs.create_queue(QueueName=world.bucket, Attributes=attributes)
        self.url = answer["QueueUrl"]
        world.env |= {"XAPI_SQS_QUEUE_URL": self.url, "XAPI_RETRY_SECONDS": "0"}
        self.sent: list[str] = []

    def send(self, bodies: list[str]) -> None:
        """Put messages into the queue."""
        for body in bodies:
            self.sent.append(body)
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def take(self, url: str = "") -> list[dict]:
        """Up to ten messages."""
        answer = self.sqs.receive_message(QueueUrl=url or self.url, MaxNumberOfMessages=10)
        return answer.get("Messages", [])

    def waiting(self) -> int:
        """Number of messages that are not acknowledged."""
        found = self._attributes(self.url)
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(found[name]) for name in names)

    def work_off(self) -> None:
        """Workers, one after the other, until nothing is left; then hold the loader to what it
        acknowledged.

        Raises:
            AssertionError: messages are left.
        """
        for _ in range(ROUNDS):
            self.world.run("xapi-elt", "worker", "--once", code=None)
            if not self.waiting():
                break
            time.sleep(0.5)
        assert not self.waiting(), "the queue is not worked off"
        dead = set(self.dead_letters())
        messages = [record(f"m{n}", body) for n, body in enumerate(self.sent) if body not in dead]
        acknowledged(self.world, {"Records": messages}, set())
        self.world.look()

    def dead_letters(self) -> list[str]:
        """Take all that is in the dead-letter queue."""
        found = []
        while messages := self.take(self.dead):
            for message in messages:
                found.append(message["Body"])
                receipt = message["ReceiptHandle"]
                self.sqs.delete_message(QueueUrl=self.dead, ReceiptHandle=receipt)
        return found

    def _attributes(self, url: str) -> dict[str, str]:
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def post(world: World, dice: random.Random, mail: Mail, deletes: float = 0.3) -> None:
    """A lake whose notifications arrive in any order, some of them twice or more; some objects are
    overwritten or deleted (a share of them) meanwhile, and told of late."""
    keys = fill(world, dice, "mixed")
    bodies = [notification(world, key) for key in keys for _ in range(dice.choice((1, 1, 2, 3)))]
    changed = dice.sample(keys, min(len(keys), dice.randint(0, 4)))
    for key in changed:
        if dice.random() < deletes:
            world.delete(key)
        elif key.endswith(".jsonl"):
            world.put(key, dice.choice(blocks(100)))
            bodies.append(notification(world, key))
    dice.shuffle(bodies)
    mail.send(bodies)
    world.commits_twice = True


@scenario("queue", "several workers at once", "server")
def workers(world: World, dice: random.Random) -> None:
    """Two or three workers share a queue whose visibility timeout is short, and loads are slow."""
    mail = Mail(world, visibility=dice.randint(1, 2))
    post(world, dice, mail)
    kind = dice.choice(("insert", "verify", "commit"))
    faults(world, STATEMENTS[kind], ["delay", dice.uniform(0.5, 2)], dice.randint(1, 3))
    size = str(dice.choice((1000, 20, 7)))
    options = ("--once", "--window", "0", "--batch-size", size)
    several = [world.start("xapi-elt", "worker", *options) for _ in range(dice.randint(2, 3))]
    codes = [process.wait(120) for process in several]
    no_faults(world)
    world.hit(f"{len(codes)} workers, {len(mail.sent)} messages, slow {kind}")
    world.look()
    mail.work_off()


@scenario("queue", "a worker stands still beyond the visibility timeout", "server")
def frozen(world: World, dice: random.Random) -> None:
    """A worker stops with messages in its hands; another gets them too; then the first goes on."""
    mail = Mail(world, visibility=1)
    post(world, dice, mail)
    kind = dice.choice(("insert", "verify", "commit"))
    faults(world, STATEMENTS[kind], ["delay", 1])
    first = world.start("xapi-elt", "worker", "--once", "--window", "0")
    time.sleep(dice.uniform(0.6, 2))
    still_there = first.poll() is None
    if still_there:
        os.killpg(first.pid, signal.SIGSTOP)
    time.sleep(1.2)
    second = world.start("xapi-elt", "worker", "--once", "--window", "0")
    time.sleep(dice.uniform(0.5, 2))
    if still_there:
        os.killpg(first.pid, signal.SIGCONT)
    first.wait(120), second.wait(120)
    world.hit(f"stopped around its {kind}", still_there)
    world.look()
    mail.work_off()


@scenario("queue", "one batch to several Lambdas", "server")
def lambdas(world: World, dice: random.Random) -> None:
    """Handlers get overlapping batches at the same time; each acknowledges what it did."""
    mail = Mail(world, visibility=0, receives=1000)
    post(world, dice, mail, deletes=0)
    if dice.random() < 0.5:
        kind = dice.choice(("insert", "verify", "commit"))
        faults(world, STATEMENTS[kind], dice.choice((["delay", 1], "lose_answer", "reset")), 2)
    running = []
    for _ in range(dice.randint(2, 3)):
        messages = [message for _ in range(dice.randint(1, 4)) for message in mail.take()]
        receipts = {message["MessageId"]: message["ReceiptHandle"] for message in messages}
        bodies = {message["MessageId"]: message["Body"] for message in messages}
        event = {"Records": [record(name, body) for name, body in bodies.items()]}
        running.append((start_handler(world, event), event, receipts))
    done = 0
    for process, event, receipts in running:
        failed = answer_of(process)
        done += acknowledged(world, event, failed)
        for name, receipt in receipts.items() if failed is not None else ():
            if name not in failed:
                mail.sqs.delete_message(QueueUrl=mail.url, ReceiptHandle=receipt)
    no_faults(world)
    world.hit(f"{len(running)} handlers, {done} messages acknowledged")
    world.look()
    mail.sqs.set_queue_attributes(QueueUrl=mail.url, Attributes={"VisibilityTimeout": "30"})
    mail.work_off()


@scenario("queue", "dead letters sent again", "server")
def dead_letters(world: World, dice: random.Random) -> None:
    """Messages that fail too often end in the dead-letter queue; when the cause is gone they are
    sent again, beside new ones."""
    mail = Mail(world, visibility=1, receives=2)
    keys = fill(world, dice, "mixed")
    bodies = [notification(world, key) for key in keys]
    keys = [key for key in keys if key.endswith(".jsonl")]
    late = dice.sample(keys, min(len(keys), 3))
    for key in late:  # notified before it can be read
        world.s3.delete_object(Bucket=world.bucket, Key=key)
    dice.shuffle(bodies)
    mail.send(bodies)
    for _ in range(ROUNDS):
        world.run("xapi-elt", "worker", "--once", code=None)
        if not mail.waiting():
            break
        time.sleep(0.5)
    world.look()
    dead = mail.dead_letters()
    world.hit(f"{len(dead)} dead letters of {len(late)}", bool(dead))
    for key in late:
        world.put(key, dice.choice(blocks(10)) if dice.random() < 0.5 else _same(world, key))
    mail.send(dead + [notification(world, key) for key in late])
    mail.work_off()
    assert {(key, world.current[world.bucket, key]) for key in late} <= world.held


def _same(world: World, key: str) -> bytes:
    """The body that was taken away."""
    lines = world.bodies.lines(key, world.current[world.bucket, key])
    return b"\n".join(lines)

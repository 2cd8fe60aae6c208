"""Dead letters: why messages are in the dead-letter queue, and how they return to the queue."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from loader import parameters
from loader.aws.sqs import Queue
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError
from loader.events.notifications import UnknownEventError, objects_in
from loader.objects import S3Object

# Seconds for which a message that is only looked at is hidden. It is shown again at once; this is
# for a process that dies in between.
LOOK = 60

# Seconds for which a message is hidden while it is moved.
MOVE = 120

# Seconds to wait for messages before the queue counts as empty.
POLL = 2

# The latest attempt at each object. An object can be in several buckets under one key.
LATEST = """
select
    bucket,
    key,
    argMax(outcome, committed_at) as outcome,
    argMax(error, committed_at) as error
from {raw:Identifier}.loads
where (bucket, key) in arrayZip({buckets:Array(String)}, {keys:Array(String)})
group by bucket, key
"""

LOADED = "loaded in the meantime; a redrive finds it in the ledger and skips it"
UNTRIED = "not in the ledger: this ClickHouse has recorded no attempt"
NO_OBJECT = "names no object to load"


@dataclass
class DeadLetters:
    """What is in both queues.

    Attributes:
        waiting: about how many messages wait in the queue.
        in_flight: about how many are received and not acknowledged.
        dead: about how many are in the dead-letter queue.
        seen: how many of those were looked at.
        reasons: why they failed, the most frequent reason first: reason, messages, example.
    """

    waiting: int
    in_flight: int
    dead: int
    seen: int = 0
    reasons: list[dict[str, Any]] = field(default_factory=list)


def inspect(queue: Queue, dead: Queue, warehouse: Warehouse | None, most: int) -> DeadLetters:
    """Count the messages of both queues, and look at dead letters without removing them. The
    dead-letter queue hides those for a moment.

    Args:
        queue: the queue.
        dead: its dead-letter queue.
        warehouse: has the ledger with the errors; None if it cannot be reached.
        most: largest number of messages to look at.
    """
    waiting, in_flight = queue.depth()
    found = DeadLetters(waiting, in_flight, sum(dead.depth()))
    records = _look(dead, most)
    found.seen = len(records)
    found.reasons = _grouped(_reasons(records, warehouse))
    return found


def _look(dead: Queue, most: int) -> list[dict[str, Any]]:
    """Receive messages and show them again."""
    records: dict[str, dict[str, Any]] = {}
    try:
        while len(records) < most:
            some = dead.receive(most - len(records), 0 if records else POLL, hide=LOOK)
            if not some:
                break
            records |= {record["messageId"]: record for record in some}
    finally:
        dead.delay((record["receiptHandle"], 0) for record in records.values())
    return list(records.values())


def _reasons(
    records: list[dict[str, Any]], warehouse: Warehouse | None
) -> Iterable[tuple[str, str]]:
    """A reason and an example for each message: the first of its objects that failed."""
    read: list[tuple[str, tuple[S3Object, ...]]] = []
    for record in records:
        try:
            read.append(("", objects_in(json.loads(record["body"]))))
        except UnknownEventError as error:
            read.append((str(error), ()))
        except (ValueError, RecursionError):
            read.append(("the message is not JSON", ()))
    latest = _latest([item for _, items in read for item in items], warehouse)
    for (error, items), record in zip(read, records, strict=True):
        if error or not items:
            yield error or NO_OBJECT, f"message {record['messageId']}"
            continue
        found = [(latest.get(item.path, ("", UNTRIED)), item.uri) for item in items]
        (_, reason), uri = min(found, key=lambda one: one[0][0] == "committed")
        if warehouse is None:
            reason = "unknown, because ClickHouse cannot be reached"
        # So that messages about different objects count as one reason.
        yield reason.replace(uri, "<object>"), uri


def _latest(items: list[S3Object], warehouse: Warehouse | None) -> dict[str, tuple[str, str]]:
    """Outcome and reason of the latest attempt at each object, by path."""
    found: dict[str, tuple[str, str]] = {}
    parts = parameters.cut(items, lambda item: parameters.size(item.bucket, item.key))
    for some in parts if warehouse else ():
        rows = warehouse.query(
            LATEST, buckets=[item.bucket for item in some], keys=[item.key for item in some]
        )
        for row in rows:
            path = S3Object(row["bucket"], row["key"]).path
            reason = LOADED if row["outcome"] == "committed" else row["error"] or row["outcome"]
            found[path] = (row["outcome"], reason)
    return found


def _grouped(reasons: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for reason, example in reasons:
        group = groups.setdefault(reason, {"reason": reason, "messages": 0, "example": example})
        group["messages"] += 1
    return sorted(groups.values(), key=lambda group: -group["messages"])


def redrive(
    queue: Queue,
    dead: Queue,
    most: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Move dead letters back into the queue. Each is sent before it is deleted, so that an
    interruption loses none; it may leave one in both queues, whose object the ledger then skips.

    Args:
        queue: the queue.
        dead: its dead-letter queue.
        most: largest number of messages. Without a limit, a message that fails again at once
            would be moved for ever.
        on_progress: called with the number of messages moved so far.

    Returns:
        The number of messages moved.

    Raises:
        LoaderError: SQS refuses or does not respond; what was moved before remains moved.
    """
    moved = 0
    while moved < most:
        records = dead.receive(most - moved, POLL, hide=MOVE)
        if not records:
            break
        try:
            queue.send(records)
        except LoaderError:
            dead.delay((record["receiptHandle"], 0) for record in records)
            raise
        dead.delete(record["receiptHandle"] for record in records)
        moved += len(records)
        on_progress(moved)
    return moved

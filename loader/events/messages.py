"""Parse events: every shape that requests a load, turned into a request. No I/O."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from loader.bulk.selection import ROOT, BulkRequest, day_range, section_number
from loader.errors import SettingsError, quoted, shape
from loader.events.notifications import (
    ACCEPTED,
    UnknownEventError,
    has_records_from,
    object_named,
    objects_in,
    parsed,
    text_at,
)
from loader.events.shapes import PLAIN_NAME, for_log
from loader.objects import S3Object
from loader.variables import is_utf8


@dataclass(frozen=True)
class Message:
    """One message of a queue, or a whole event that did not come from a queue.

    Attributes:
        id: its id in the queue; '' without a queue.
        receipt: its receipt handle, needed to change its visibility.
        receives: how often it was received, including this time.
        objects: the objects it names; none for a test message or an event that creates no object.
        error: why its shape is unknown; '' if it is known.
        shape: what may be logged of it, if its shape is unknown (see `shapes.for_log`).
    """

    id: str = ""
    receipt: str = ""
    receives: int = 1
    objects: tuple[S3Object, ...] = ()
    error: str = ""
    shape: Any = None


@dataclass(frozen=True)
class Notifications:
    """Objects to load, by message.

    Attributes:
        messages: the messages.
        queued: whether they came from a queue, which needs the ids of failed messages.
    """

    messages: tuple[Message, ...]
    queued: bool = False


@dataclass(frozen=True)
class Bundle:
    """Statements that are part of the event.

    Attributes:
        body: the statements, one per line.
        key: their key in the ledger; '' if the event has none.
    """

    body: str
    key: str = ""


@dataclass(frozen=True)
class Health:
    """A health check.

    Attributes:
        diagnostics: whether to check S3 and show the settings, too.
    """

    diagnostics: bool = False


Request = Notifications | Bundle | BulkRequest | Health


def read(event: Any) -> Request:
    """Parse an event into the request that it makes.

    A message of unknown shape in a queue's batch is marked with an error, so that the other
    messages of the batch load.

    Args:
        event: the event, parsed from JSON.

    Raises:
        UnknownEventError: the shape of the event is unknown.
        SettingsError: a field of a bulk request is wrong.
    """
    if not isinstance(event, dict):
        raise UnknownEventError(f"the event is not a JSON object; accepted: {ACCEPTED}")
    if has_records_from(event, "eventSource", "aws:sqs"):
        return Notifications(tuple(_queued(record) for record in event["Records"]), queued=True)
    if event.get("health_check") is True or event.get("diagnostics") is True:
        return Health(diagnostics=event.get("diagnostics") is True)
    if event.get("mode") == "bulk":
        return _bulk(event)
    if isinstance(event.get("body"), str):
        return Bundle(event["body"], _bundle_key(event))
    if isinstance(event.get("body"), list | dict):
        # Written as text again, statements would not have the bytes that the producer sent.
        raise UnknownEventError(
            f"the body is {shape(event['body'])}; accepted: text with one statement per line"
        )
    return Notifications((Message(objects=objects_in(event)),))


def _queued(record: dict[str, Any]) -> Message:
    """Parse a message of a queue; one of unknown shape is marked with an error."""
    body = record.get("body")
    attributes = record.get("attributes")
    receives = attributes.get("ApproximateReceiveCount") if isinstance(attributes, dict) else 1
    common = {
        "id": str(record.get("messageId", "")),
        "receipt": str(record.get("receiptHandle", "")),
        "receives": int(receives) if re.fullmatch(r"[0-9]{1,9}", str(receives)) else 1,
    }
    try:
        return Message(**common, objects=objects_in(parsed(body)))
    except UnknownEventError as error:
        size = len(body.encode("utf-8", "surrogatepass")) if isinstance(body, str) else None
        return Message(**common, error=str(error), shape=for_log(body, size))


def _bundle_key(event: dict[str, Any]) -> str:
    """The key of a bundle: the given one, or one built from Torus's fields for a bundle."""
    if "key" in event:
        return object_named("bundle", text_at(event, "key")).key
    if "bundle_id" not in event:
        return ""
    parts = [event.get("partition", "section"), event.get("partition_id", 0)]
    parts += [event.get("category", "video"), event["bundle_id"]]
    return object_named("bundle", f"{'/'.join(map(_key_part, parts))}.jsonl").key


def _key_part(value: Any) -> str:
    """One part of a bundle's key. 7.0 is the same number as 7 in JSON."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int) or isinstance(value, bool) or "/" in str(value):
        raise UnknownEventError(
            "partition, partition_id, category and bundle_id must be names or whole numbers"
        )
    return str(value)


def _bulk(event: dict[str, Any]) -> BulkRequest:
    known = {"mode", "bucket", "prefix", "prefixes", "section", "section_id", "section_ids"}
    known |= {"start_date", "end_date", "dry_run", "force", "after"}
    if unknown := sorted(event.keys() - known):
        names = ", ".join(
            name if PLAIN_NAME.fullmatch(name) else quoted(name) for name in unknown[:5]
        )
        raise SettingsError(f"unknown field {names}; accepted: {', '.join(sorted(known))}")
    for name in ("bucket", "after"):
        if not _is_text(event.get(name, "")):
            raise SettingsError(f"{name} is {quoted(event[name])}; accepted: text")
    for name in ("dry_run", "force"):
        if not isinstance(event.get(name, False), bool):
            raise SettingsError(f"{name} is {quoted(event[name])}; accepted: true, false")
    named = [*_prefixes(event), *(f"{ROOT}{number}/" for number in _sections(event))]
    first_day, last_day = day_range(event.get("start_date"), event.get("end_date"))
    return BulkRequest(
        prefixes=tuple(dict.fromkeys(named)) or (ROOT,),
        bucket=event.get("bucket", ""),
        first_day=first_day,
        last_day=last_day,
        dry_run=event.get("dry_run", False),
        force=event.get("force", False),
        after=event.get("after", ""),
    )


def _prefixes(event: dict[str, Any]) -> list[str]:
    given = event.get("prefixes", [])
    given = given if isinstance(given, list) else [given]
    given = [*given, event["prefix"]] if "prefix" in event else given
    if not all(_is_text(prefix) for prefix in given):
        raise SettingsError(
            f"prefixes is {quoted(given)}; accepted: the beginning of keys, as text"
        )
    return given


def _is_text(value: Any) -> bool:
    """Whether a value is text that can be sent to ClickHouse: without half a surrogate pair."""
    return isinstance(value, str) and is_utf8(value)


def _sections(event: dict[str, Any]) -> Iterator[int]:
    for name in ("section", "section_id", "section_ids"):
        given = event.get(name, [])
        for number in given if isinstance(given, list) else [given]:
            yield section_number(number, name)

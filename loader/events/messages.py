"""Parse events: every shape that requests a load, turned into objects or a request. No I/O."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from loader.bulk.selection import ROOT, BulkRequest, day_range, section_number
from loader.errors import PermanentError, SettingsError
from loader.objects import S3Object

# Longest key that S3 allows, in bytes.
LONGEST_KEY = 1024

ACCEPTED = (
    "SQS, SNS and EventBridge events of S3, S3 notifications, "
    '{"bucket", "key"}, {"body"}, {"mode": "bulk"}, {"health_check": true}, {"diagnostics": true}'
)


class UnknownEventError(PermanentError):
    """An event or message has an unknown shape; it must not be acknowledged."""


@dataclass(frozen=True)
class Message:
    """One message of a queue, or a whole event that did not come from a queue.

    Attributes:
        id: its id in the queue; '' without a queue.
        receipt: its receipt handle, needed to change its visibility.
        receives: how often it was received, including this time.
        objects: the objects it names; none for a test message or an event that creates no object.
        error: why its shape is unknown; '' if it is known.
        body: the message as received, if its shape is unknown.
    """

    id: str = ""
    receipt: str = ""
    receives: int = 1
    objects: tuple[S3Object, ...] = ()
    error: str = ""
    body: str = ""


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
    if _records(event, "eventSource", "aws:sqs"):
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
            f"the body is {_shape(event['body'])}; accepted: text with one statement per line"
        )
    return Notifications((Message(objects=tuple(objects_in(event))),))


def for_log(event: Any) -> Any:
    """What may be logged of an event of unknown shape that did not come from a queue: all of it. If
    it contains statements, only its shape, because statements are personal data.

    Args:
        event: the event, parsed from JSON.
    """
    text = json.dumps(event, default=str)
    has_body = isinstance(event, dict) and "body" in event
    if not has_body and not ("actor" in text and "verb" in text):
        return event
    known = event.items() if isinstance(event, dict) else {"event": event}.items()
    return {"shape": {name: _shape(value) for name, value in known}, "bytes": len(text)}


def _shape(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "a boolean"}
    kind = kinds.get(type(value), "a number")
    return f"{kind} of {len(value)}" if isinstance(value, dict | list | str) else kind


def objects_in(event: Any) -> list[S3Object]:
    """The objects that a notification names, in its order; none for a test message.

    Args:
        event: the notification, parsed from JSON.

    Raises:
        UnknownEventError: the shape of the notification is unknown.
    """
    if not isinstance(event, dict):
        raise UnknownEventError(f"the message is not a JSON object; accepted: {ACCEPTED}")
    if event.get("Event") == "s3:TestEvent":
        return []
    if event.get("Type") == "Notification" and isinstance(event.get("Message"), str):
        return objects_in(_json(event["Message"]))
    if _records(event, "EventSource", "aws:sns"):
        return [
            item
            for record in event["Records"]
            for item in objects_in(_json(_text(record, "Sns", "Message")))
        ]
    if _records(event, "eventSource", "aws:s3"):
        return [_notified(record) for record in event["Records"] if _creates(record)]
    if event.get("source") == "aws.s3" and isinstance(event.get("detail-type"), str):
        return [_from_eventbridge(event)] if event["detail-type"] == "Object Created" else []
    if {"bucket", "key"} <= event.keys():
        return [_object(_text(event, "bucket"), _text(event, "key"))]
    raise UnknownEventError(f"the event has an unknown shape; accepted: {ACCEPTED}")


def _queued(record: dict[str, Any]) -> Message:
    """Parse a message of a queue; one of unknown shape is marked with an error."""
    body = record.get("body")
    attributes = record.get("attributes")
    receives = attributes.get("ApproximateReceiveCount") if isinstance(attributes, dict) else 1
    common = {
        "id": str(record.get("messageId", "")),
        "receipt": str(record.get("receiptHandle", "")),
        "receives": int(receives) if str(receives).isdecimal() else 1,
    }
    try:
        return Message(**common, objects=tuple(objects_in(_json(body))))
    except UnknownEventError as error:
        return Message(**common, error=str(error), body=str(body))


def _records(event: dict[str, Any], field: str, source: str) -> bool:
    """Whether the event is a list of records, all from the same source."""
    records = event.get("Records")
    return (
        isinstance(records, list)
        and bool(records)
        and all(isinstance(record, dict) and record.get(field) == source for record in records)
    )


def _creates(record: dict[str, Any]) -> bool:
    """Whether the record reports a new object: 'ObjectCreated:Put' in direct notifications, with
    the prefix 's3:' elsewhere."""
    return _text(record, "eventName").removeprefix("s3:").startswith("ObjectCreated:")


def _notified(record: dict[str, Any]) -> S3Object:
    """The object of a direct notification, whose key is encoded like a form field."""
    encoded = _text(record, "s3", "object", "key")
    try:
        key = unquote_plus(encoded, errors="strict")
    except UnicodeDecodeError:
        raise UnknownEventError(f"the key {encoded!r} is not encoded UTF-8 text") from None
    about = record["s3"]["object"]
    return _object(
        _text(record, "s3", "bucket", "name"), key, about, "eTag", record.get("eventTime")
    )


def _from_eventbridge(event: dict[str, Any]) -> S3Object:
    """The object of an EventBridge event, whose key is not encoded."""
    key = _text(event, "detail", "object", "key")
    about = event["detail"]["object"]
    return _object(_text(event, "detail", "bucket", "name"), key, about, "etag", event.get("time"))


def _object(
    bucket: str,
    key: str,
    about: dict[str, Any] | None = None,
    etag_field: str = "",
    event_time: Any = None,
) -> S3Object:
    about = about or {}
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise UnknownEventError(f"the key {key!r} is not UTF-8 text") from None
    if not bucket or not 0 < length <= LONGEST_KEY:
        raise UnknownEventError(
            f"an object needs a bucket and a key of 1 to {LONGEST_KEY} bytes; the bucket is "
            f"{bucket!r}, the key has {length} bytes"
        )
    etag, size = about.get(etag_field), about.get("size")
    return S3Object(
        bucket,
        key,
        etag=etag.strip('"') if isinstance(etag, str) else "",
        size=size if isinstance(size, int) and size >= 0 else 0,
        event_time=_time(event_time),
    )


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else None


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise UnknownEventError(f"the message is not JSON; accepted: {ACCEPTED}") from None


def _text(event: Any, *path: str) -> str:
    """The text at a path of nested fields of an event."""
    for name in path:
        event = event.get(name) if isinstance(event, dict) else None
    if not isinstance(event, str):
        raise UnknownEventError(f"the event has no text at {'.'.join(path)}; accepted: {ACCEPTED}")
    return event


def _bundle_key(event: dict[str, Any]) -> str:
    """The key of a bundle: the given one, or one built from Torus's fields for a bundle."""
    if "key" in event:
        return _object("bundle", _text(event, "key")).key
    if "bundle_id" not in event:
        return ""
    parts = [event.get("partition", "section"), event.get("partition_id", 0)]
    parts += [event.get("category", "video"), event["bundle_id"]]
    if not all(isinstance(part, str | int) and "/" not in str(part) for part in parts):
        raise UnknownEventError("partition, partition_id, category and bundle_id must be names")
    return _object("bundle", f"{'/'.join(map(str, parts))}.jsonl").key


def _bulk(event: dict[str, Any]) -> BulkRequest:
    known = {"mode", "bucket", "prefix", "prefixes", "section", "section_id", "section_ids"}
    known |= {"start_date", "end_date", "dry_run", "force", "after"}
    if unknown := sorted(event.keys() - known):
        raise SettingsError(
            f"unknown field {', '.join(unknown)}; accepted: {', '.join(sorted(known))}"
        )
    for name in ("bucket", "after"):
        if not isinstance(event.get(name, ""), str):
            raise SettingsError(f"{name} is {event[name]!r}; accepted: text")
    for name in ("dry_run", "force"):
        if not isinstance(event.get(name, False), bool):
            raise SettingsError(f"{name} is {event[name]!r}; accepted: true, false")
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
    if not all(isinstance(prefix, str) for prefix in given):
        raise SettingsError(f"prefixes is {given!r}; accepted: the beginning of keys, as text")
    return given


def _sections(event: dict[str, Any]) -> Iterator[int]:
    for name in ("section", "section_id", "section_ids"):
        given = event.get(name, [])
        for number in given if isinstance(given, list) else [given]:
            yield section_number(number, name)

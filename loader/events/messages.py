"""Parse events: every shape that requests a load, turned into objects or a request. No I/O."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from loader.bulk.selection import ROOT, BulkRequest, day_range, section_number
from loader.errors import PermanentError, SettingsError, may_be_json, quoted, shape
from loader.objects import S3Object
from loader.settings import is_utf8

# Longest key that S3 allows, in bytes, and longest names of buckets and versions that are accepted.
LONGEST_KEY, LONGEST_BUCKET, LONGEST_VERSION = 1024, 255, 1024

# Largest size that is accepted, in bytes, and the years of a time that ClickHouse can store.
LARGEST_SIZE, YEARS = 2**62, range(1970, 2200)

# What CloudTrail calls the requests that create an object.
CREATING_CALLS = {"PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"}

# Sources of notifications with keys that are not encoded like a form field.
PLAIN_SOURCES = {"ceph:s3"}

ACCEPTED = (
    "SQS, SNS and EventBridge events of S3, notifications of S3 and of compatible storage, "
    '{"bucket", "key"}, {"body"}, {"mode": "bulk"}, {"health_check": true}, {"diagnostics": true}'
)


# The fields of notifications, whose values may be logged: names of objects, and of what happened to
# them; None stands for the value.
_OBJECT = dict.fromkeys(("key", "eTag", "etag", "versionId", "version-id"))
_RECORD: dict[str, Any] = dict.fromkeys(("eventSource", "EventSource", "eventName", "eventTime"))
_RECORD |= {"s3": {"bucket": {"name": None}, "object": _OBJECT}}
_NOTIFICATION: dict[str, Any] = dict.fromkeys(
    ("bucket", "key", "Type", "Event", "EventName", "Key", "source", "detail-type", "time")
)
_NOTIFICATION |= {"Records": _RECORD, "Message": _NOTIFICATION}
_NOTIFICATION["detail"] = dict.fromkeys(("eventName", "eventTime", "errorCode")) | {
    "bucket": {"name": None},
    "object": _OBJECT,
    "requestParameters": dict.fromkeys(("bucketName", "key")),
}
_RECORD["Sns"] = {"Type": None, "Message": _NOTIFICATION}

# Names of other fields that are logged as they are, and how many fields and records.
_NAME, _MOST_SHOWN = re.compile(r"[A-Za-z0-9_.: /-]{1,60}"), 20


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
        shape: what may be logged of it, if its shape is unknown (see `for_log`).
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
            f"the body is {shape(event['body'])}; accepted: text with one statement per line"
        )
    return Notifications((Message(objects=objects_in(event)),))


def for_log(event: Any, size: int | None = None) -> dict[str, Any]:
    """What may be logged of an event or message of unknown shape: the fields that notifications
    have, and names, types and sizes of others. Nothing else, because it may contain statements, in
    any form, and they are personal data.

    Args:
        event: the event, parsed from JSON.
        size: its bytes as it was received; None to count them.
    """
    size = len(json.dumps(event, default=str)) if size is None else size
    return {"shape": _shown(event, _NOTIFICATION), "bytes": size}


def _shown(value: Any, known: dict[str, Any] | None) -> Any:
    """The shape of a value, with the values of known fields.

    Args:
        value: the value.
        known: the fields that are known in it; None if it is the value of a known field.
    """
    if known is None:
        is_name = isinstance(value, str) and not may_be_json(value)
        return value[:LONGEST_KEY] if is_name else shape(value)
    if isinstance(value, str) and known is _NOTIFICATION:
        # One notification in the text of another.
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return shape(value)
    if isinstance(value, list) and known is _RECORD:
        return [_shown(one, known) for one in value[:_MOST_SHOWN]]
    if not isinstance(value, dict):
        return shape(value)
    return {
        name if _NAME.fullmatch(name) else f"a name of {len(name)}": (
            _shown(member, known[name]) if name in known else shape(member)
        )
        for name, member in list(value.items())[:_MOST_SHOWN]
    }


def objects_in(event: Any) -> tuple[S3Object, ...]:
    """The objects to load that a notification names, in its order; none for a test message, and
    none for folder markers (objects of 0 bytes whose key ends in '/').

    Args:
        event: the notification, parsed from JSON.

    Raises:
        UnknownEventError: the shape of the notification is unknown.
    """
    return tuple(item for item in _named(event) if not (item.key.endswith("/") and not item.size))


def _named(event: Any) -> list[S3Object]:
    if not isinstance(event, dict):
        raise UnknownEventError(f"the message is not a JSON object; accepted: {ACCEPTED}")
    if event.get("Event") == "s3:TestEvent":
        return []
    if event.get("Type") == "Notification" and isinstance(event.get("Message"), str):
        return _named(_json(event["Message"]))
    if _records(event, "EventSource", "aws:sns"):
        return [
            item
            for record in event["Records"]
            for item in _named(_json(_text(record, "Sns", "Message")))
        ]
    if _records(event, "eventSource", ":s3"):
        return [_notified(record) for record in event["Records"] if _creates(record)]
    if event.get("source") == "aws.s3" and isinstance(event.get("detail-type"), str):
        return _from_eventbridge(event)
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
        "receives": int(receives) if re.fullmatch(r"[0-9]{1,9}", str(receives)) else 1,
    }
    try:
        return Message(**common, objects=objects_in(_json(body)))
    except UnknownEventError as error:
        size = len(body.encode("utf-8", "surrogatepass")) if isinstance(body, str) else None
        return Message(**common, error=str(error), shape=for_log(body, size))


def _records(event: dict[str, Any], field: str, source: str) -> bool:
    """Whether the event is a list of records, all from sources whose name ends like this."""
    records = event.get("Records")
    return (
        isinstance(records, list)
        and bool(records)
        and all(
            isinstance(record, dict) and str(record.get(field)).lower().endswith(source)
            for record in records
        )
    )


def _creates(record: dict[str, Any]) -> bool:
    """Whether the record reports a new object: 'ObjectCreated:Put' in direct notifications, with
    the prefix 's3:' elsewhere; 'ObjectSynced:Create' if another zone of Ceph created it."""
    name = _text(record, "eventName").removeprefix("s3:")
    return name.startswith(("ObjectCreated:", "ObjectSynced:Create"))


def _notified(record: dict[str, Any]) -> S3Object:
    """The object of a notification, whose key is encoded like a form field by most sources."""
    key = _text(record, "s3", "object", "key")
    if record["eventSource"].lower() not in PLAIN_SOURCES:
        try:
            key = unquote_plus(key, errors="strict")
        except UnicodeDecodeError:
            raise UnknownEventError(f"the key {quoted(key)} is not encoded UTF-8 text") from None
    about = record["s3"]["object"]
    return _object(
        _text(record, "s3", "bucket", "name"),
        key,
        etag=about.get("eTag") or about.get("etag"),
        version=about.get("versionId"),
        size=about.get("size"),
        time=record.get("eventTime"),
    )


def _from_eventbridge(event: dict[str, Any]) -> list[S3Object]:
    """The object of an EventBridge event, whose key is not encoded; none if it creates none."""
    if event["detail-type"] == "AWS API Call via CloudTrail":
        return _from_cloudtrail(event)
    if event["detail-type"] != "Object Created":
        return []
    key = _text(event, "detail", "object", "key")
    about = event["detail"]["object"]
    return [
        _object(
            _text(event, "detail", "bucket", "name"),
            key,
            etag=about.get("etag"),
            version=about.get("version-id"),
            size=about.get("size"),
            time=event.get("time"),
        )
    ]


def _from_cloudtrail(event: dict[str, Any]) -> list[S3Object]:
    """The object of a request that CloudTrail recorded; none if it created none, or failed."""
    call = _text(event, "detail", "eventName")
    if call not in CREATING_CALLS or event["detail"].get("errorCode"):
        return []
    return [
        _object(
            _text(event, "detail", "requestParameters", "bucketName"),
            _text(event, "detail", "requestParameters", "key"),
            time=event["detail"].get("eventTime"),
        )
    ]


def _object(
    bucket: str,
    key: str,
    *,
    etag: Any = None,
    version: Any = None,
    size: Any = None,
    time: Any = None,
) -> S3Object:
    """The object with these names, which must be such that ClickHouse can store them.

    Size and time help to make batches and to measure; those that cannot be are left out.
    """
    name, place = _bytes(key, "key"), _bytes(bucket, "bucket")
    if not 0 < place <= LONGEST_BUCKET or not 0 < name <= LONGEST_KEY:
        raise UnknownEventError(
            f"an object needs a bucket of 1 to {LONGEST_BUCKET} bytes and a key of 1 to "
            f"{LONGEST_KEY} bytes; the bucket has {place} bytes, the key has {name} bytes"
        )
    return S3Object(
        bucket,
        key,
        etag=_version(etag, "ETag").strip('"'),
        size=size if type(size) is int and 0 <= size <= LARGEST_SIZE else 0,
        event_time=_time(time),
        version_id=_version(version, "version id"),
    )


def _bytes(text: str, what: str) -> int:
    """Number of bytes of a text in UTF-8."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise UnknownEventError(f"the {what} {quoted(text)} is not UTF-8 text") from None


def _version(value: Any, what: str) -> str:
    """What a notification says about the version of an object; '' if it says nothing."""
    if value is None:
        return ""
    is_plain = isinstance(value, str) and value.isascii() and value.isprintable()
    if not is_plain or len(value) > LONGEST_VERSION:
        raise UnknownEventError(
            f"the {what} is {shape(value)}; accepted: at most {LONGEST_VERSION} printable ASCII "
            "characters"
        )
    return value


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo and time.year in YEARS else None


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
    return _object("bundle", f"{'/'.join(map(_key_part, parts))}.jsonl").key


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
        names = ", ".join(name if _NAME.fullmatch(name) else quoted(name) for name in unknown[:5])
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

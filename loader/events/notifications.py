"""The objects that notifications of S3 and of compatible storage name. No I/O."""

import json
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from loader.errors import PermanentError, quoted, shape
from loader.objects import S3Object

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


class UnknownEventError(PermanentError):
    """An event or message has an unknown shape; it must not be acknowledged."""


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
        return _named(parsed(event["Message"]))
    if has_records_from(event, "EventSource", "aws:sns"):
        return [
            item
            for record in event["Records"]
            for item in _named(parsed(text_at(record, "Sns", "Message")))
        ]
    if has_records_from(event, "eventSource", ":s3"):
        return [_notified(record) for record in event["Records"] if _creates(record)]
    if event.get("source") == "aws.s3" and isinstance(event.get("detail-type"), str):
        return _from_eventbridge(event)
    if {"bucket", "key"} <= event.keys():
        return [object_named(text_at(event, "bucket"), text_at(event, "key"))]
    raise UnknownEventError(f"the event has an unknown shape; accepted: {ACCEPTED}")


def has_records_from(event: dict[str, Any], field: str, source: str) -> bool:
    """Whether an event is a list of records, all from sources with this name.

    Args:
        event: the event.
        field: the field of a record that names its source.
        source: how the name ends, in lower case.
    """
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
    name = text_at(record, "eventName").removeprefix("s3:")
    return name.startswith(("ObjectCreated:", "ObjectSynced:Create"))


def _notified(record: dict[str, Any]) -> S3Object:
    """The object of a notification, whose key is encoded like a form field by most sources."""
    key = text_at(record, "s3", "object", "key")
    if record["eventSource"].lower() not in PLAIN_SOURCES:
        try:
            key = unquote_plus(key, errors="strict")
        except UnicodeDecodeError:
            raise UnknownEventError(f"the key {quoted(key)} is not encoded UTF-8 text") from None
    about = record["s3"]["object"]
    return object_named(
        text_at(record, "s3", "bucket", "name"),
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
    key = text_at(event, "detail", "object", "key")
    about = event["detail"]["object"]
    return [
        object_named(
            text_at(event, "detail", "bucket", "name"),
            key,
            etag=about.get("etag"),
            version=about.get("version-id"),
            size=about.get("size"),
            time=event.get("time"),
        )
    ]


def _from_cloudtrail(event: dict[str, Any]) -> list[S3Object]:
    """The object of a request that CloudTrail recorded; none if it created none, or failed."""
    call = text_at(event, "detail", "eventName")
    if call not in CREATING_CALLS or event["detail"].get("errorCode"):
        return []
    return [
        object_named(
            text_at(event, "detail", "requestParameters", "bucketName"),
            text_at(event, "detail", "requestParameters", "key"),
            time=event["detail"].get("eventTime"),
        )
    ]


def object_named(
    bucket: str,
    key: str,
    *,
    etag: Any = None,
    version: Any = None,
    size: Any = None,
    time: Any = None,
) -> S3Object:
    """The object with these names, which must be such that ClickHouse can store them.

    Args:
        bucket: its bucket.
        key: its key.
        etag: its version, with or without quotes; None if unknown.
        version: its version id; None if unknown.
        size: its bytes; 0 is taken for one that cannot be.
        time: when it was created, as ISO 8601 text; None is taken for one that cannot be.

    Raises:
        UnknownEventError: a name cannot be, or cannot be stored.
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


def parsed(text: Any) -> Any:
    """Parse the JSON of a message.

    Raises:
        UnknownEventError: it is none.
    """
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise UnknownEventError(f"the message is not JSON; accepted: {ACCEPTED}") from None


def text_at(event: Any, *path: str) -> str:
    """The text at a path of nested fields of an event.

    Raises:
        UnknownEventError: there is none.
    """
    for name in path:
        event = event.get(name) if isinstance(event, dict) else None
    if not isinstance(event, str):
        raise UnknownEventError(f"the event has no text at {'.'.join(path)}; accepted: {ACCEPTED}")
    return event

"""What may be logged of an event or message of unknown shape. No I/O."""

import json
import re
from typing import Any

from loader.errors import may_be_json, shape
from loader.events.notifications import LONGEST_KEY

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
PLAIN_NAME, _MOST_SHOWN = re.compile(r"[A-Za-z0-9_.: /-]{1,60}"), 20


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
        name if PLAIN_NAME.fullmatch(name) else f"a name of {len(name)}": (
            _shown(member, known[name]) if name in known else shape(member)
        )
        for name, member in list(value.items())[:_MOST_SHOWN]
    }

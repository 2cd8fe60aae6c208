"""How the pages write numbers, times and texts."""

import json
from datetime import datetime
from typing import Any

NOTHING = "\N{EN DASH}"


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands separators, e.g. 12,345."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def share(value: float | None) -> str:
    """A share as per cent; a small one that is not zero is not shown as zero."""
    if value is None:
        return NOTHING
    if 0 < value < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < value < 1 else f"{value * 100:.0f} %"


def clock(seconds: float | None) -> str:
    """A place in a video or its length, e.g. 4:05 or 1:02:03."""
    if seconds is None:
        return NOTHING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span(seconds: float | None) -> str:
    """How long something took or waits, in its largest unit."""
    if seconds is None:
        return NOTHING
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"


def size(count: float | None) -> str:
    """A number of bytes, e.g. 1.2 MB."""
    if count is None:
        return NOTHING
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def minute(at: str | datetime | None) -> str:
    """A time to the minute, e.g. 2025-11-30 19:34; the page says that times are UTC."""
    return str(at)[:16] if at else NOTHING


def day(at: str | None) -> str:
    """The UTC day of a time."""
    return at[:10] if at else NOTHING


def short_id(learner_id: str) -> str:
    """The beginning of a learner's pseudonym, enough to tell the learners of a section apart."""
    return learner_id[:10]


def readable(text: str | None, limit: int = 200) -> str:
    """An answer or feedback as a person reads it.

    Torus sends JSON: {"input": "42", "files": []}, {"content": [{"children": [{"text": …}]}]}.
    """
    if not text:
        return NOTHING
    try:
        found = json.loads(text) if text[0] in "{[" else text
    except (ValueError, RecursionError):
        found = text
    shown = " ".join(_leaves(found)) if isinstance(found, dict | list) else text
    shown = " ".join((shown or text).split())
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _leaves(value: Any, depth: int = 0) -> list[str]:
    """The texts that a document holds, in their order: members input, text, content, children."""
    if depth > 20:
        return []
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item, depth + 1)]
    if isinstance(value, dict):
        members = [
            value[name] for name in ("input", "text", "content", "children") if name in value
        ]
        return [leaf for member in members for leaf in _leaves(member, depth + 1)]
    return [value] if isinstance(value, str) else []


FILTERS = {
    "number": number,
    "share": share,
    "clock": clock,
    "span": span,
    "size": size,
    "minute": minute,
    "day": day,
    "short_id": short_id,
    "readable": readable,
}

"""How the oracle reads a single value: text, a number, true or false, a time."""

import re
from datetime import UTC, datetime, timedelta, timezone
from math import isfinite
from typing import Any

from tests.helpers.oracle_json import write

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime(2200, 1, 1, tzinfo=UTC)

INTEGER = re.compile(r"\+?0*([0-9]+)")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
TIMESTAMP = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]+))?)?"
    r"(Z|(?P<sign>[+-])(?P<off_hour>[0-9]{2})(:?(?P<off_minute>[0-9]{2}))?)?"
)


class JsonText(str):
    """Text that was not a string in the statement, so its spelling is free."""


def at(value: Any, *path: str) -> Any:
    """The value at the end of the path; None where something on the way is no object."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def first(*values: Any) -> Any:
    """The first value that is there."""
    return next((value for value in values if value is not None), None)


def text(value: Any) -> str | None:
    """The string, or any other value as JSON text."""
    return value if value is None or isinstance(value, str) else JsonText(write(value))


def integer(value: Any) -> int | None:
    """The whole number from 0 that 64 bits hold, if it is one."""
    match = INTEGER.fullmatch(text(value) or "")
    # 2**64 has 20 digits, and Python refuses to read thousands of them.
    if not match or len(match[1]) > 20:
        return None
    return int(match[1]) if int(match[1]) < 2**64 else None


def number(value: Any) -> float | None:
    """The float64, if it is one."""
    digits = text(value) or ""
    return float(digits) if NUMBER.fullmatch(digits) and isfinite(float(digits)) else None


def boolean(value: Any) -> bool | None:
    """True or false, as value or as word."""
    return {"true": True, "false": False}.get(text(value) or "")


def count(value: Any) -> int | None:
    """The length of a list, or the number itself."""
    return len(value) if isinstance(value, list) else integer(value)


def instant(value: Any) -> datetime | None:
    """The moment in UTC to the microsecond, if it is one that the tables can hold."""
    match = TIMESTAMP.fullmatch(text(value) or "")
    if not match:
        return None
    part = {name: int(match[name] or 0) for name in ("hour", "minute", "second")}
    micros = int((match["fraction"] or "")[:6].ljust(6, "0"))
    off_hour, off_minute = int(match["off_hour"] or 0), int(match["off_minute"] or 0)
    if off_hour > 23 or off_minute > 59:
        return None
    offset = timedelta(hours=off_hour, minutes=off_minute) * (-1 if match["sign"] == "-" else 1)
    try:
        day = datetime.fromisoformat(match["date"])
        moment = day.replace(**part, microsecond=micros, tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if EPOCH <= moment < END_OF_TIME else None

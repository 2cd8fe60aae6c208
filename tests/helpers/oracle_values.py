"""How the oracle reads a single value: text, a number, true or false, a duration, a time."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, TypeVar

from tests.helpers.oracle_json import write

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS_OF_400_YEARS = 146_097

INTEGER = re.compile(r"\+?0*([0-9]+)")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
AMOUNT = r"[0-9]+(?:[.,][0-9]+)?"
# Years and months have no fixed length: only 0 of them is a duration in seconds.
DURATION = re.compile(
    rf"P(?=.)(?:0+Y)?(?:0+M)?(?:({AMOUNT})W)?(?:({AMOUNT})D)?"
    rf"(?:T(?=.)(?:({AMOUNT})H)?(?:({AMOUNT})M)?(?:({AMOUNT})S)?)?"
)
SECONDS_OF = (7 * 86_400, 86_400, 3_600, 60, 1)
TIMESTAMP = re.compile(
    r"(?P<year>[0-9]{4})(?P<dash>-?)(?P<month>[0-9]{2})(?P=dash)(?P<day>[0-9]{2})[Tt ]"
    r"(?P<hour>[0-9]{2})"
    r"((?P<colon>:?)(?P<minute>[0-9]{2})"
    r"((?P=colon)(?P<second>[0-9]{2})([.,](?P<fraction>[0-9]+))?)?)?"
    r"([Zz]|(?P<sign>[+-])(?P<off_hour>[0-9]{2})(:?(?P<off_minute>[0-9]{2}))?)?"
)

Value = TypeVar("Value")


class JsonText(str):
    """Text that was not a string in the statement, so its spelling is free."""


def at(value: Any, *path: str) -> Any:
    """The value at the end of the path; None where something on the way is no object."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def first(read: Callable[[Any], Value | None], values: Iterable[Any]) -> Value | None:
    """The first reading of a value that is there."""
    return next((found for found in map(read, values) if found is not None), None)


def text(value: Any) -> str | None:
    """The string, or any other value as JSON text."""
    return value if value is None or isinstance(value, str) else JsonText(write(value))


def id_text(value: Any) -> str | None:
    """The same, where an empty string says nothing."""
    return text(value) or None


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


def speed(value: Any) -> float | None:
    """A playback rate, which players write as 1.25 or as "1.25x"."""
    return number(value.removesuffix("x") if isinstance(value, str) else value)


def seconds(value: Any) -> float | None:
    """A number of seconds, or an ISO 8601 duration."""
    if (plain := number(value)) is not None:
        return plain
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    parts = [
        (amount.replace(",", "."), unit)
        for amount, unit in zip(match.groups(), SECONDS_OF, strict=True)
        if amount
    ]
    if any("." in amount for amount, _ in parts[:-1]):
        return None
    total = sum((float(amount) * unit for amount, unit in parts), 0.0)
    return total if isfinite(total) else None


def length(value: Any) -> float | None:
    """A length in seconds; 0 is none."""
    found = seconds(value)
    return found if found and found > 0 else None


def boolean(value: Any) -> bool | None:
    """True or false, as value or as word."""
    return {"true": True, "false": False}.get(text(value) or "")


def count(value: Any) -> int | None:
    """The length of a list, or the number itself."""
    return len(value) if isinstance(value, list) else integer(value)


def millisecond(value: Any) -> int | None:
    """The milliseconds since 1970 of a timestamp, if it is a usable one of any year."""
    match = TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    year, month, day = int(match["year"]), int(match["month"]), int(match["day"])
    hour, minute, second, off_hour, off_minute = (
        int(match[name] or 0) for name in ("hour", "minute", "second", "off_hour", "off_minute")
    )
    if hour > 23 or minute > 59 or second > 60 or off_hour > 23 or off_minute > 59:
        return None
    try:
        # Python has no year 0, so the day is looked up 400 years of the same calendar away.
        days = date(2000 + year % 400, month, day) - EPOCH.date()
    except ValueError:
        return None
    shift = (year // 400 - 5) * DAYS_OF_400_YEARS
    millis = int((match["fraction"] or "")[:3].ljust(3, "0"))
    if second == 60:
        second, millis = 59, 999
    offset = (off_hour * 60 + off_minute) * (-1 if match["sign"] == "-" else 1)
    minutes = ((days.days + shift) * 24 + hour) * 60 + minute - offset
    return (minutes * 60 + second) * 1000 + millis

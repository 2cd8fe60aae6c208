"""JSON as the oracle reads it, and how it writes a value out again."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from math import isfinite
from typing import Any

DEEPEST = 1024
# Python reads no more than 4,300 digits otherwise.
sys.set_int_max_str_digits(0)

SPACE = " \t\n\r"
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]|[^\s\[\]{},:"]+', re.DOTALL)
HEX4 = "[0-9a-fA-F]{2}"
ESCAPE = re.compile(
    rf"\\u[dD][89abAB]{HEX4}\\u[dD][c-fC-F]{HEX4}|(?P<lone>\\u[dD][89a-fA-F]{HEX4})|\\.",
    re.DOTALL,
)
UNPAIRED = re.compile("[\ud800-\udfff]")


def parse(source: str) -> Any:
    """Parse one value as RFC 8259 has it, where Python's own reader is more generous.

    Half of a surrogate pair becomes U+FFFD, and a number that float64 does not hold becomes null:
    both are valid JSON.
    """
    if UNPAIRED.search(source):
        raise ValueError("the bytes are not UTF-8")
    if _depth(source) > DEEPEST:
        raise ValueError("nested too deeply")
    return json.loads(
        ESCAPE.sub(lambda escape: r"\ufffd" if escape["lone"] else escape[0], source),
        object_pairs_hook=_first_of_each_key,
        parse_int=int,
        parse_float=_finite,
        parse_constant=_no_number,
    )


def end_of_value(source: str, start: int) -> int | None:
    """Where the object or array that begins at `start` ends, by its brackets alone."""
    opened = 0
    for token in TOKEN.finditer(source, start):
        opened += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if opened == 0:
            return token.end()
    return None


def members(source: str) -> Iterator[tuple[str | None, str]]:
    """The members of an object (key and text) or the elements of an array (None and text).

    Args:
        source: valid JSON of one object or array.
    """
    is_object = source[0] == "{"
    at, key = 1, None
    while at < len(source) - 1:
        if source[at] in SPACE + ",:":
            at += 1
            continue
        end = end_of_value(source, at) or len(source)
        if is_object and key is None:
            key = parse(source[at:end])
        else:
            yield key, source[at:end]
            key = None
        at = end


def _depth(source: str) -> int:
    """The depth of the deepest value; the outermost value has depth 1."""
    if source.count("[") + source.count("{") < DEEPEST:
        return 0
    deepest = opened = 0
    for token in TOKEN.findall(source):
        if token in "]}":
            opened -= 1
            continue
        deepest = max(deepest, opened + 1)
        if token in "[{":
            opened += 1
    return deepest


def _finite(digits: str) -> float | None:
    return float(digits) if isfinite(float(digits)) else None


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _first_of_each_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    first: dict[str, Any] = {}
    for key, value in pairs:
        first.setdefault(key, value)
    return first


def write(value: Any, canonical: bool = False) -> str:
    """Compact JSON text; the canonical one is equal for equal values (sorted keys, one zero)."""
    if isinstance(value, dict):
        keys = sorted(value) if canonical else list(value)
        return "{" + ",".join([f"{_quote(k)}:{write(value[k], canonical)}" for k in keys]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([write(item, canonical) for item in value]) + "]"
    if isinstance(value, float) and not (canonical and value.is_integer()):
        return _write_float(value)
    if isinstance(value, float | int) and not isinstance(value, bool):
        # ClickHouse quotes what 64 bits do not hold when it writes an object out again.
        beyond = canonical and not -(2**63) <= value < 2**64
        return f'"{int(value)}"' if beyond else str(int(value))
    return _quote(value)


def _quote(scalar: str | bool | None) -> str:
    return json.dumps(scalar, ensure_ascii=False)


def _write_float(value: float) -> str:
    """The shortest digits that read back equal, with an exponent from 1e21 and below 1e-6."""
    shortest = Decimal(repr(value)).normalize()
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return f"{shortest:f}"
    return re.sub(r"e([-+])0*", lambda sign: f"e{sign[1].strip('+')}", repr(value))


def same_json(one: str, other: str) -> bool:
    """Whether two texts are JSON of the same value."""
    with room_to_recurse():
        try:
            return write(parse(one), True) == write(parse(other), True)
        except ValueError:
            return False


@contextmanager
def room_to_recurse() -> Iterator[None]:
    """Python stops at 1,000 calls, the rules at 1,024 levels."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 20 * DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)

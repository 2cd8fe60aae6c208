"""Values as parameters of a statement: how they are written, and how large a request has them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")

# ClickHouse refuses a parameter above 128 KiB (http_max_field_value_size).
MOST_BYTES = 128_000

# All characters that one of the two clients escapes, and the longer separator of the two, so that
# `size` is right for both.
_ESCAPES = str.maketrans(
    {
        **{"\\": "\\\\", "'": "\\'", "`": "\\`"},
        **{"\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"},
    }
)
_SEPARATOR = ", "


def text(value: Any) -> str:
    """Write a parameter's value for ClickHouse: escaped text, or an array of literals."""
    if value is None:
        return "\\N"
    if isinstance(value, list | tuple):
        return f"[{_SEPARATOR.join(map(_member, value))}]"
    return str(value).translate(_ESCAPES)


def _member(value: Any) -> str:
    """Write a member of an array as a literal."""
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int | float) else f"'{str(value).translate(_ESCAPES)}'"


def size(*members: Any) -> int:
    """Bytes that members of arrays add to a request, as `text` writes them."""
    return sum(len(_member(member).encode()) + len(_SEPARATOR) for member in members)


def cut(items: Iterable[Item], bytes_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Split items into parts whose parameters one statement can have.

    Args:
        items: what the arrays of a statement are made of.
        bytes_of: bytes that an item adds to them (see `size`).
    """
    part: list[Item] = []
    total = 0
    for item in items:
        more = bytes_of(item)
        if part and total + more > MOST_BYTES:
            yield part
            part, total = [], 0
        part.append(item)
        total += more
    if part:
        yield part

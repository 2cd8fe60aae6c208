"""The statements of a line: itself, the elements of a list, values one after another, envelopes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.helpers.oracle_json import SPACE, end_of_value, members, parse

# What is removed from both ends of a line.
AROUND = SPACE + "\v\f\0"
DEEPEST_ENVELOPE = 3


@dataclass(frozen=True)
class Item:
    """One value of a line: its number, its text, and the value unless it is broken.

    Attributes:
        number: 0 where the line is this value, else from 1.
        source: the text from its first character to its last.
        value: what it says.
        broken: whether it is no JSON.
        in_list: whether it is an element of a list.
    """

    number: int
    source: str
    value: Any = None
    broken: bool = False
    in_list: bool = False

    @property
    def bytes(self) -> bytes:
        """The value's bytes as they are in the line."""
        return self.source.encode("utf-8", "surrogateescape")


def items_of(line: bytes) -> list[Item]:
    """The values of a line; none if it is blank."""
    # Bytes that are no UTF-8 make one value of the line unreadable, not those before it.
    text = line.decode("utf-8", "surrogateescape")
    found = list(_values(text))
    opened = [inner for item in found for inner in _opened(item)]
    if len(found) == len(opened) == 1 and opened[0] is found[0]:
        return found
    return [replace(item, number=number) for number, item in enumerate(opened, 1)]


def _values(text: str) -> Iterator[Item]:
    """The values that a text holds one after another, then what is left as a broken one."""
    text = text.removeprefix("\ufeff").strip(AROUND)
    if not text:
        return
    if text[0] not in "[{":
        yield _read(text)
        return
    while text:
        end = end_of_value(text, 0) if text[0] in "[{" else None
        item = _read(text[:end]) if end else None
        if item is None or item.broken:
            yield Item(0, text, broken=True)
            return
        yield item
        text = text[end:].lstrip(SPACE)


def _read(source: str, in_list: bool = False) -> Item:
    try:
        return Item(0, source, parse(source), in_list=in_list)
    except ValueError:
        return Item(0, source, broken=True)


def _opened(item: Item, depth: int = 0) -> Iterator[Item]:
    """The statements of a list or an envelope; any other value is returned as it is."""
    inner = _inner(item) if depth < DEEPEST_ENVELOPE else None
    if inner is None:
        yield item
    else:
        for one in inner:
            yield from _opened(one, depth + 1)


def _inner(item: Item) -> Iterator[Item] | None:
    """The values in a list or an envelope; None if it is neither."""
    value = item.value
    if isinstance(value, list):
        # No producer sends a list of statements in a list.
        return None if item.in_list else _elements(item.source)
    if not isinstance(value, dict) or "actor" in value or "verb" in value:
        return None
    if isinstance(value.get("statements"), list):
        return _elements(_member(item.source, "statements"))
    for name in ("statement", "message"):
        if isinstance(value.get(name), dict):
            return iter([_read(_member(item.source, name))])
    if isinstance(value.get("message"), str):
        return _values(value["message"])
    return None


def _elements(source: str) -> Iterator[Item]:
    return (_read(text, in_list=True) for _, text in members(source))


def _member(source: str, name: str) -> str:
    """The text of a member, the first of this name."""
    return next(text for key, text in members(source) if key == name)

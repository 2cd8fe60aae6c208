"""The statements of a line: itself, the elements of a list, values one after another, envelopes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.helpers.oracle_json import SPACE, end_of_value, members, parse

# What is removed from both ends of a line.
AROUND = SPACE + "\v\f\0"
DEEPEST_ENVELOPE = 3
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],]|[^"{}\[\],]+', re.DOTALL)
# A list of statements, or the beginning of an LRS's answer.
BROKEN_LIST = re.compile(r'\[|\{(?:\s*"[a-z]+"\s*:\s*"[^"\\]*"\s*,)*\s*"statements"\s*:\s*\[')


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
    text = line.decode("utf-8", "surrogateescape")
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return [Item(0, text.strip(AROUND), broken=True)]
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
    if item.broken:
        begun = BROKEN_LIST.match(item.source)
        found = list(_broken_elements(item.source[begun.end() :])) if begun else []
        return iter(found) if found else None
    if isinstance(value, list):
        return _elements(item.source)
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


def _broken_elements(text: str) -> Iterator[Item]:
    """The elements of a broken list: from the broken one on, the rest is one item."""
    while text := text.strip(AROUND):
        end = _end_of_element(text)
        item = _read(text[:end].strip(AROUND))
        if item.broken:
            yield Item(0, text, broken=True)
            return
        yield item
        text = text[end + 1 :] if text[end : end + 1] == "," else ""


def _end_of_element(text: str) -> int:
    """Where a comma ends the first element of a list, or the text ends."""
    depth = 0
    for token in TOKENS.finditer(text):
        if depth == 0 and token[0] == ",":
            return token.start()
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
    return len(text)


def _elements(source: str) -> Iterator[Item]:
    return (_read(text, in_list=True) for _, text in members(source))


def _member(source: str, name: str) -> str:
    """The text of a member, the first of this name."""
    return next(text for key, text in members(source) if key == name)

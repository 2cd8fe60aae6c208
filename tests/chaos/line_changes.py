"""Changes to one member of a statement, for lines that no producer means to write."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.chaos.odd_values import DURATIONS, NAMES, NUMBERS, OBJECTS, ODD, TEXTS, TIMES


class Raw(str):
    """JSON that is written as it is."""


class Twice(str):
    """A member's name beside the same name."""

    def __hash__(self) -> int:
        """Each has a different name."""
        return id(self)

    def __eq__(self, other: object) -> bool:
        """Each has a different name."""
        return self is other


def one_in(dice: random.Random, count: int) -> bool:
    """Whether one throw of so many sides succeeds."""
    return dice.randrange(count) == 0


def _places(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every member of every object in a value, with its object."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield value, name
            yield from _places(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner)


def _anywhere(dice: random.Random, statement: dict[str, Any]) -> tuple[dict[str, Any], str]:
    places = [
        place for place in _places(statement) if place[1] != "id" or place[0] is not statement
    ]
    return dice.choice(places) if places else (statement, "verb")


def _drop(dice: random.Random, statement: dict[str, Any]) -> None:
    holder, name = _anywhere(dice, statement)
    holder.pop(name, None)


def _replace(dice: random.Random, statement: dict[str, Any]) -> None:
    holder, name = _anywhere(dice, statement)
    odd = dice.choice([*ODD, *TEXTS])
    holder[name] = {} if name in OBJECTS and isinstance(odd, list) else odd


def _number(dice: random.Random, statement: dict[str, Any]) -> None:
    holder, name = _anywhere(dice, statement)
    holder[name] = Raw(dice.choice(NUMBERS))


def _retype(dice: random.Random, statement: dict[str, Any]) -> None:
    """A number as text, text as a number or a truth, a value in a list, a list's only value."""
    holder, name = _anywhere(dice, statement)
    value = holder.get(name)
    if isinstance(value, bool) or value is None:
        holder[name] = str(value).lower()
    elif isinstance(value, int | float):
        holder[name] = str(value)
    elif isinstance(value, str):
        number = value.isdecimal() and value.isascii()
        holder[name] = int(value) if number else {} if name in OBJECTS else [value]
    elif isinstance(value, list):
        holder[name] = value[0] if value else {}


def _time(dice: random.Random, statement: dict[str, Any]) -> None:
    statement["timestamp"] = dice.choice(TIMES)


def _stored(dice: random.Random, statement: dict[str, Any]) -> None:
    """No timestamp, but the time at which an LRS stored it."""
    statement["stored"] = statement.get("timestamp")
    statement["timestamp"] = dice.choice([None, "", dice.choice(TIMES)])
    if one_in(dice, 2):
        del statement["timestamp"]


def _scheme(dice: random.Random, statement: dict[str, Any]) -> None:
    """http where there was https in all keys and values, or the other way round."""
    there, here = dice.choice([("http://", "https://"), ("https://", "http://")])
    changed = json.loads(json.dumps(_plain(statement)).replace(there, here))
    statement.clear()
    statement.update(changed)


def _plain(value: Any) -> Any:
    """A value without what is no JSON."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Raw) else value


def _title(dice: random.Random, statement: dict[str, Any]) -> None:
    about = statement.get("object")
    if isinstance(about, dict) and isinstance(about.get("definition"), dict):
        about["definition"]["name"] = dice.choice(NAMES)


def _duration(dice: random.Random, statement: dict[str, Any]) -> None:
    """A duration as the value of an extension, or of the result."""
    holder, name = _anywhere(dice, statement)
    if "/extension" in name:
        holder[name] = dice.choice(DURATIONS)
    elif isinstance(result := statement.setdefault("result", {}), dict):
        result["duration"] = dice.choice(DURATIONS)


def _half_a_pair(dice: random.Random, statement: dict[str, Any]) -> None:
    """Text with half of a surrogate pair, or a whole pair, as escapes."""
    holder, name = _anywhere(dice, statement)
    if name not in OBJECTS:
        holder[name] = Raw(dice.choice([r'"a\ud83d"', r'"\ude00b"', r'"\ud83d\ude00\uD83D"']))


def _rename(dice: random.Random, statement: dict[str, Any]) -> None:
    holder, name = _anywhere(dice, statement)
    if name in holder:
        holder[dice.choice([name.upper(), name + " ", name[:-1], f" {name}", ""])] = holder.pop(
            name
        )


def _twice(dice: random.Random, statement: dict[str, Any]) -> None:
    """The same member twice: the first one counts. Not one that is no text or number: of those
    ClickHouse takes the first that has the type."""
    holder, name = _anywhere(dice, statement)
    if isinstance(holder.get(name), str | int) and name not in OBJECTS:
        holder[Twice(name)] = dice.choice(TEXTS)


def _deep(dice: random.Random, statement: dict[str, Any]) -> None:
    holder, name = _anywhere(dice, statement)
    depth = dice.choice([3, 50, 900, 1100, 3000])
    brackets = [('{"a":', "}"), ("[", "]")]
    opening, closing_ = dice.choice(brackets[: 1 if name in OBJECTS else 2])
    inner = "1" if closing_ == "}" else ""
    holder[name] = Raw(opening * depth + inner + closing_ * depth)


CHANGES: list[Callable[[random.Random, dict[str, Any]], None]] = [
    *(_drop, _drop, _replace, _replace, _replace, _number, _retype, _retype),
    *(_time, _time, _rename, _twice, _deep, _stored, _scheme, _title, _duration, _half_a_pair),
]

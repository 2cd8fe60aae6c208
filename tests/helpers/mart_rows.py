"""Compare the rows of a mart with what an independent walk gives."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]


def differences(expected: dict[tuple, Row], rows: list[Row], key: Sequence[str]) -> list[tuple]:
    """Where rows are not what is expected: key, column, expected value, value."""
    found = {tuple(row[column] for column in key): row for row in rows}
    assert len(found) == len(rows), "two rows with one key"
    wrong = [(one, "row", one in expected, one in found) for one in expected.keys() ^ found.keys()]
    for one in expected.keys() & found.keys():
        for column, value in expected[one].items():
            said, made = comparable(value), comparable(found[one][column])
            if said != made:
                wrong.append((one, column, said, made))
    return wrong


def comparable(value: Any) -> Any:
    """A value with times as text, tuples instead of lists and objects, and numbers rounded."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    if isinstance(value, dict):
        return tuple(map(comparable, value.values()))
    if isinstance(value, list | tuple):
        return tuple(map(comparable, value))
    return round(value, 6) if isinstance(value, float) else value

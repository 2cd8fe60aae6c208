"""Compare the event tables with the independent reading of the same lines, cell by cell."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from loader.clickhouse.connect import Warehouse
from tests.helpers.oracle import Reading, read_line, same_value

TABLES = {
    "video": "video_events",
    "activity_attempt": "activity_attempt_events",
    "page_attempt": "page_attempt_events",
    "part_attempt": "part_attempt_events",
    "page_viewed": "page_viewed_events",
}

# Where a line comes from: (source_path, source_line).
Place = tuple[str, int]


def readings(objects: dict[str, bytes]) -> dict[Place, Reading]:
    """Read the lines of objects, given as body by path."""
    return {
        (path, number): read_line(line)
        for path, body in objects.items()
        for number, line in enumerate(_lines(body), 1)
    }


def differences(warehouse: Warehouse, expected: dict[Place, Reading], family: str) -> list[str]:
    """Differences between a family's table and the lines: each event must be there once, from one
    of its lines, and each column must have the line's value."""
    events: dict[Any, list[Place]] = {}
    for place, reading in expected.items():
        if reading.family == family:
            events.setdefault(reading.identity, []).append(place)
    rows = warehouse.query(f"select * from {{database:Identifier}}.{TABLES[family]}")
    found: dict[Place, dict] = {(row["source_path"], row["source_line"]): row for row in rows}
    wrong = [f"{len(rows)} rows, {len(events)} events"] if len(rows) != len(events) else []
    for places in events.values():
        row = next((found[place] for place in places if place in found), None)
        if row is None:
            wrong.append(f"no event of {places}")
            continue
        reading = expected[(row["source_path"], row["source_line"])]
        wrong += [
            f"{places[0]} {column}: {row.get(column)!r}, expected {value!r}"
            for column, value in reading.columns.items()
            if not same_value(column, value, typed(value, row.get(column, "no such column")))
        ]
    return wrong


def _lines(body: bytes) -> Iterable[bytes]:
    lines = body.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def typed(expected: Any, value: Any) -> Any:
    """A value of a JSON answer as what is expected: times are text there, 7.0 is 7."""
    if isinstance(expected, datetime) and isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(expected, float) and isinstance(value, int):
        return float(value)
    return value

"""Compare the event tables with the independent reading of the same lines, cell by cell."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from loader.clickhouse.connect import Warehouse
from tests.helpers.oracle import Reading, read_line, same_value

# The event tables.
TABLES = {
    "video": "video_events",
    "activity_attempt": "activity_attempt_events",
    "page_attempt": "page_attempt_events",
    "part_attempt": "part_attempt_events",
    "page_viewed": "page_viewed_events",
}
# All tables with one row per statement of a family.
FAMILY_TABLES = {**TABLES, "voiding": "voided_statements"}

# Where a statement comes from: (source_path, source_line, source_item).
Place = tuple[str, int, int]

AnyPlace = TypeVar("AnyPlace")


def raw_lines(objects: dict[str, bytes]) -> Iterator[tuple[str, int, bytes]]:
    """The lines of objects, given as body by path: path, number from 1, bytes."""
    for path, body in objects.items():
        lines = body.split(b"\n")
        for number, line in enumerate(lines[:-1] if lines[-1] == b"" else lines, 1):
            yield path, number, line


def readings(objects: dict[str, bytes]) -> dict[Place, Reading]:
    """Read the statements of objects, given as body by path. A blank line has none."""
    return {
        (path, number, reading.item): reading
        for path, number, line in raw_lines(objects)
        for reading in read_line(line)
    }


def without_voided(expected: dict[AnyPlace, Reading]) -> dict[AnyPlace, Reading]:
    """The readings that tables show: those of voided statements are in no event table."""
    voided = {
        reading.columns["voided_statement_id"]
        for reading in expected.values()
        if reading.family == "voiding" and reading.columns["voided_statement_id"]
    }
    return {
        place: reading
        for place, reading in expected.items()
        if reading.family not in TABLES
        or (reading.columns["statement_id"] or "").lower() not in voided
    }


def differences(warehouse: Warehouse, expected: dict[Place, Reading], family: str) -> list[str]:
    """Differences between a family's table and the lines: each event must be there once, from one
    of its lines, and each column must have the line's value."""
    events: dict[Any, list[Place]] = {}
    for place, reading in without_voided(expected).items():
        if reading.family == family:
            events.setdefault(reading.identity, []).append(place)
    rows = warehouse.query(f"select * from {{database:Identifier}}.{FAMILY_TABLES[family]}")
    found = {place_of(row): row for row in rows}
    wrong = [f"{len(rows)} rows, {len(events)} events"] if len(rows) != len(events) else []
    for places in events.values():
        place = next((place for place in places if place in found), None)
        if place is None:
            wrong.append(f"no event of {places}")
            continue
        row, reading = found[place], expected[place]
        wrong += [
            f"{place} {column}: {row.get(column)!r}, expected {value!r}"
            for column, value in reading.columns.items()
            if not same_value(column, value, typed(value, row.get(column, "no such column")))
        ]
    if family in TABLES:
        wrong += _mixed_learners(found, expected)
    reported = {place for places in events.values() for place in places}
    wrong += [f"{place} is not an event" for place in found.keys() - reported]
    return wrong


def place_of(row: dict[str, Any]) -> Place:
    """Where a row's statement comes from."""
    return row["source_path"], row["source_line"], row["source_item"]


def _mixed_learners(found: dict[Place, dict], expected: dict[Place, Reading]) -> list[str]:
    """Learners with several `learner_id`, and the other way round."""
    pairs = {
        (row.get("learner_id"), expected[place].learner)
        for place, row in found.items()
        if place in expected
    }
    ids, learners = ({pair[side] for pair in pairs} for side in (0, 1))
    same = len(pairs) == len(ids) == len(learners) and None not in ids
    return [] if same else [f"{len(ids)} learner_id of {len(learners)} learners"]


def typed(expected: Any, value: Any) -> Any:
    """A value of a JSON answer as what is expected: times are text there, 7.0 is 7."""
    if isinstance(expected, datetime) and isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(expected, float) and isinstance(value, int):
        return float(value)
    return value

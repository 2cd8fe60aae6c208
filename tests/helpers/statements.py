"""Small statements for tests, and what the oracle reads in them."""

import json
from typing import Any

from tests.helpers.oracle import Reading, read_line
from tests.helpers.oracle_statement import ADL, TORUS, VIDEO

PLAYED: dict[str, Any] = {
    "timestamp": "2025-10-01T00:00:00Z",
    "verb": {"id": f"{VIDEO}verbs/played"},
    "actor": {"account": {"name": 7}},
}
COMPLETED_PART: dict[str, Any] = {
    **PLAYED,
    "verb": {"id": f"{ADL}verbs/completed"},
    "object": {"definition": {"type": f"{ADL}activities/question"}},
    "context": {"extensions": {f"{TORUS}part_attempt_guid": "part"}},
}


def as_line(statement: Any) -> bytes:
    """A statement as a line."""
    return json.dumps(statement).encode()


def reading(statement: dict[str, Any] = PLAYED, **changes: Any) -> Reading:
    """The reading of a statement with some of its members changed."""
    (read,) = read_line(as_line(statement | changes))
    return read


def columns(statement: dict[str, Any] = PLAYED, **changes: Any) -> dict[str, Any]:
    """What its row must show."""
    return reading(statement, **changes).columns


def extensions(**values: Any) -> dict[str, Any]:
    """An object with extensions of the video profile, `_` written for `-`."""
    return {
        "extensions": {
            f"{VIDEO}extensions/{name.replace('_', '-')}": value for name, value in values.items()
        }
    }

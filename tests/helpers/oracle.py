"""A second reading of xAPI lines, in plain Python, for tests to compare the tables with.

It is written from the rules and shares nothing with the SQL: where the two differ, one is wrong.
"""

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.helpers.oracle_columns import FAMILY_COLUMNS
from tests.helpers.oracle_json import room_to_recurse, same_json
from tests.helpers.oracle_lines import Item, items_of
from tests.helpers.oracle_statement import (
    Learner,
    family,
    is_anonymous_group,
    learner,
    learner_identity,
    verb_iri,
)
from tests.helpers.oracle_values import EPOCH, JsonText, at, id_text, millisecond

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MILLISECONDS_OF_AN_HOUR = 3_600_000
RANDOM_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)


@dataclass(frozen=True)
class Reading:
    """What one statement of a line means.

    Attributes:
        family: its family, or 'rejected'.
        reason: why it is rejected.
        columns: what its row must show.
        identity: what makes it the same event again.
        item: its number in the line; 0 where the line is the statement.
        learner: whom its `learner_id` must be the same for.
    """

    family: str
    reason: str | None
    columns: dict[str, Any]
    identity: Hashable
    item: int = 0
    learner: Learner | None = None


def read_lines(lines: Iterable[bytes], loaded_at: datetime | None = None) -> list[list[Reading]]:
    """Read each line; none may carry its line feed."""
    return [read_line(line, loaded_at) for line in lines]


def read_line(line: bytes, loaded_at: datetime | None = None) -> list[Reading]:
    """Read the statements of one line without its line feed.

    Args:
        line: the bytes.
        loaded_at: when the line was loaded (now): later statements than a day after are rejected.

    Returns:
        A reading of each statement; nothing if the line is blank.
    """
    with room_to_recurse():
        return [_read_item(item, loaded_at or datetime.now(UTC)) for item in items_of(line)]


def same_value(column: str, expected: Any, actual: Any) -> bool:
    """Whether the database's `actual` is the `expected` of a reading."""
    if expected is None or actual is None:
        return expected is actual
    if isinstance(expected, datetime):
        return isinstance(actual, datetime) and _utc(expected) == _utc(actual)
    if isinstance(expected, JsonText) and expected[:1] in ("[", "{"):
        return isinstance(actual, str) and same_json(expected, actual)
    return expected == actual


def _utc(moment: datetime) -> datetime:
    """Database clients return UTC without saying so."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read_item(item: Item, loaded_at: datetime) -> Reading:
    """Read one statement; the first reason to reject it wins."""
    statement = item.value
    if item.broken:
        return _rejected(item, "not JSON")
    if not isinstance(statement, dict):
        return _rejected(item, "not an object")
    moment = millisecond(_time_text(statement))
    if moment is None:
        return _rejected(item, "no usable timestamp")
    if not _since(EARLIEST) <= moment <= _since(loaded_at + timedelta(days=1)):
        return _rejected(item, "implausible timestamp")
    if not verb_iri(statement):
        return _rejected(item, "no verb")
    if not learner(statement) and not is_anonymous_group(statement):
        return _rejected(item, "no actor")
    name = family(statement)
    columns = {}
    if name in FAMILY_COLUMNS:
        timestamp = EPOCH + moment * MILLISECOND
        columns = {"timestamp": timestamp, **FAMILY_COLUMNS[name](statement)}
    identity = _identity(item, statement, moment)
    return Reading(name, None, columns, identity, item.number, learner_identity(statement))


def _rejected(item: Item, reason: str) -> Reading:
    return Reading("rejected", reason, {}, ("text", item.bytes), item.number)


def _time_text(statement: dict[str, Any]) -> Any:
    """The timestamp, or when it was stored where there is none."""
    timestamp = statement.get("timestamp")
    return statement.get("stored") if timestamp in (None, "") else timestamp


def _since(moment: datetime) -> int:
    """Whole milliseconds since 1970."""
    return (moment - EPOCH) // MILLISECOND


def _identity(item: Item, statement: dict[str, Any], moment: int) -> Hashable:
    """What a repeat of the same event has in common with it."""
    statement_id = id_text(statement.get("id"))
    if statement_id is None:
        return ("text", item.bytes)
    if RANDOM_ID.fullmatch(statement_id):
        return ("random id", statement_id.lower(), moment // MILLISECONDS_OF_AN_HOUR)
    object_id = id_text(at(statement, "object", "id"))
    return (
        *("derived id", statement_id.lower(), learner(statement)),
        *(verb_iri(statement), object_id, moment),
    )

"""What the loader needs of a ClickHouse, however it is connected."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from loader.settings import Settings


class Warehouse(Protocol):
    """What the loader needs of ClickHouse.

    Values travel as server-side parameters (`{name:Type}`), never in the SQL text.

    Attributes:
        version: year and month of the release; the oldest accepted one until `safety` has read it.
        deadline: when all statements must be done, on the connection's clock; None for no limit.
            An engine in this process has none.
    """

    version: tuple[int, ...]
    deadline: float | None

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Rows of a select: numbers, text, lists; times as text."""

    def command(self, sql: str, data: bytes | None = None, **values: Any) -> None:
        """Run a statement; `data` is what its `input()` or FORMAT reads."""

    def state(self, settings: Mapping[str, str]) -> None:
        """Send these engine settings with every statement from here on."""

    def close(self) -> None:
        """Let go of the connection (and of an embedded database)."""


def identifiers(settings: Settings) -> dict[str, str]:
    """The names that any statement may use as `{name:Identifier}`: databases and collection."""
    return {
        "raw": settings.raw_database,
        "database": settings.database,
        "collection": settings.s3_collection,
    }


def rows_in(answer: bytes) -> list[dict[str, Any]]:
    """The rows of an answer in the format JSONEachRow.

    A quoted line of a bad object may contain bytes that are not UTF-8, and Unicode line ends.
    """
    return [json.loads(row) for row in answer.decode("utf-8", "replace").split("\n") if row]

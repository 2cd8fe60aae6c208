"""The interface to ClickHouse that the loader uses, whichever way it is connected."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from loader.settings import Settings


class Warehouse(Protocol):
    """A connection to ClickHouse.

    Values are sent as server-side parameters (`{name:Type}`), never in the SQL text. Each method
    raises a LoaderError if ClickHouse refuses or does not respond.

    Attributes:
        version: year and month of the release; the oldest accepted one until `safety` has read it.
        deadline: time on the connection's clock by which all statements must be done; None for no
            limit. The embedded engine has none.
    """

    version: tuple[int, ...]
    deadline: float | None

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Run a select and return its rows, by column: numbers, text, lists; times as text.

        Args:
            sql: the select.
            values: its parameters, by name.
        """

    def command(self, sql: str, data: bytes | None = None, **values: Any) -> None:
        """Run a statement that returns no rows.

        Args:
            sql: the statement.
            data: the data that its `input()` or FORMAT reads.
            values: its parameters, by name.
        """

    def apply_settings(self, settings: Mapping[str, str]) -> None:
        """Send these engine settings with every later statement."""

    def close(self) -> None:
        """Close the connection, and with it an embedded database."""


def known_values(settings: Settings) -> dict[str, str]:
    """The values that every statement may use: databases, and how ClickHouse reads from S3 (the
    collection, or address and role)."""
    return {
        "raw": settings.raw_database,
        "database": settings.database,
        "collection": settings.s3_collection,
        "s3_url": settings.s3_url,
        "role_arn": settings.s3_role_arn,
        "external_id": settings.s3_external_id,
    }


def rows_in(answer: bytes) -> list[dict[str, Any]]:
    """Parse a response in the format JSONEachRow.

    It may quote lines of objects, with bytes that are not UTF-8 and with Unicode line separators,
    so it is split at line feeds only.
    """
    return [json.loads(row) for row in answer.decode("utf-8", "replace").split("\n") if row]


def without_secret(text: str, settings: Settings) -> str:
    """ClickHouse's text without the external id; it may quote the statement that failed."""
    secret = settings.s3_external_id
    return text.replace(secret, "***") if secret else text

"""A connection to ClickHouse whose process is killed after some statements."""

from typing import Any

from loader.clickhouse.warehouse import Warehouse


class Killed(BaseException):
    """The process ended here."""


class Dying:
    """Runs so many commands; the next one is not sent. Queries are not counted."""

    def __init__(self, warehouse: Warehouse, commands: int):
        self._warehouse = warehouse
        self._left = commands

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Like `Warehouse.query`."""
        return self._warehouse.query(sql, **values)

    def command(self, sql: str, data: bytes | None = None, **values: Any) -> None:
        """Like `Warehouse.command`, or the end."""
        if not self._left:
            raise Killed
        self._left -= 1
        self._warehouse.command(sql, data=data, **values)

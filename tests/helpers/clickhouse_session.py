"""Sessions of the stand-in for a ClickHouse server: what outlasts a request, and what must not."""

import json
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.helpers.clickhouse_collections import write_out
from tests.helpers.clickhouse_failure import Failure
from tests.helpers.clickhouse_statement import Statement, quote


@dataclass
class Session:
    """A chDB connection, and what a request of a session must find as it was before."""

    connection: Any
    lasts: bool = False  # False: for one request only, so nothing has to be restored
    database: str = "default"  # chosen by USE; a request's own database lasts for the request
    current: str = "default"
    known: dict[str, str] = field(default_factory=dict)
    ends: float = 0.0
    # Named collections that the engine does not know by itself.
    collections: dict[str, dict[str, str]] = field(default_factory=dict)
    busy: Any = field(default_factory=threading.Lock)

    def run(self, sql: str | bytes, output: str = "TSV", **parameters: str) -> Any:
        """Run one statement; after an error, remove what would disturb the next one."""
        try:
            return self.connection.query(sql, output, params=parameters)
        except Exception as error:
            with suppress(Exception):
                self.connection.query("SELECT 1 WHERE 0")
            raise Failure.of(error) from error

    def answer(
        self, statement: Statement, output: str, database: str, settings: dict, parameters: dict
    ) -> Any:
        """Run a request's statement; its database and settings end with it."""
        if (wanted := database or self.database) != self.current:
            self.run(f"USE {quote(wanted, '`')}")
            self.current = wanted
        if statement.verb in ("set", "use"):
            settings = {}
            self.known.clear()
        before = self._now(settings) if settings and self.lasts else {}
        try:
            if settings:
                self.run("SET " + ", ".join(f"{k} = {quote(v)}" for k, v in settings.items()))
            if not statement.data:
                text = write_out(statement.text, parameters, self.collections)
                result = self.run(text, output, **parameters)
            else:
                with tempfile.NamedTemporaryFile(suffix=".data") as file:
                    file.write(statement.text[statement.data.end() :])
                    file.flush()
                    result = self.run(statement.reading(file.name), output, **parameters)
        finally:
            if before:
                with suppress(Failure):
                    self.run("SET " + ", ".join(f"{k} = {v}" for k, v in before.items()))
        if statement.verb == "use":
            self.current = self.run("SELECT currentDatabase()", "TSVRaw").bytes().decode()[:-1]
            self.database = self.current
        return result

    def _now(self, settings: dict) -> dict[str, str]:
        """What these settings are now, as SET takes it."""
        if unknown := ", ".join(quote(name) for name in settings if name not in self.known):
            sql = "SELECT name, changed ? value : NULL FROM system.settings WHERE name IN "
            for row in self.run(f"{sql} ({unknown})", "JSONCompactEachRow").bytes().splitlines():
                name, value = json.loads(row)
                self.known[name] = "DEFAULT" if value is None else quote(value)
        return {name: self.known[name] for name in settings if name in self.known}

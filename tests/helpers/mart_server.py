"""A database whose events a test changes directly, and whose marts dbt then brings up to date."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.settings import Settings
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.small_database import SmallDatabase
from tests.helpers.video_oracle import Event

# As dbt records it when it has changed an event table.
RECORD = """
insert into xapi.elt_tables
select * replace (version + 1 as version, 'test' as run_id, now64(3, 'UTC') as recorded_at)
from xapi.elt_tables final
where model = {model:String}
"""

# Small slices, so that a few events make several; a lock that is taken over after a second.
VARS = "{mart_slice_events: 40, lock_expires_seconds: 1}"


class MartServer:
    """The database behind ClickHouse's HTTP protocol."""

    def __init__(self, http: ClickHouseHttp, folder: Path):
        self.http, self.folder = http, folder
        self._warehouse = open_warehouse(Settings.from_env())

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Rows of a query."""
        return self._warehouse.query(sql, **values)

    def change(self, statement: str, **values: Any) -> None:
        """Run a statement."""
        self._warehouse.command(statement, **values)

    def insert(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows into a table of the models; columns that they lack get their defaults."""
        data = "\n".join(json.dumps(row, default=str) for row in rows).encode()
        self._warehouse.command(f"insert into xapi.{table} format JSONEachRow", data=data)

    def record_change(self, *models: str) -> None:
        """Note that event tables were changed, as dbt does."""
        for model in models or ("video_events",):
            self.change(RECORD, model=model)

    def close(self) -> None:
        """Close the connection."""
        self._warehouse.close()

    def dbt(self, *arguments: str, fails: bool = False) -> str:
        """Run dbt on it and return what it printed."""
        return run_dbt(*arguments, "--vars", VARS, folder=self.folder, fails=fails)

    @contextmanager
    def broken(self, statement: str) -> Iterator[list[str]]:
        """Refuse what matches the pattern, and all that comes after it: its client is gone."""
        refused: list[str] = []

        def fault(sql: str) -> str | None:
            if refused or re.search(statement, sql, re.IGNORECASE):
                refused.append(sql)
                return "reset"
            return None

        self.http.fault = fault
        yield refused
        self.http.fault = None


@contextmanager
def serve_marts(database: SmallDatabase, folder: Path) -> Iterator[MartServer]:
    """Serve a database from this process; the environment names it meanwhile."""
    database.close()
    config = engine_config(Settings.from_env())
    path = str(database.folder / "clickhouse")
    with (
        ClickHouseHttp(path, config_file=config) as http,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XAPI_TARGET", "server")
        patch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        patch.setenv("CLICKHOUSE_PORT", str(http.port))
        with closing(MartServer(http, folder)) as server:
            yield server


def row_of(event: Event) -> dict[str, Any]:
    """An event as a row of `video_events`."""
    row = {column.name: getattr(event, column.name) for column in fields(event)}
    row["timestamp"] = f"{event.timestamp:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return row


def event_of(row: dict[str, Any]) -> Event:
    """A row of `video_events` as an event."""
    return Event.of_row(row)

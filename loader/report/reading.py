"""Run the queries of the pages, which are files beside the pages' templates."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from loader.aws.password import with_password
from loader.clickhouse import reader
from loader.clickhouse.errors import NOT_THERE, code_in
from loader.errors import LoaderError, SettingsError
from loader.settings import Settings

PAGES = Path(__file__).parent / "pages"

_NEEDED = ("fct_videos", "fct_questions", "fct_learner_activity", "ops_events")
_ONE = "select 1 from {table:Identifier} limit 0"


class Reader:
    """Reads the models of one database; changes nothing.

    Args:
        warehouse: an open connection, whose default database is that of the models.
    """

    def __init__(self, warehouse: Any):
        self._warehouse = warehouse

    def rows(self, page: str, name: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a query.

        Args:
            page: the folder of the page.
            name: the query's file, without its ending.
            values: its parameters, sent server-side.

        Raises:
            LoaderError: ClickHouse refuses; the message names page and query.
        """
        with _named(page, name):
            return self._warehouse.query(text(page, name), **values)

    def columns(self, page: str, name: str, **values: Any) -> list[str]:
        """The columns that a query returns, also if it returns no rows."""
        with _named(page, name):
            described = self._warehouse.query(f"describe ({text(page, name)})", **values)
        return [row["name"] for row in described]


@cache
def text(page: str, name: str) -> str:
    """The SQL of a query."""
    return (PAGES / page / f"{name}.sql").read_text()


@contextmanager
def open_reader(settings: Settings) -> Iterator[Reader]:
    """Open the database of the models for reading only.

    Raises:
        SettingsError: dbt has not built the tables.
        LoaderError: the user lacks the right to read them, and see `clickhouse.reader.open_reader`.
    """
    with closing(reader.open_reader(with_password(settings))) as warehouse:
        missing = [name for name in _NEEDED if not _is_there(warehouse, name)]
        if missing:
            raise SettingsError(
                f"no pages without {', '.join(missing)} in {settings.database}: run `dbt run`"
            )
        yield Reader(warehouse)


def _is_there(warehouse: Any, table: str) -> bool:
    try:
        warehouse.query(_ONE, table=table)
    except LoaderError as error:
        if code_in(str(error)) not in NOT_THERE:
            raise
        return False
    return True


@contextmanager
def _named(page: str, name: str) -> Iterator[None]:
    try:
        yield
    except LoaderError as error:
        # The same error, so that what else it says about its cause stays.
        error.args = (f"page {page}, query {name}: {error}",)
        raise

"""Run queries of people: read-only, with any output format, names resolved in the models'
database."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from loader.clickhouse import safety
from loader.clickhouse.connect import EMBEDDED_WAIT, ConnectedWarehouse, open_client
from loader.clickhouse.errors import NOT_THERE, READ_ONLY, UNKNOWN_IDENTIFIER, code_in, words
from loader.errors import LoaderError, PermanentError, SettingsError
from loader.settings import Settings

# In JSON: numbers as numbers, tuples with names as objects. In CSV NULL is empty, and '' is "".
_FORMATS = {
    "format_csv_null_representation": "",
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_named_tuples_as_objects": "1",
}

# Whether a statement writes its result into a file itself. A server refuses that over HTTP; the
# embedded engine would do it even if read-only. Only the engine's own parser knows where a text
# ends, so its canonical form is searched. It also refuses several statements at once.
_HAS_OUTFILE = """
select position(formatQuerySingleLine({statement:String}), ' INTO OUTFILE \\'') > 0 as has_outfile
"""

# Without it, names are resolved in the user's own default database.
_HAS_DATABASE = """
select count() as found from system.databases where name = {database:String}
"""

# In front of the statement that a message quotes, or behind it in older versions.
_HINT = re.compile(r"Maybe you meant: \[[^\]]*\]")


class Reader(ConnectedWarehouse):
    """A connection on which ClickHouse refuses every write (readonly = 1): INSERT, DDL, SET and
    table functions that read files or other servers."""

    def read(
        self, sql: str, fmt: str, values: Mapping[str, Any] | None = None, limit: int = 0
    ) -> bytes:
        """Run one statement and return its result in a format of ClickHouse.

        Args:
            sql: the statement, with parameters as {name:Type}.
            fmt: the format, e.g. CSVWithNames.
            values: the parameters.
            limit: rows to return at most; 0 for all.

        Raises:
            SettingsError: a parameter is missing, not used, or cannot be read as its type.
            LoaderError: ClickHouse refuses or does not respond.
        """
        values = values or {}
        unused = [name for name in values if not re.search(rf"{{\s*{re.escape(name)}\s*:", sql)]
        if unused:
            raise SettingsError(f"the SQL does not use {{{unused[0]}:Type}}; remove the parameter")
        self._refuse_outfile(sql)
        with _explained(), self._errors():
            return self._client.raw_query(
                sql,
                parameters=self._parameters(sql, values),
                settings={"limit": limit} if limit else None,
                fmt=fmt,
            )

    def count(self, sql: str, values: Mapping[str, Any] | None = None) -> int | None:
        """How many rows a statement returns; None if it is no select.

        Args:
            sql: the statement.
            values: its parameters.
        """
        try:
            rows = self.read(f"select count() from (\n{sql.rstrip().rstrip(';')}\n)", "CSV", values)
        except PermanentError:
            return None
        return int(rows)

    def query_df(self, sql: str, **values: Any) -> Any:
        """Run a select and return a pandas DataFrame; times are UTC.

        Args:
            sql: the select.
            values: its parameters.
        """
        self._refuse_outfile(sql)
        with _explained():
            frame = super().query_df(sql, **values)
            if frame.columns.empty:
                # A result without rows has no columns either.
                described = self.query(f"describe ({sql})", **values)
                frame = frame.reindex(columns=[row["name"] for row in described])
        return frame

    def _refuse_outfile(self, sql: str) -> None:
        if self._settings.target != "embedded":
            return
        with _explained():
            [found] = self.query(_HAS_OUTFILE, statement=sql)
        if found["has_outfile"]:
            raise PermanentError("INTO OUTFILE is not accepted; use --out FILE")


def open_reader(settings: Settings, wait: float = EMBEDDED_WAIT) -> Reader:
    """Connect for reading.

    Args:
        settings: which ClickHouse, and as which user.
        wait: seconds to wait while another process has the embedded database open.

    Raises:
        LoaderError: see `connect.open_warehouse`.
    """
    client = open_client(settings, wait)
    reader = Reader(client, settings)
    try:
        with _explained():
            if reader.query(_HAS_DATABASE)[0]["found"]:
                client.database = settings.database
            if reader.query("select toString(getSetting('readonly')) as mode")[0]["mode"] == "0":
                # Of the settings that the loader insists on, those that can be changed: they
                # would hide rows from a query as well.
                reader.apply_settings(safety.settings_to_send(safety.probe(reader)))
                reader.apply_settings(_FORMATS | {"readonly": "1"})
    except BaseException:
        reader.close()
        raise
    return reader


def without_statement(text: str) -> str:
    """A message of ClickHouse without the statement that it quotes, which hides the remedy.

    Args:
        text: the message.
    """
    own = words(text).rstrip(" .:")
    hints = [hint for hint in _HINT.findall(text)[-1:] if hint not in own]
    return ". ".join([own, *hints])


@contextmanager
def _explained() -> Iterator[None]:
    """Replace the remedy of some errors: that of the loader does not fit queries of people."""
    try:
        yield
    except LoaderError as error:
        code, text = code_in(str(error)), without_statement(str(error))
        if code == 62:
            # What could stand there instead is a long list.
            raise PermanentError(str(error).partition(". Expected one of")[0]) from None
        if code == UNKNOWN_IDENTIFIER:
            raise PermanentError(text) from None
        text = text.partition("; ")[0]
        if code == READ_ONLY:
            raise PermanentError(f"{text}; queries are read-only") from None
        if code in (456, 457):
            raise SettingsError(f"{text}; give parameters as --param name=value") from None
        if code in NOT_THERE:
            raise PermanentError(
                f"{text}; the tables are in docs/models.md, and dbt run builds them"
            ) from None
        raise

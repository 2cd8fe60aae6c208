"""Credentials, client, connections and adapter: what differs from dbt-clickhouse over HTTP."""

import os
from dataclasses import dataclass

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError
from dbt.adapters.clickhouse.connections import ClickHouseConnectionManager
from dbt.adapters.clickhouse.credentials import ClickHouseCredentials
from dbt.adapters.clickhouse.httpclient import ChHttpClient
from dbt.adapters.clickhouse.impl import ClickHouseAdapter
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.exceptions import FailedToConnectError
from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError

from loader.clickhouse.embedded import open_when_free
from loader.errors import LoaderError
from loader.settings import below, home_folder

_logger = AdapterLogger("chdb")


@dataclass
class ChdbCredentials(ClickHouseCredentials):
    """Where the embedded database is, and how long to wait for it: one process at a time owns it.

    Attributes:
        chdb_path: its folder; a relative one is below XAPI_HOME (the checkout if that is not set),
            wherever dbt runs.
        chdb_wait: seconds to wait while another process owns it.
    """

    driver: str = "chdb"
    chdb_path: str = ".data/clickhouse"
    chdb_wait: int = 60

    def __post_init__(self):
        """Check the fields, and find the folder."""
        super().__post_init__()
        try:
            self.chdb_path = below(home_folder(os.environ), self.chdb_path)
        except LoaderError as error:
            raise DbtRuntimeError(str(error)) from None

    @property
    def type(self):
        """The adapter's name in profiles.yml."""
        return "chdb"

    @property
    def unique_field(self):
        """What tells one database from another in dbt's anonymous statistics."""
        return self.chdb_path

    def _connection_keys(self):
        return ("driver", "chdb_path", "schema", "custom_settings")


class ChdbClient(ChHttpClient):
    """dbt-clickhouse's client over a chDB connection instead of HTTP."""

    def _create_client(self, credentials):
        self._conn_settings.pop("session_id", None)  # each chDB connection is a session
        path = credentials.chdb_path
        try:
            return open_when_free(
                path,
                credentials.chdb_wait,
                lambda: clickhouse_connect.get_client(
                    interface="chdb", path=path, query_limit=0, settings=self._conn_settings
                ),
                _logger.info,
            )
        except LoaderError as error:
            raise FailedToConnectError(str(error)) from None
        except ClickHouseError as error:
            raise FailedToConnectError(f"{path} cannot be opened: {error}") from error

    def query(self, sql, **kwargs):
        """Run a query and return its result (see `_clean` for what follows an error)."""
        return self._clean(super().query, sql, **kwargs)

    def command(self, sql, **kwargs):
        """Run a statement that returns no rows."""
        return self._clean(super().command, sql, **kwargs)

    def columns_in_query(self, sql, **kwargs):
        """Name and type of each column of a query."""
        return self._clean(super().columns_in_query, sql, **kwargs)

    def _clean(self, call, sql, **kwargs):
        """Call, and after an error take what the failed query left on the connection: chDB
        hands it to the next query otherwise."""
        try:
            return call(sql, **kwargs)
        except UnicodeDecodeError as error:  # an error text that holds bytes of a bad line
            self._discard()
            raise DbtDatabaseError(error.object.decode("utf-8", "replace")) from error
        except Exception:
            self._discard()
            raise

    def _discard(self):
        try:
            self._client.query("select 1 where 0")
        except Exception as error:
            # The leftovers themselves may surface as an error; they are gone either way.
            from dbt.adapters.clickhouse.logger import logger

            logger.debug(f"discarded after an error: {error}")


class ChdbConnectionManager(ClickHouseConnectionManager):
    """Opens chDB connections: any number in the one process that owns the database."""

    TYPE = "chdb"

    @classmethod
    def open(cls, connection):
        """Give the connection a chDB client."""
        if connection.state != "open":
            connection.handle = ChdbClient(connection.credentials)
            connection.state = "open"
        return connection


class ChdbAdapter(ClickHouseAdapter):
    """dbt-clickhouse's adapter over chDB."""

    ConnectionManager = ChdbConnectionManager

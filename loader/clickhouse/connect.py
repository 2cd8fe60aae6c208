"""Connect to ClickHouse with clickhouse-connect: embedded in this process (chDB), or a server."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from loader.clickhouse import errors as clickhouse_errors
from loader.clickhouse import safety
from loader.clickhouse.embedded import engine_config, open_when_free
from loader.clickhouse.warehouse import Warehouse, known_values, rows_in, without_secret
from loader.errors import LoaderError, PermanentError
from loader.log import escaped
from loader.settings import Settings

# Seconds to wait for an embedded database that another process has open.
EMBEDDED_WAIT = 60

# JSON responses contain 64-bit numbers as numbers, not as strings.
_SESSION = {"output_format_json_quote_64bit_integers": 0}


class ConnectedWarehouse:
    """ClickHouse through clickhouse-connect, over HTTP or in process (see `Warehouse`).

    Args:
        client: the client of clickhouse-connect.
        settings: the settings it was made with.
    """

    version = safety.OLDEST_ENGINE
    deadline: float | None = None  # ignored: statements have no time limit here

    def __init__(self, client: Any, settings: Settings):
        self._client = client
        self._settings = settings
        self._known = known_values(settings)

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """See `Warehouse.query`."""
        return rows_in(self._run(sql, values, fmt="JSONEachRow"))

    def command(self, sql: str, data: bytes | None = None, **values: Any) -> None:
        """See `Warehouse.command`."""
        if data is None:
            self._run(sql, values)
        else:
            with self._errors():
                self._client.command(sql, parameters=self._parameters(sql, values), data=data)

    def query_df(self, sql: str, **values: Any) -> Any:
        """Run a select and return a pandas DataFrame; each column has its own type."""
        with self._errors():
            return self._client.query_df(sql, parameters=self._parameters(sql, values))

    def apply_settings(self, settings: Mapping[str, str]) -> None:
        """See `Warehouse.apply_settings`."""
        with self._errors():
            for name, value in settings.items():
                self._client.set_client_setting(name, value)

    def close(self) -> None:
        """See `Warehouse.close`."""
        self._client.close()

    def _run(self, sql: str, values: Mapping[str, Any], fmt: str | None = None) -> bytes:
        with self._errors():
            return self._client.raw_query(sql, parameters=self._parameters(sql, values), fmt=fmt)

    def _parameters(self, sql: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The parameters that a statement uses, including those of `known_values`."""
        known = self._known | dict(values)
        return {name: value for name, value in known.items() if f"{{{name}:" in sql} or None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate the client's errors. After an error, also read the remaining result of the
        failed query: chDB would return it to the next query on the connection."""
        from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

        try:
            yield
        except UnicodeDecodeError as error:
            # chDB's error text may quote bytes of a line that are not UTF-8.
            self._discard_leftovers()
            raise clickhouse_errors.from_answer(error.object.decode("utf-8", "replace")) from None
        except OperationalError as error:
            raise _connection_error(self._settings, error) from None
        except ClickHouseError as error:
            self._discard_leftovers()
            text = without_secret(str(error), self._settings)
            raise clickhouse_errors.from_answer(text, getattr(error, "code", None)) from None

    def _discard_leftovers(self) -> None:
        if self._settings.target == "embedded":
            try:
                self._client.raw_query("select 1 where 0")
            except Exception as leftover:
                # The remaining result may itself be raised as an error; it is gone either way.
                del leftover


def open_warehouse(
    settings: Settings, wait: float = EMBEDDED_WAIT, guarded: bool = True
) -> Warehouse:
    """Connect to the target of the settings.

    Args:
        settings: which ClickHouse, and as which user.
        wait: seconds to wait while another process has the embedded database open.
        guarded: whether to refuse an engine that could lose or duplicate rows.

    Raises:
        RetryableError: no connection, or the embedded database is in use.
        SettingsError: the folder of the embedded database cannot be used.
        PermanentError: user or password is wrong.
        UnsafeEngineError: the engine is refused (see `safety`).
    """
    warehouse = ConnectedWarehouse(open_client(settings, wait), settings)
    if guarded:
        safety.require_or_close(warehouse, settings)
    return warehouse


def open_client(settings: Settings, wait: float = EMBEDDED_WAIT) -> Any:
    """Connect and return the client of clickhouse-connect (see `open_warehouse`)."""
    if settings.target == "embedded":
        return _open_embedded(settings, wait)
    return _open_server(settings)


def _open_server(settings: Settings) -> Any:
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

    # The errors raised below contain what it would log.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        return clickhouse_connect.get_client(
            host=settings.host,
            port=settings.port,
            username=settings.user,
            password=settings.password,
            secure=settings.secure,
            send_receive_timeout=3600,
            autogenerate_session_id=False,
            settings=_SESSION,
            # Proxies log URLs. An external id is a secret, and an erasure names a learner.
            form_encode_query_params=True,
        )
    except OperationalError as error:
        raise _connection_error(settings, error) from None
    except ClickHouseError as error:
        raise clickhouse_errors.from_answer(str(error), getattr(error, "code", None)) from None


def _open_embedded(settings: Settings, wait: float) -> Any:
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import ClickHouseError

    def connect() -> Any:
        return clickhouse_connect.get_client(
            interface="chdb",
            path=settings.chdb_path,
            chdb_options={"config-file": str(engine_config(settings))},
            query_limit=0,
            settings=_SESSION,
        )

    try:
        return open_when_free(settings.chdb_path, wait, connect, _report_wait)
    except ClickHouseError as error:
        text = clickhouse_errors.first_sentence(str(error))
        raise PermanentError(f"{settings.chdb_path} cannot be opened: {text}") from None


def _report_wait(text: str) -> None:
    print(escaped(text), file=sys.stderr, flush=True)


def _connection_error(settings: Settings, error: Exception) -> LoaderError:
    cause = error.__cause__ or error.__context__ or error
    text = str(getattr(cause, "reason", cause)).rpartition(": ")[2]
    return clickhouse_errors.from_connection(f"{settings.host}:{settings.port}", text)

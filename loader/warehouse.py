"""The one module that talks to ClickHouse: embedded in this process (chDB) or a server."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any, Protocol

from loader import clickhouse_errors, guard
from loader.embedded import wait_until_free
from loader.errors import LoaderError, PermanentError, UnavailableError
from loader.settings import Settings

SQL = Path(__file__).with_name("sql")

# Seconds to wait for an embedded database that another process owns.
EMBEDDED_WAIT = 60

# 64-bit numbers of JSON answers are numbers.
_SESSION = {"output_format_json_quote_64bit_integers": 0}


class Warehouse(Protocol):
    """What the loader needs of ClickHouse.

    Values travel as server-side parameters (`{name:Type}`), never in the SQL text.

    Attributes:
        version: year and month of the release; the oldest that is accepted until `guard` asked.
    """

    version: tuple[int, ...]

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Rows of a select: numbers, text, lists; times as text."""

    def command(self, sql: str, data: bytes | None = None, **values: Any) -> None:
        """Run a statement; `data` is what its `input()` or FORMAT reads."""

    def state(self, settings: Mapping[str, str]) -> None:
        """Send these engine settings with every statement from here on."""

    def close(self) -> None:
        """Let go of the connection (and of an embedded database)."""


class ConnectedWarehouse:
    """ClickHouse through clickhouse-connect: the same calls over HTTP and in process."""

    version = guard.OLDEST_ENGINE

    def __init__(self, client: Any, settings: Settings):
        self._client = client
        self._settings = settings
        self._names = {
            "raw": settings.raw_database,
            "database": settings.database,
            "collection": settings.s3_collection,
        }

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """See `Warehouse.query`."""
        answer = self._run(sql, values, fmt="JSONEachRow")
        # A line of a bad object may hold bytes that are not UTF-8, or line ends of Unicode.
        return [json.loads(row) for row in answer.decode("utf-8", "replace").split("\n") if row]

    def command(self, sql: str, data: bytes | None = None, **values: Any) -> None:
        """See `Warehouse.command`."""
        if data is None:
            self._run(sql, values)
        else:
            with self._errors():
                self._client.command(sql, parameters=self._parameters(sql, values), data=data)

    def query_df(self, sql: str, **values: Any) -> Any:
        """Rows of a select as a pandas frame, in the types of their columns."""
        with self._errors():
            return self._client.query_df(sql, parameters=self._parameters(sql, values))

    def state(self, settings: Mapping[str, str]) -> None:
        """See `Warehouse.state`."""
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
        """The values that a statement names, with the names that come from the settings."""
        known = self._names | dict(values)
        return {name: value for name, value in known.items() if f"{{{name}:" in sql} or None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the client's errors into ours, and take what a failed query left behind: chDB
        hands it to the next query on the connection otherwise."""
        from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

        try:
            yield
        except UnicodeDecodeError as error:
            # chDB's error text may quote bytes of a line that are no UTF-8.
            self._discard_leftovers()
            raise clickhouse_errors.from_answer(error.object.decode("utf-8", "replace")) from None
        except OperationalError as error:
            raise _connection_error(self._settings, error) from None
        except ClickHouseError as error:
            self._discard_leftovers()
            raise clickhouse_errors.from_answer(str(error), getattr(error, "code", None)) from None

    def _discard_leftovers(self) -> None:
        if self._settings.target == "embedded":
            try:
                self._client.raw_query("select 1 where 0")
            except Exception as leftover:
                # The leftovers may themselves surface as an error; they are gone either way.
                del leftover


def open_warehouse(
    settings: Settings, wait: float = EMBEDDED_WAIT, guarded: bool = True
) -> Warehouse:
    """Connect to the target of the settings.

    Args:
        settings: which ClickHouse, and as whom.
        wait: seconds to wait while another process owns an embedded database.
        guarded: whether to refuse an engine that could lose or double rows.

    Raises:
        RetryableError: no connection, or the embedded database is in use.
        PermanentError: user or password is wrong.
        UnsafeEngineError: the engine is refused (see `guard`).
    """
    if settings.target == "embedded":
        warehouse = ConnectedWarehouse(_open_embedded(settings, wait), settings)
    else:
        warehouse = ConnectedWarehouse(_open_server(settings), settings)
    if guarded:
        try:
            guard.require(warehouse)
        except BaseException:
            warehouse.close()
            raise
    return warehouse


def ddl(name: str, settings: Settings) -> str:
    """A DDL statement of loader/sql for the target: on a cluster, of its replicated kind."""
    on_cluster = settings.target == "cluster"
    return Template((SQL / f"{name}.sql").read_text()).substitute(
        on_cluster=f"on cluster `{settings.cluster}`" if on_cluster else "",
        replicated="Replicated" if on_cluster else "",
    )


def _open_server(settings: Settings) -> Any:
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

    # What it would log, our errors say.
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
        )
    except OperationalError as error:
        raise _connection_error(settings, error) from None
    except ClickHouseError as error:
        raise clickhouse_errors.from_answer(str(error), getattr(error, "code", None)) from None


def _open_embedded(settings: Settings, wait: float) -> Any:
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import ClickHouseError

    path = Path(settings.chdb_path)
    path.mkdir(parents=True, exist_ok=True)
    if in_use := wait_until_free(path, wait):
        raise UnavailableError(in_use)
    try:
        return clickhouse_connect.get_client(
            interface="chdb",
            path=settings.chdb_path,
            chdb_options={"config-file": str(embedded_config(settings))},
            query_limit=0,
            settings=_SESSION,
        )
    except ClickHouseError as error:
        text = clickhouse_errors.first_sentence(str(error))
        raise PermanentError(f"{path} cannot be opened: {text}") from None


def embedded_config(settings: Settings) -> Path:
    """Write the engine's configuration: the named collection, whose values it takes from the
    environment of this process. No secret is on disk or in SQL."""
    credentials = _s3_credentials()
    os.environ |= {"XAPI_EMBEDDED_S3_URL": settings.s3_url} | {
        f"XAPI_EMBEDDED_{name.upper()}": value for name, value in credentials.items()
    }
    members = [f'<{name} from_env="XAPI_EMBEDDED_{name.upper()}"/>' for name in credentials]
    text = Template((SQL / "embedded.xml").read_text()).substitute(
        collection=settings.s3_collection,
        credentials="".join(members) or "<no_sign_request>1</no_sign_request>",
    )
    folder = Path(tempfile.gettempdir()) / f"xapi-elt-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.xml"
    if not path.exists():
        # Whole or not at all: other processes read the same file.
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    return path


def _s3_credentials() -> dict[str, str]:
    """What boto3 finds (variables, profile, role), under the names of a named collection."""
    import boto3

    found = boto3.Session().get_credentials()
    if found is None:
        return {}
    frozen = found.get_frozen_credentials()
    values = {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "session_token": frozen.token,
    }
    return {name: value for name, value in values.items() if value}


def _connection_error(settings: Settings, error: Exception) -> LoaderError:
    cause = error.__cause__ or error.__context__ or error
    text = str(getattr(cause, "reason", cause)).rpartition(": ")[2]
    return clickhouse_errors.from_connection(f"{settings.host}:{settings.port}", text)

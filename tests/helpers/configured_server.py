"""ClickHouse over HTTP on a small database, with an addition to the engine's configuration."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loader.clickhouse.embedded import engine_config
from loader.settings import Settings
from tests.helpers.clickhouse_process import start_process
from tests.helpers.small_database import SmallDatabase


@contextmanager
def serve(database: SmallDatabase, addition: str) -> Iterator[Settings]:
    """Serve a database from another process; the environment names it meanwhile.

    Args:
        database: is closed for it.
        addition: XML elements to add to the configuration.
    """
    database.close()
    config = database.folder / "config.xml"
    text = engine_config(Settings.from_env()).read_text()
    config.write_text(text.replace("</clickhouse>", f"{addition}</clickhouse>"))
    path = str(database.folder / "clickhouse")
    server, port = start_process("--path", path, "--config-file", str(config))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XAPI_TARGET", "server")
            patch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
            patch.setenv("CLICKHOUSE_PORT", str(port))
            yield Settings.from_env()
    finally:
        server.kill()
        server.communicate()

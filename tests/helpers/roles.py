"""ClickHouse over HTTP for a user with the rights that `xapi-elt grants` prints, and no others.

The engine here has no users of its own: its user `default` gets the rights from the configuration.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from loader.clickhouse.embedded import engine_config
from loader.grants import statements
from loader.settings import Settings
from tests.helpers.clickhouse_process import start_process
from tests.helpers.paths import ROOT

USERS = """
<clickhouse>
    <profiles><default>{profile}</default></profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password/>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>{grants}</grants>
            <databases>{filters}</databases>
        </default>
    </users>
</clickhouse>
"""
DIRECTORY = (
    "<user_directories replace='1'><users_xml><path>{}</path></users_xml></user_directories>"
)


def written(role: str, **more) -> list[str]:
    """What `xapi-elt grants` prints for a role."""
    return statements(role, Settings(target="server", home=str(ROOT)), **more)


def users_file(printed: list[str]) -> str:
    """The same rights, settings and row policies, as a configuration of the user `default`."""
    text = "\n".join(printed)
    grants = re.findall(r"^(grant .+) to `\w+`$", text, re.M)
    # The stand-in writes the data of an insert to a file, because chDB has no `input()`.
    grants.append("grant read on FILE")
    [settings] = re.findall(r"^create settings profile .* settings (.+) to `\w+`$", text, re.M)
    filters = re.findall(r" on `(\w+)`\.`(\w+)` using (?!1 )(.+) to `", text)
    return USERS.format(
        grants="".join(f"<query>{escape(grant)}</query>" for grant in grants),
        profile="".join(
            f"<{name}>{escape(value)}</{name}>"
            for name, value in re.findall(r"(\w+) = '([^']*)'", settings)
        ),
        filters="".join(
            f"<{database}><{table}><filter>{escape(rows)}</filter></{table}></{database}>"
            for database, table, rows in filters
        ),
    )


@contextmanager
def serve(database: Path, folder: Path, printed: list[str]) -> Iterator[Settings]:
    """Serve a database from a process of its own; the environment names it meanwhile.

    Args:
        database: the folder of the database, which must not be open.
        folder: where the configuration goes.
        printed: the statements of the role.
    """
    users, config = folder.resolve() / "users.xml", folder / "config.xml"
    users.write_text(users_file(printed))
    text = engine_config(Settings.from_env()).read_text()
    config.write_text(text.replace("</clickhouse>", f"{DIRECTORY.format(users)}</clickhouse>"))
    server, port = start_process("--path", str(database), "--config-file", str(config))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XAPI_TARGET", "server")
            patch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
            patch.setenv("CLICKHOUSE_PORT", str(port))
            yield Settings.from_env()
    finally:
        server.kill()
        server.communicate()

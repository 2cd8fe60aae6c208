"""Fixtures: the demo's marts behind HTTP, and a Superset that has imported the bundle.

`make superset` installs Superset and runs these; `make test` does not.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.demo_database import build_demo
from tests.helpers.mart_server import MartServer, serve_marts
from tests.helpers.small_database import Attempt, SmallDatabase, statement
from tests.superset.stage import COMMAND, Superset, zip_bundle

if not COMMAND.exists():
    collect_ignore_glob = ["test_*.py"]

# The demo has no object that failed.
FAILED = Attempt(1, "section/2161/video/failed.jsonl", [statement()], outcome="failed")


@pytest.fixture(scope="session")
def marts(
    tmp_path_factory: pytest.TempPathFactory, _clean_environment: None
) -> Iterator[MartServer]:
    """The demo's statements in all models, those of operations included."""
    folder = tmp_path_factory.mktemp("demo")
    build_demo(folder)
    database = SmallDatabase(folder)
    database.load(FAILED)
    database.dbt("run", "--select", "operations")
    with serve_marts(database, folder) as server:
        yield server


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as a zip."""
    return zip_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def superset(
    marts: MartServer, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Superset]:
    """A Superset that imported the bundle, and in which the operator set the connection."""
    with Superset(tmp_path_factory.mktemp("superset")) as running:
        running.run("import-dashboards", "--path", str(bundle), "--username", "admin")
        (database,) = running.listed("database")
        address = f"clickhousedb://default@127.0.0.1:{marts.http.port}/xapi"
        running.call("PUT", f"database/{database['id']}", json={"sqlalchemy_uri": address})
        yield running

"""Fixtures of the models' tests: the small database and the demo's, each built once per run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.demo_database import build_demo
from tests.helpers.mart_server import MartServer, serve_marts
from tests.helpers.once import once_per_run
from tests.helpers.small_database import SmallDatabase, build, build_empty


@pytest.fixture(scope="session")
def _small_database(tmp_path_factory: pytest.TempPathFactory) -> SmallDatabase:
    """This process's copy of the small database, which one process of the run builds."""
    folder = once_per_run(tmp_path_factory, "small_database", build)
    return SmallDatabase(folder).copy(tmp_path_factory.getbasetemp() / "copy_of_small_database")


@pytest.fixture(scope="session")
def empty_models(
    tmp_path_factory: pytest.TempPathFactory, _clean_environment: None
) -> SmallDatabase:
    """All models, built once per run with nothing loaded; to be copied."""
    return SmallDatabase(once_per_run(tmp_path_factory, "empty_models", build_empty))


@pytest.fixture
def built_database(_small_database: SmallDatabase) -> Iterator[SmallDatabase]:
    """The database of all tests, its pipeline tests passed; for reading only."""
    yield _small_database
    _small_database.close()


@pytest.fixture(scope="session")
def _demo_database(
    tmp_path_factory: pytest.TempPathFactory, _clean_environment: None
) -> SmallDatabase:
    """This process's copy of the demo's database, which one process of the run builds."""
    folder = once_per_run(tmp_path_factory, "demo_database", build_demo)
    return SmallDatabase(folder).copy(tmp_path_factory.getbasetemp() / "copy_of_demo_database")


@pytest.fixture
def demo_database(_demo_database: SmallDatabase) -> Iterator[SmallDatabase]:
    """The demo's statements and the development data in all models; for reading only."""
    yield _demo_database
    _demo_database.close()


@pytest.fixture
def database(built_database: SmallDatabase, tmp_path: Path) -> Iterator[SmallDatabase]:
    """A copy of it, which the test may change."""
    copy = built_database.copy(tmp_path / "copy")
    yield copy
    copy.close()


@pytest.fixture
def mart_server(database: SmallDatabase, tmp_path: Path) -> Iterator[MartServer]:
    """A copy of it without events, behind HTTP; for tests of the marts."""
    with serve_marts(database, tmp_path / "dbt") as server:
        for family in ("video", "part_attempt", "page_attempt", "page_viewed"):
            server.change(f"truncate table xapi.{family}_events")
        yield server

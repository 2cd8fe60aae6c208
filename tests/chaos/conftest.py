"""Fixtures of the fault injection: where its worlds are made."""

from collections.abc import Iterator

import pytest

from tests.chaos.harness import Yard


@pytest.fixture(scope="session")
def yard(tmp_path_factory: pytest.TempPathFactory, _clean_environment: None) -> Iterator[Yard]:
    """One S3, one parent of the commands and the databases to copy, for all worlds of a process."""
    opened = Yard(tmp_path_factory.mktemp("worlds"))
    yield opened
    opened.close()

"""Makes what all processes of a test run share once, by the first process that needs it."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

# A folder with what an earlier run has made: the tests of a mutation use databases that the whole
# code has built.
MADE = os.environ.get("XAPI_TEST_MADE")


def once_per_run(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Return a folder that one process of the run has made; the others wait for it.

    Args:
        factory: where the run keeps its temporary files.
        name: the folder's name, one for each thing that is made.
        make: makes the folder; receives a path that does not exist yet.
    """
    if MADE and (Path(MADE) / name).exists():
        return Path(MADE) / name
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, making = shared / name, shared / f"{name}.making"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(making)
            making.rename(folder)
    return folder

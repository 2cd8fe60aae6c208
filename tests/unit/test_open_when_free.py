"""Opening an embedded database while another process has it open; its lock is held here."""

import fcntl
import threading
from pathlib import Path

import pytest

from loader.clickhouse.embedded import open_when_free
from loader.errors import UnavailableError

OTHER = 4242


@pytest.fixture
def held(tmp_path: Path):
    """The lock of a database that another process has open."""
    folder = tmp_path / "clickhouse"
    folder.mkdir(mode=0o700)
    (folder / "status").write_text(f"PID: {OTHER}\n")
    with (folder / "status").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def test_it_waits_until_the_other_has_closed_it(held):
    said: list[str] = []
    threading.Timer(1.5, fcntl.flock, (held, fcntl.LOCK_UN)).start()
    path = str(Path(held.name).parent)
    assert open_when_free(path, 30, lambda: "open", said.append) == "open"
    assert said == [f"waiting for {path}: process {OTHER} has it open"]


def test_after_the_longest_wait_the_other_is_named(held):
    with pytest.raises(UnavailableError, match=f"in use by another process .{OTHER}.*waited 0.3 s"):
        open_when_free(str(Path(held.name).parent), 0.3, lambda: "open")


def test_an_opening_that_lost_a_race_is_tried_again(tmp_path):
    """The engine's error has no text then, and the other may have closed the database again."""
    lost = [RuntimeError(), RuntimeError()]

    def connect() -> str:
        if lost:
            raise lost.pop()
        return "open"

    assert open_when_free(str(tmp_path), 5, connect) == "open"


def test_what_fails_without_another_process_is_raised(tmp_path):
    def connect() -> None:
        raise RuntimeError("no room on the disk")

    with pytest.raises(RuntimeError, match="no room"):
        open_when_free(str(tmp_path), 5, connect)

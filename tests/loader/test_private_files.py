"""Files of the embedded database: no other user can read them, or put his own in their way."""

import os
import stat
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from loader import checks
from loader.clickhouse import embedded
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config, open_when_free
from loader.errors import SettingsError
from loader.settings import Settings
from tests.loader.test_cli import run


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir(mode=0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def umask():
    """A umask that lets others read, for the time of the test."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """Who may do what with a path."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_configuration_is_only_ours(temporary, umask):
    path = engine_config(Settings())
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


def test_a_configuration_that_is_there_already_is_not_trusted(temporary):
    path = engine_config(Settings())
    right = path.read_text()
    path.write_text(right.replace("XAPI_EMBEDDED_S3_URL", "EVIL"))
    assert engine_config(Settings()).read_text() == right


def test_a_link_in_place_of_the_configuration_is_replaced_and_not_followed(temporary, tmp_path):
    path, elsewhere = engine_config(Settings()), tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    path.unlink()
    path.symlink_to(elsewhere)
    assert not engine_config(Settings()).is_symlink()
    assert elsewhere.read_text() == "untouched"


@pytest.mark.parametrize("kind", ["link", "file", "another user's"])
def test_a_folder_of_somebody_else_is_refused(temporary, tmp_path, monkeypatch, kind):
    folder = temporary / f"xapi-elt-{os.getuid()}"
    if kind == "link":
        (tmp_path / "theirs").mkdir()
        folder.symlink_to(tmp_path / "theirs")
    elif kind == "file":
        folder.touch()
    else:
        folder.mkdir()
        monkeypatch.setattr(embedded.os, "getuid", lambda: 12345)
        folder.rename(temporary / "xapi-elt-12345")
    with pytest.raises(SettingsError, match="set TMPDIR"):
        engine_config(Settings())
    assert not list((tmp_path / "theirs").glob("*"))


def test_a_folder_of_ours_that_was_open_is_closed(temporary):
    folder = temporary / f"xapi-elt-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    engine_config(Settings())
    assert mode(folder) == 0o700


def test_a_new_database_is_only_ours(tmp_path, umask):
    folder = tmp_path / "deep" / "clickhouse"
    open_when_free(str(folder), 1, lambda: None)
    assert mode(folder) == 0o700


def test_an_existing_database_that_was_open_is_closed(tmp_path):
    folder, link = tmp_path / "clickhouse", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    for path in (folder, link):
        folder.chmod(0o777)
        open_when_free(str(path), 1, lambda: None)
        assert mode(folder) == 0o700


@pytest.mark.parametrize("theirs", ["folder", "link"])
def test_a_database_of_another_user_is_refused_and_not_touched(tmp_path, monkeypatch, theirs):
    folder, link = tmp_path / "clickhouse", tmp_path / "link"
    folder.mkdir()
    folder.chmod(0o777)
    link.symlink_to(folder)
    owner = embedded._owners
    other = {"folder": {os.getuid() + 1}, "link": {os.getuid(), os.getuid() + 1}}[theirs]
    monkeypatch.setattr(embedded, "_owners", lambda path: owner(path) and other)
    with pytest.raises(SettingsError, match="belongs to another user"):
        open_when_free(str(link), 1, lambda: pytest.fail("opened"))
    assert (mode(folder), list(folder.iterdir())) == (0o777, [])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("theirs", ["folder", "link"])
def test_a_command_refuses_a_database_of_another_user(chdb_path, tmp_path, theirs):
    folder = tmp_path / "folder"
    folder.mkdir()
    chdb_path.symlink_to(folder)
    os.chown(folder if theirs == "folder" else chdb_path, 65534, 65534, follow_symlinks=False)
    folder.chmod(0o777)
    done = run("init", code=2)
    assert "belongs to another user" in done.stderr
    assert list(folder.iterdir()) == []
    found = {check.name: check.verdict for check in checks.run()}
    assert (found["files"], found["engine"]) == ("warn", "fail")


def test_doctor_warns_of_a_database_that_others_can_read(chdb_path, bucket):
    with closing(open_warehouse(Settings.from_env())):
        pass
    assert "files" not in {check.name for check in checks.run()}
    chdb_path.chmod(0o755)
    [found] = [check for check in checks.run() if check.name == "files"]
    assert found.verdict == "warn"
    assert f"read or change {chdb_path}" in found.finding
    # It opened the database, and so closed the folder.
    assert "files" not in {check.name for check in checks.run()}

"""The embedded database (chDB): which process has it open, and the engine's configuration."""

import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import TypeVar

from loader.clickhouse.schema import SQL
from loader.errors import SettingsError, UnavailableError
from loader.settings import Settings

Client = TypeVar("Client")

# How often opening may fail while no other process has the database open: one may have had it for a
# moment.
_LOST_RACES = 10


def owner(path: Path) -> int | None:
    """Find the other process that has an embedded database open.

    chDB locks the file `status` in its folder and writes its process id into it. If the lock is
    taken, chDB reports that on standard output and not in its error, so it is checked here.

    Args:
        path: the folder of the database.

    Returns:
        The process id; 0 if it cannot be read; None if no other process has the database open.
    """
    try:
        with (path / "status").open() as status:
            found = re.search(r"PID: (\d+)", status.read())
            pid = int(found[1]) if found else 0
            if pid == os.getpid():
                return None
            fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return pid
    return None


def open_when_free(
    path: str,
    seconds: float,
    connect: Callable[[], Client],
    on_wait: Callable[[str], None] = lambda _: None,
) -> Client:
    """Open an embedded database, waiting while another process has it open.

    Args:
        path: the folder of the database; created if it is missing.
        seconds: the longest wait.
        connect: opens the database.
        on_wait: called with a sentence that names the other process, after a second of waiting.

    Raises:
        SettingsError: the folder cannot be used, or belongs to another user.
        UnavailableError: another process still has the database open; the text names it.
        Exception: what `connect` raised, if no other process is the cause.
    """
    folder, started, reported, failures = Path(path), time.monotonic(), False, 0
    _make_usable(folder)
    while True:
        pid = _usable_owner(folder)
        if pid is None:
            try:
                return connect()
            except Exception:
                # Another process may have opened it in between; what the engine then raises has
                # no text.
                pid = _usable_owner(folder)
                failures += pid is None
                if failures == _LOST_RACES:
                    raise
        waited = time.monotonic() - started
        if pid is not None and waited >= seconds:
            raise UnavailableError(
                f"{path} is in use by another process ({pid or 'unknown'}); only one process "
                f"at a time can open an embedded database (waited {seconds:g} s). Let that "
                "process finish, or use XAPI_TARGET=server"
            )
        if pid is not None and waited >= 1 and not reported:
            on_wait(f"waiting for {path}: process {pid or 'unknown'} has it open")
            reported = True
        time.sleep(0.2)


def _make_usable(folder: Path) -> None:
    """Create the folder of a database, or close one that is there to other users: the statements in
    it are personal data."""
    with _folder_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _owners(folder) != {os.getuid()}:
            raise PermissionError("it belongs to another user, who could read and change it")
        folder.chmod(0o700)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError("no permission to write to it")


def _usable_owner(folder: Path) -> int | None:
    with _folder_errors(folder):
        return owner(folder)


@contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise SettingsError(
            f"XAPI_CHDB_PATH is {str(folder)!r}, which cannot be used: {reason}; "
            "accepted: a folder that belongs to this user, or that does not exist yet"
        ) from None


def engine_config(settings: Settings) -> Path:
    """Write the engine's configuration file and return its path.

    It defines the named collection, whose values the engine reads from the environment of this
    process. So no secret is written to disk or into SQL.
    """
    credentials = _s3_credentials()
    os.environ |= {"XAPI_EMBEDDED_S3_URL": settings.s3_url} | {
        f"XAPI_EMBEDDED_{name.upper()}": value for name, value in credentials.items()
    }
    members = [f'<{name} from_env="XAPI_EMBEDDED_{name.upper()}"/>' for name in credentials]
    text = Template((SQL / "embedded.xml").read_text()).substitute(
        collection=settings.s3_collection,
        credentials="".join(members) or "<no_sign_request>1</no_sign_request>",
    )
    folder = _private_folder(Path(tempfile.gettempdir()) / f"xapi-elt-{os.getuid()}")
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.xml"
    # Always written, so that its content is known, and in one step, because other processes read
    # the same file.
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
    return path


def open_to_others(path: Path) -> bool:
    """Whether other users may read or change a folder, or it belongs to one of them."""
    return _owners(path) != {os.getuid()} or bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _owners(path: Path) -> set[int]:
    """The owner of a folder; of a link to a folder, the owners of both."""
    return {path.stat().st_uid, path.lstat().st_uid}


def _private_folder(folder: Path) -> Path:
    """Create a folder that only this user can use; in the folder for temporary files, another user
    may have created one of that name, or a link.

    Raises:
        SettingsError: it belongs to another user, or is no folder.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            folder.chmod(0o700)
            return folder
        reason = "it is not a folder that belongs to this user"
    except OSError as error:
        reason = error.strerror or str(error)
    raise SettingsError(
        f"{folder}, for the engine's configuration, cannot be used: {reason}. Remove it, or set "
        "TMPDIR to a folder of this user"
    )


def _s3_credentials() -> dict[str, str]:
    """The credentials that boto3 finds, by their names in a named collection."""
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
    found = {name: value for name, value in values.items() if value}
    for name, value in found.items():
        if not value.isprintable():
            raise SettingsError(
                f"the AWS setting {name} has a line break or another character that cannot be "
                "sent; accepted: printable characters (its value is not shown)"
            )
    return found

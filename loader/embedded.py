"""Who owns an embedded database: one process at a time can."""

import fcntl
import os
import re
import time
from pathlib import Path


def owner(path: Path) -> int | None:
    """The process that has an embedded database open, other than this one.

    chDB locks the file `status` of its directory and writes its process id there; what it says
    when it finds the lock taken goes to standard output, not into its error.

    Returns:
        The process id; 0 if it cannot be told; None if nobody has it open.
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


def wait_until_free(path: Path, seconds: float) -> str:
    """Wait while another process has an embedded database open.

    Args:
        path: its directory.
        seconds: for how long at most.

    Returns:
        '' when it is free, else one line that says who has it and what to do.
    """
    give_up = time.monotonic() + seconds
    while (pid := owner(path)) is not None:
        if time.monotonic() >= give_up:
            return (
                f"{path} is in use by another process ({pid or 'unknown'}); one process owns an "
                f"embedded database at a time (waited {seconds:g} s). Let it finish, or use "
                "XAPI_TARGET=server"
            )
        time.sleep(0.2)
    return ""

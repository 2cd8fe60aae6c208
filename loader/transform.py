"""Run dbt after loads, as a process of its own."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from loader.errors import SettingsError
from loader.log import Log
from loader.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent

# Seconds after which dbt runs even though messages keep coming.
EVERY = 30

# Seconds that dbt gets to end when the worker is told to.
GRACE = 10


class Transform:
    """Decides when dbt runs, and runs it.

    Args:
        settings: where the embedded database is, for dbt runs from another folder.
        log: where its outcome goes.
        command: dbt, with what it is to do.
        every: seconds after which it runs even though messages keep coming.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        command: Sequence[str] = (),
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._path = str(Path(settings.chdb_path).resolve())
        self._log = log
        self._command = list(command) or default_command()
        self._every = every
        self._clock = clock
        self._seen = 0
        # At the start there may be loads that an earlier worker did not live to build.
        self._waiting_since: float | None = clock()
        self._not_before = clock()

    def note(self, committed: int) -> None:
        """Hear how many objects were committed in all."""
        if committed > self._seen and self._waiting_since is None:
            self._waiting_since = self._clock()
        self._seen = committed

    def is_due(self, idle: bool) -> bool:
        """Whether dbt should run now: nothing else is to be done, or loads waited long enough."""
        if self._waiting_since is None or self._clock() < self._not_before:
            return False
        return idle or self._clock() - self._waiting_since >= self._every

    def run(self, stop: threading.Event) -> bool:
        """Run dbt; a stop ends it, which its next run repairs.

        Returns:
            Whether it succeeded.
        """
        started = self._clock()
        # Each increment follows the loads committed before it began.
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                self._command,
                cwd=PROJECT,
                env=os.environ | {"XAPI_CHDB_PATH": self._path},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            while process.poll() is None:
                if stop.wait(0.1):
                    _end(process)
            output.seek(0)
            words = output.read()[-2000:]
        about = {"seconds": round(self._clock() - started, 1), "exit": process.returncode}
        if process.returncode == 0:
            self._waiting_since = None
            self._log("INFO", "transformed", **about)
            return True
        # It stays due, but leaves the loads time in between.
        self._not_before = self._clock() + self._every
        self._log("ERROR", "transform_failed", **about, output=words)
        return False


def default_command() -> list[str]:
    """`dbt run`, of the environment that this runs in.

    Raises:
        SettingsError: dbt is not installed there.
    """
    dbt = Path(sys.executable).with_name("dbt")
    if not dbt.exists():
        raise SettingsError(f"--transform needs dbt, and there is no {dbt}; run make install")
    return [str(dbt), "run", "--project-dir", "dbt_project", "--no-use-colors"]


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

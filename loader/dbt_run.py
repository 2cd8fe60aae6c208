"""Run dbt on the project, in a separate process."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loader.aws.password import dbt_password
from loader.errors import LoaderError, SettingsError
from loader.log import Log
from loader.settings import Settings

# Seconds after which dbt runs even if messages keep arriving.
EVERY = 30

# Seconds that a running dbt has to end when the worker stops.
GRACE = 10


def dbt_command(settings: Settings, *arguments: str) -> list[str]:
    """The command line that runs dbt of this Python environment on the project.

    Args:
        settings: where the project is.
        arguments: dbt's command and its options, e.g. 'run'.

    Raises:
        SettingsError: dbt is not installed, or there is no project.
    """
    dbt = Path(sys.executable).with_name("dbt")
    if not dbt.exists():
        raise SettingsError(f"there is no {dbt}; install dbt: make install")
    root = str(settings.project())
    return [str(dbt), *arguments, "--project-dir", root, "--profiles-dir", root, "--no-use-colors"]


def dbt_environment(settings: Settings) -> dict[str, str]:
    """The environment variables for dbt: those of this process, with the settings' database and
    dbt's own user.

    Args:
        settings: database, user and password; the password may be in a secret.

    Raises:
        LoaderError: the secret cannot be read.
    """
    return os.environ | {
        "XAPI_CHDB_PATH": settings.chdb_path,
        "CLICKHOUSE_DBT_USER": settings.dbt_user,
        "CLICKHOUSE_DBT_PASSWORD": dbt_password(settings),
    }


class Transform:
    """Decides when dbt runs, and runs it.

    Args:
        settings: where the project and the embedded database are.
        log: writes the log events.
        command: what to run; `dbt run` if left out.
        every: seconds after which it runs even if messages keep arriving.
        clock: seconds, monotonic.

    Raises:
        SettingsError: dbt is not installed, or there is no project.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        command: Sequence[str] = (),
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._settings = settings
        self._log = log
        self._command = list(command) or dbt_command(settings, "run")
        self._every = every
        self._clock = clock
        self._seen = 0
        # An earlier worker may have left loads that dbt has not applied.
        self._waiting_since: float | None = clock()
        self._not_before = clock()

    def note(self, committed: int) -> None:
        """Remember how many objects have been committed in total."""
        if committed > self._seen and self._waiting_since is None:
            self._waiting_since = self._clock()
        self._seen = committed

    def is_due(self, idle: bool) -> bool:
        """Whether dbt should run now: loads are waiting, and the worker is idle or they have waited
        long enough.

        Args:
            idle: whether the worker has nothing else to do.
        """
        if self._waiting_since is None or self._clock() < self._not_before:
            return False
        return idle or self._clock() - self._waiting_since >= self._every

    def run(self, stop: threading.Event) -> bool:
        """Run dbt and wait for it. A run that is ended early is completed by the next one.

        Args:
            stop: when set, dbt is terminated.

        Returns:
            Whether it succeeded.
        """
        started = self._clock()
        try:
            # Each time, because the password in the secret may have changed.
            environment = dbt_environment(self._settings)
        except LoaderError as error:
            return self._failed(seconds=0, error=str(error))
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                self._command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            while process.poll() is None:
                if stop.wait(0.1):
                    _end(process)
            output.seek(0)
            printed = output.read()[-2000:]
        about = {"seconds": round(self._clock() - started, 1), "exit": process.returncode}
        if process.returncode == 0:
            self._waiting_since = None
            self._log("INFO", "transformed", **about)
            return True
        return self._failed(**about, output=printed)

    def _failed(self, **about: Any) -> bool:
        """It remains due, but not before `every` seconds have passed."""
        self._not_before = self._clock() + self._every
        self._log("ERROR", "transform_failed", **about)
        return False


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""Run dbt on the project: as a command, or kept warm in this process."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from loader.aws.password import dbt_password
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.http import HttpWarehouse
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError, PermanentError, RetryableError, SettingsError, describe
from loader.lag import Numbers, numbers
from loader.log import Log, Metrics
from loader.settings import Settings
from loader.supervisor import Link, memory_mb

# Seconds after which dbt runs even if messages keep arriving, and before it is tried again after it
# failed; after each further failure twice as many, up to the second number.
EVERY = 30
LONGEST_WAIT = 600

WITHOUT_VIEWS = ("--exclude", "config.materialized:kept_view")


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
        # profiles.yml removes one line break at the end, which a file has; a password may end with
        # one as well.
        "CLICKHOUSE_DBT_PASSWORD": f"{dbt_password(settings)}\r\n",
    }


def dbt_settings(settings: Settings) -> Settings:
    """The settings with the user that dbt runs as, who may read both databases.

    Args:
        settings: user and password; the password may be in a secret.

    Raises:
        LoaderError: the secret cannot be read.
    """
    return replace(settings, user=settings.dbt_user, password=dbt_password(settings))


class WarmDbt:
    """dbt in this process. It keeps the parsed project, and parses again when a file changed.

    Args:
        settings: where the project and the database are.

    Raises:
        SettingsError: there is no project.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._root = settings.project()
        self._manifest: Any = None
        self._files: dict[str, tuple[int, int]] = {}
        self._has_views = False

    @property
    def is_outdated(self) -> bool:
        """Whether a file of the project changed since it was parsed."""
        return self._manifest is not None and project_files(self._root) != self._files

    def run(self, alive: Callable[[], None] = lambda: None) -> str:
        """Run `dbt run`. After a run of all models the next ones leave the views out, which are
        most of the models and stay as they are until a file changes.

        Args:
            alive: called at each event of dbt, as a sign of life.

        Returns:
            '' if it succeeded, else what it printed as errors.

        Raises:
            SettingsError: dbt is not installed.
            LoaderError: the password of dbt's user cannot be read.
        """
        # Each time, because the password in a secret may have changed.
        os.environ.update(dbt_environment(self._settings))
        try:
            from dbt.cli.main import dbtRunner
        except ImportError:
            raise SettingsError("dbt is not installed; install it: make install") from None
        said: list[str] = []

        def listen(event: Any) -> None:
            alive()
            if event.info.level == "error":
                said.append(event.info.msg)

        options = ["--project-dir", str(self._root), "--profiles-dir", str(self._root)]
        # Its log file has the rest.
        options = ["--log-level", "none", "--log-level-file", "debug", "--no-use-colors", *options]
        if self._manifest is None or self.is_outdated:
            self._files = project_files(self._root)
            parsed = dbtRunner(callbacks=[listen]).invoke(["parse", *options])
            self._manifest = parsed.result if parsed.success else None
            self._has_views = False
            if not parsed.success:
                return _failure(said, parsed.exception)
        # Writing target/manifest.json again takes two seconds.
        command = ["run", "--no-write-json", *options]
        command += WITHOUT_VIEWS if self._has_views else ()
        done = dbtRunner(manifest=self._manifest, callbacks=[listen]).invoke(command)
        if done.success:
            self._has_views = True
            return ""
        self._manifest = None  # the next run does not depend on what this one left in it
        return _failure(said, done.exception)


def _failure(said: list[str], error: BaseException | None) -> str:
    """The end of what dbt said about a failure; dbt's own errors have texts for users."""
    text = "\n".join(said) or (describe(error) if error else "dbt failed; see logs/dbt.log")
    return text[-2000:]


def project_files(root: Path) -> dict[str, tuple[int, int]]:
    """The files that dbt parses, each with its time and size.

    Args:
        root: the folder of the project.
    """
    import yaml

    found = {}
    folders = [root / "dbt_packages"]
    for name, value in yaml.safe_load((root / "dbt_project.yml").read_text()).items():
        if name.endswith("-paths"):
            folders += [root / folder for folder in value]
    for path in [*root.glob("*.yml"), *(file for folder in folders for file in folder.rglob("*"))]:
        with contextlib.suppress(FileNotFoundError):
            about = path.stat()
            found[str(path)] = (about.st_mtime_ns, about.st_size)
    return found


class Transform:
    """Decides when dbt runs, and runs it.

    Args:
        settings: where the project and the database are.
        log: writes the log events.
        link: where progress and numbers are reported.
        run: runs dbt and returns why it failed, '' if it did not; `WarmDbt.run` if left out.
        read: reads how far the tables are behind, and if requested what the last day's loads were.
        every: seconds after which it runs even if messages keep arriving.
        after: called after a run of dbt that succeeded.
        clock: seconds, monotonic.

    Raises:
        SettingsError: there is no project.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        link: Link,
        *,
        after: Callable[[], None] = lambda: None,
        run: Callable[[Callable[[], None]], str] | None = None,
        read: Callable[[Settings, bool], Numbers] | None = None,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._settings = settings
        self._log = log
        self._link = link
        self._dbt = WarmDbt(settings)
        self._run = run or self._dbt.run
        self._read = read or read_numbers
        self._after = after
        self._every = every
        self._clock = clock
        self._seen = 0
        self._runs, self._failures = 0, 0
        # An earlier worker may have left loads that dbt has not applied.
        self._waiting_since: float | None = clock()
        self._not_before = clock()

    def note(self, committed: int) -> None:
        """Remember how many objects have been committed in total."""
        if committed > self._seen and self._waiting_since is None:
            self._waiting_since = self._clock()
        self._seen = committed

    def is_due(self, idle: bool) -> bool:
        """Whether to look for something to do: loads are waiting, and the worker is idle or they
        have waited long enough.

        Args:
            idle: whether the worker has emptied the queue.
        """
        if self._waiting_since is None or not self.may_run:
            return False
        return idle or self._clock() - self._waiting_since >= self._every

    @property
    def may_run(self) -> bool:
        """Whether dbt did not fail just now."""
        return self._clock() >= self._not_before

    @property
    def is_worn(self) -> bool:
        """Whether a new process has to continue: dbt and the engine have taken too much memory."""
        limits = self._link.limits
        return self._runs >= limits.runs or memory_mb() > limits.memory_mb

    def update(self) -> str:
        """Run dbt if a table is behind the ledger, or a file of the project changed.

        Returns:
            `nothing` if there was nothing to do, `done`, or `failed`.
        """
        with self._kept_open():
            return self._update()

    @contextlib.contextmanager
    def _kept_open(self) -> Iterator[None]:
        """Keep an embedded database open meanwhile: opening it takes half a second, but next to
        nothing if this process has it open."""
        with contextlib.ExitStack() as stack:
            if self._settings.target == "embedded":
                # If it cannot be opened, what follows says so.
                with contextlib.suppress(LoaderError):
                    warehouse = open_warehouse(self._settings, wait=0, guarded=False)
                    stack.callback(warehouse.close)
            yield

    def _update(self) -> str:
        started, found = self._clock(), None
        try:
            found = self._numbers()
            if found and not found.is_behind and not self._dbt.is_outdated:
                self._waiting_since = None
                self._write(found)
                return "nothing"
            self._link.alive("transforming")
            behind = [row["name"] for row in found.tables if row["is_behind"]] if found else []
            self._log("INFO", "transforming", behind=len(behind))
            error = self._run(lambda: self._link.alive("transforming"))
        except LoaderError as failure:
            error = str(failure)
        finally:
            self._link.alive("idle")
        self._runs += 1
        seconds = round(self._clock() - started, 1)
        self._link.report("transform", is_done=not error, seconds=seconds)
        if error:
            # It remains due, but not at once.
            pause = min(self._every * 2**self._failures, LONGEST_WAIT)
            self._failures += 1
            self._not_before = self._clock() + pause
            self._log("ERROR", "transform_failed", seconds=seconds, output=error)
        else:
            self._waiting_since, self._failures = None, 0
            self._after()
            with contextlib.suppress(RetryableError):
                found = self._numbers(last_day=True) or found
            self._log("INFO", "transformed", seconds=seconds)
        self._write(found, TransformFailures=bool(error), TransformDuration=round(seconds * 1000))
        return "failed" if error else "done"

    def _write(self, found: Numbers | None, **more: float) -> None:
        """Write metrics for CloudWatch."""
        metrics = Metrics(self._settings.environment, self._settings.stack)
        if found:
            metrics.add("TableLag", max((row["lag_seconds"] for row in found.tables), default=0))
        if found and found.last_day:
            metrics.add("RejectedShare", 100 * found.last_day["rejected_share"])
        for name, value in more.items():
            metrics.add(name, int(value))
        self._log.metrics(metrics)

    def _numbers(self, last_day: bool = False) -> Numbers | None:
        """Read and report how far the tables are behind; None if dbt has to say what is wrong: it
        has built nothing yet, or a right is missing."""
        try:
            found = self._read(self._settings, last_day)
        except PermanentError as error:
            self._log("DEBUG", "no_numbers", error=str(error))
            return None
        self._link.report("numbers", **vars(found))
        return found


def read_numbers(settings: Settings, last_day: bool) -> Numbers:
    """Read how far the tables are behind the ledger, as dbt's user.

    Args:
        settings: which ClickHouse.
        last_day: see `numbers`.

    Raises:
        LoaderError: see `numbers`.
    """
    with contextlib.closing(_open(dbt_settings(settings))) as warehouse:
        return numbers(warehouse, settings, last_day)


def _open(settings: Settings) -> Warehouse:
    if settings.target == "embedded":
        return open_warehouse(settings, guarded=False)
    return HttpWarehouse(settings)

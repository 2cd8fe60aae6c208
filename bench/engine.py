"""The measured engine: its database, the loader and dbt on it, and timing."""

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bench.lake import Lake
from bench.sizes import Size
from loader.clickhouse import schema
from loader.clickhouse.connect import Warehouse, open_warehouse
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
Done = TypeVar("Done")


@dataclass(frozen=True)
class Site:
    """The inputs of a measurement.

    Attributes:
        size: the volumes.
        folder: for its files, which are kept between runs.
        lake: the public bucket.
        prices: for the calculation of the Lambda's cost.
    """

    size: Size
    folder: Path
    lake: Lake
    prices: dict[str, Any]

    def say(self, text: str) -> None:
        """Print progress."""
        print(f"    {text}", file=sys.stderr, flush=True)

    def step(self, text: str, work: Callable[[], Done]) -> Done:
        """Do a long piece of work, then print its name and its seconds; return its result."""
        started = time.perf_counter()
        result = work()
        self.say(f"{text}: {time.perf_counter() - started:.0f} s")
        return result


@dataclass(frozen=True)
class Time:
    """The time that a piece of work took.

    Attributes:
        wall: elapsed seconds.
        cpu: seconds of CPU time.
        peak: largest resident memory in bytes, if it was a process.
    """

    wall: float
    cpu: float
    peak: int = 0


def middle(times: list[Time]) -> Time:
    """The run with the median elapsed time."""
    return sorted(times, key=lambda one: one.wall)[len(times) // 2]


def timed(work: Callable[[], Any]) -> Time:
    """Time a call in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Time(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(times: int, *works: Callable[[], Time]) -> list[Time]:
    """Run several pieces of work in turn, each several times.

    Args:
        times: number of runs of each.
        works: the pieces of work; each returns its time.

    Returns:
        The median run of each.
    """
    runs = [[work() for work in works] for _ in range(times)]
    return [middle(list(column)) for column in zip(*runs, strict=True)]


def run_process(*command: str, **more: str) -> Time:
    """Run a command from the root of the project, and time it.

    Args:
        command: the command and its arguments.
        more: additional environment variables.

    Raises:
        RuntimeError: it failed; the text has its output.
    """
    started, peak, ended = time.perf_counter(), 0, 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | more, stdout=output, stderr=subprocess.STDOUT
        )
        while not ended:
            peak = max(peak, high_water(process.pid))
            time.sleep(0.05)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)}:\n{text[-3000:]}")
    return Time(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, peak)


def high_water(process: int) -> int:
    """The peak memory of a running process in bytes; 0 if it has ended. The kernel's figure for an
    ended child (ru_maxrss) includes the memory of its parent, so that is no use.

    Args:
        process: its id.
    """
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


class Database:
    """An embedded database in a folder; only one process at a time can open it.

    Args:
        folder: where the database and dbt's files go.
        process: runs dbt on it, as `run_process` does.
    """

    def __init__(self, folder: Path, process: Callable[..., Any] = run_process):
        self.folder = folder
        self.path = folder / "clickhouse"
        self.process = process

    @contextmanager
    def open(self) -> Iterator[tuple[Warehouse, Settings]]:
        """Open it in this process."""
        settings = replace(Settings.from_env(), chdb_path=str(self.path))
        with closing(open_warehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
            yield warehouse, settings

    def cli(self, *arguments: str, **more: str) -> Time:
        """Run xapi-elt on it, as a separate process.

        Args:
            arguments: the command and its arguments.
            more: additional environment variables.
        """
        program = str(Path(sys.executable).with_name("xapi-elt"))
        return self.process(program, *arguments, XAPI_CHDB_PATH=str(self.path), **more)

    def dbt(self, *arguments: str) -> Time:
        """Run dbt on it, as a separate process."""
        return self.process(
            str(Path(sys.executable).with_name("dbt")),
            *arguments,
            "--no-use-colors",
            *("--target-path", str(self.folder / "target")),
            *("--log-path", str(self.folder / "logs")),
            XAPI_CHDB_PATH=str(self.path),
        )

    def compiled(self, model: str) -> str:
        """The compiled SQL of a model."""
        return next((self.folder / "target" / "compiled").rglob(f"{model}.sql")).read_text()

    def remove(self) -> None:
        """Delete it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self) -> None:
        """Save a copy of its current state."""
        kept = self.folder.with_name(f"{self.folder.name}-kept")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.folder, kept, symlinks=True)

    def restore(self) -> None:
        """Restore the saved copy. It keeps its path, because dbt parses the project again if the
        profile has another path."""
        self.remove()
        shutil.copytree(
            self.folder.with_name(f"{self.folder.name}-kept"), self.folder, symlinks=True
        )


def empty_database(site: Site, name: str) -> Database:
    """Create a database with all tables, which are empty."""
    database = Database(site.folder / name)
    database.remove()
    with database.open():
        pass
    database.dbt("run")
    return database


def load_objects(warehouse: Warehouse, settings: Settings, objects: list[S3Object]) -> int:
    """Load objects as the Lambda does for a notification; return their number of lines.

    Raises:
        RuntimeError: an object was not committed.
    """
    outcomes = [outcome for batch in load(warehouse, settings, objects) for outcome in batch]
    failed = [outcome for outcome in outcomes if not outcome.is_committed]
    if failed or len(outcomes) != len(objects):
        raise RuntimeError(f"{len(failed)} of {len(objects)} objects failed: {failed[:1]}")
    return sum(outcome.rows for outcome in outcomes)


def load_apart(database: Database, objects: list[S3Object]) -> Time:
    """Load objects in a new process: the time of the load, and the peak memory of the process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(_load, database, objects).result()


def _load(database: Database, objects: list[S3Object]) -> Time:
    with database.open() as (warehouse, settings):
        load = timed(lambda: load_objects(warehouse, settings, objects))
    return replace(load, peak=high_water(os.getpid()))


def number(warehouse: Warehouse, sql: str) -> Any:
    """The single value that a select returns."""
    return next(iter(warehouse.query(sql)[0].values()))


def prepare_environment(lake: Lake, buckets: Iterable[str]) -> None:
    """Remove the user's settings from the environment, which must not affect the results."""
    for name in list(os.environ):
        if name.startswith(("XAPI_", "CLICKHOUSE_", "AWS_", "S3_XAPI_")):
            del os.environ[name]
    os.environ |= {
        "AWS_ENDPOINT_URL_S3": lake.endpoint,
        "XAPI_ALLOWED_BUCKETS": ",".join(buckets),
        # The bucket is public, so boto3 must not search for credentials.
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_DEFAULT_REGION": "us-east-1",
    }

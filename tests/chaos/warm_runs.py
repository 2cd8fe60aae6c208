"""Many runs of dbt in one process, as the supervised child makes them: does its memory stay flat?

    python -m tests.chaos.warm_runs --runs 500 --server

Each run has a new load to apply. The supervisor would replace the child after 200 runs. Without
--server the engine is in the process: it keeps about 3.5 MiB each time that a database is opened
and closed.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.dbt_run import WarmDbt
from loader.files import local_objects
from loader.load import load
from loader.settings import Settings
from loader.supervisor import memory_mb
from tests.helpers.clickhouse_process import start_process
from tests.helpers.small_database import statement


@contextmanager
def server(folder: Path) -> Iterator[None]:
    """A server in a process of its own; the environment names it."""
    config = engine_config(Settings.from_env())
    process, port = start_process("--path", str(folder / "server"), "--config-file", str(config))
    os.environ |= {"XAPI_TARGET": "server", "CLICKHOUSE_HOST": "127.0.0.1"}
    os.environ["CLICKHOUSE_PORT"] = str(port)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(folder: Path, runs: int, seconds: float = float("inf")) -> list[float]:
    """Load and run dbt, again and again; the memory in MiB after each run.

    Args:
        folder: where an embedded database and dbt's files go.
        runs: how often.
        seconds: when to stop early.
    """
    folders = {"XAPI_CHDB_PATH": "clickhouse", "DBT_TARGET_PATH": "target", "DBT_LOG_PATH": "logs"}
    os.environ.update({name: str(folder / place) for name, place in folders.items()})
    settings = Settings.from_env()
    dbt, memory, until = WarmDbt(settings), [], time.monotonic() + seconds
    while len(memory) < runs and time.monotonic() < until:
        file = folder / f"{len(memory)}.jsonl"
        file.write_text(statement(minute=len(memory)))
        with closing(open_warehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
            list(load(warehouse, settings, local_objects(file)))
        if failure := dbt.run():
            raise RuntimeError(failure)
        memory.append(memory_mb())
    return memory


def growth(memory: list[float]) -> float:
    """By how many MiB the memory grew from the second quarter of the runs to the last one."""
    quarter = max(len(memory) // 4, 1)
    before, after = memory[quarter : 2 * quarter], memory[-quarter:]
    return statistics.median(after) - statistics.median(before or memory)


def main() -> None:
    """Run, and print the memory now and then."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--server", action="store_true", help="the engine in another process")
    options = parser.parse_args()
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.server:
            stack.enter_context(server(folder))
        memory = run(folder, options.runs, options.seconds)
    for number in sorted({*range(0, len(memory), max(len(memory) // 20, 1)), len(memory) - 1}):
        print(f"run {number + 1:4}: {memory[number]:6.0f} MiB")
    minutes = (time.monotonic() - started) / 60
    print(f"{len(memory)} runs in {minutes:.0f} min; growth {growth(memory):.0f} MiB")


if __name__ == "__main__":
    main()

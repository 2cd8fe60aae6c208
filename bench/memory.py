"""Memory: the most that a load and a transform keep resident, for few and for many statements."""

import multiprocessing
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

from bench import data, lake
from bench.engine import ROOT, Database, Site, empty_database, load_objects
from bench.rows import Row
from bench.statements import Lines

LIMIT = 2 * 1024**3


def measure(site: Site) -> list[Row]:
    """Measure both volumes several times in turn, because memory for merges varies."""
    runs = [[_peaks(site, place) for place in range(2)] for _ in range(site.size.memory_runs)]
    found = []
    for what in ("load", "transform"):
        few, many = (sorted(run[place][what] for run in runs) for place in range(2))
        middle = len(runs) // 2
        found.append(
            Row(
                f"{what} of {site.size.memory[1]:,} statements: peak resident memory",
                many[-1] / 1024**2,
                "MiB",
                at_most=LIMIT / 1024**2,
                note=f"the largest of {len(runs)}",
            )
        )
        found.append(
            Row(
                f"{what}: peak of {site.size.memory[1]:,} statements, of {site.size.memory[0]:,}",
                many[middle] / 1024**2,
                "MiB",
                reference=few[middle] / 1024**2,
                ratio=many[middle] / few[middle],
                at_most=1.25,
                note=f"flat; the middle of {len(runs)} each",
            )
        )
    return found


def _peaks(site: Site, place: int) -> dict[str, int]:
    count = site.size.memory[place]
    objects = count // 25_000
    bucket = data.buckets(site.size)[2 + place]
    written = lake.write_large(site.lake.root, bucket, Lines(0, count), objects)
    database = empty_database(site, f"memory-{count}")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        load = pool.submit(_load, database, written).result()
    transform = _dbt(database)
    database.remove()
    site.say(f"{count:,}: load {load / 1024**2:.0f} MiB, transform {transform / 1024**2:.0f} MiB")
    return {"load": load, "transform": transform}


def _load(database: Database, objects: list) -> int:
    """Load in this new process; return its peak memory in bytes."""
    with database.open() as (warehouse, settings):
        load_objects(warehouse, settings, objects)
    return _high_water("self")


def _dbt(database: Database) -> int:
    """Run `dbt run` of all families; return its peak memory in bytes. It is read while dbt runs,
    because the kernel's figure for an ended child includes the memory of its parent."""
    command = [
        str(Path(sys.executable).with_name("dbt")),
        *("run", "--select", "marts.events", "--no-use-colors"),
        *("--target-path", str(database.folder / "target")),
        *("--log-path", str(database.folder / "logs")),
    ]
    environment = os.environ | {"XAPI_CHDB_PATH": str(database.path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        # TypeError: the process has ended, so its memory is not listed any more.
        with suppress(OSError, TypeError):
            peak = max(peak, _high_water(str(process.pid)))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"dbt run failed; see {database.folder.name}/logs")
    return peak


def _high_water(process: str) -> int:
    """The peak memory (VmHWM) of a process in bytes."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024

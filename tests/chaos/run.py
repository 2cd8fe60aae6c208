"""The long run: `python -m tests.chaos.run --seed 1 --runs 500 --workers 2`.

Cycles through all scenarios with seeds derived from one, and writes what became of each as JSON
and as a table. Ends with 1 if anything was lost, doubled or wrong; the folder of such a world
stays, and the report has the command that repeats its run.
"""

import argparse
import importlib
import json
import logging
import multiprocessing
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.harness import SCENARIOS, Record, Scenario, Yard, run_scenario
from tests.chaos.report import matrix
from tests.helpers.paths import ROOT

HERE = Path(__file__).resolve().parent


def scenarios(only: str = "") -> list[Scenario]:
    """The scenarios whose name (place/fault) begins as a regular expression says; all without."""
    for path in sorted(HERE.glob("*.py")):
        if path.stem.partition("_")[0] in ("bombs", "disks", "kills", "races", "network"):
            importlib.import_module(f"tests.chaos.{path.stem}")
    return [one for one in SCENARIOS if re.match(only, one.name)]


def end_orderly() -> None:
    """Let SIGTERM unwind, so that servers are stopped and disks given back."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def work(folder: Path, root: Path, jobs, records, rounds: int, until: float) -> None:
    """Play the runs that a queue hands out, until it hands out none or the time is up."""
    end_orderly()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    known = {one.name: one for one in scenarios()}
    yard = Yard(folder, root)
    try:
        while (job := jobs.get()) and time.time() < until:
            name, seed = job
            records.put(run_scenario(yard, known[name], seed, rounds))
    finally:
        records.put(None)
        yard.close()


def tell(record: Record, where: str) -> None:
    """Print what became of a run."""
    state = f"skipped: {record.skipped}" if record.skipped else "ok" if record.ok else "FAILED"
    print(f"{where} {record.place}/{record.fault} seed {record.seed}: {state}", end="; ")
    print(f"{record.statements} statements, {record.seconds} s; {'; '.join(record.happened)}")
    if not record.ok:
        print("     " + "\n     ".join([record.error, *record.notes]))
    sys.stdout.flush()


def play(
    jobs: list[tuple[str, str]],
    folder: Path,
    workers: int,
    root: Path = ROOT,
    rounds: int = 1,
    minutes: float = 24 * 60,
) -> Iterator[Record]:
    """Play runs in several processes; yields what becomes of each.

    Args:
        jobs: scenario and seed of each run.
        folder: where the worlds are made.
        workers: how many at a time, each its own process with its own S3.
        rounds: how often a scenario is played in its world.
        minutes: after which no run begins any more.
    """
    until = time.time() + 60 * minutes
    spawn = multiprocessing.get_context("spawn")
    waiting, records = spawn.Queue(), spawn.Queue()
    for job in [*jobs, *[None] * workers]:
        waiting.put(job)
    started = [
        # Daemons: they end when this process does.
        spawn.Process(
            target=work,
            args=(folder / f"{at}", root, waiting, records, rounds, until),
            daemon=True,
        )
        for at in range(workers)
    ]
    for process in started:
        process.start()
    found = ended = 0
    while ended < workers:
        try:
            record = records.get(timeout=5)
        except Exception:
            if not any(process.is_alive() for process in started):
                raise RuntimeError("the workers have ended before the runs were done") from None
            continue
        if record is None:
            ended += 1
            continue
        found += 1
        tell(record, f"{found:4}/{len(jobs)}")
        yield record
    for process in started:
        process.join(30)


def main() -> int:
    """Read the options, play, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", default="1", help="decides everything; of a single run its own")
    parser.add_argument("--runs", type=int, default=500, help="worlds to play")
    parser.add_argument("--only", default="", help="scenarios (a regular expression), e.g. load|gc")
    parser.add_argument("--rounds", type=int, default=3, help="of faults in each world")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="begin no run after these")
    parser.add_argument("--workers", type=int, default=2, help="worlds at a time")
    report, folder = Path("build/chaos.json"), Path("build/chaos")
    parser.add_argument("--report", type=Path, default=report, help="JSON; a table beside it")
    parser.add_argument("--folder", type=Path, default=folder, help="where worlds are made")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    options = parser.parse_args()
    end_orderly()
    chosen = scenarios(options.only)
    if options.list or not chosen:
        print("\n".join(one.name for one in scenarios()))
        return 0 if options.list else 2
    if options.runs == 1:
        jobs = [(chosen[0].name, options.seed)]
    else:
        jobs = [
            (chosen[n % len(chosen)].name, f"{options.seed}.{n // len(chosen)}")
            for n in range(options.runs)
        ]
    started = time.monotonic()
    workers = min(options.workers, len(jobs))
    options.report.parent.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    folder = options.folder.resolve()
    for record in play(jobs, folder, workers, rounds=options.rounds, minutes=options.minutes):
        records.append(record)
        # After each: what was played is known, whatever ends the run.
        table = write(options.report, options.seed, time.monotonic() - started, records)
    print(table)
    return 0 if all(record.ok for record in records) else 1


def write(path: Path, seed: str, seconds: float, records: list[Record]) -> str:
    """Write the report as JSON and as a table; returns the table."""
    report = {
        "command": " ".join(["run.py", *sys.argv[1:]]),
        "seed": seed,
        "seconds": round(seconds),
        "runs": [record.as_dict() for record in records],
    }
    path.write_text(json.dumps(report, indent=1))
    table = matrix(records, seed, seconds)
    path.with_suffix(".md").write_text(table)
    return table


if __name__ == "__main__":
    sys.exit(main())

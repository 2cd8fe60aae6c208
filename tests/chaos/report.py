"""The matrix of a long run, for people: place x fault, what was played and what was lost.

`python -m tests.chaos.report FILE…` adds up the JSON reports of several runs.
"""

import json
import re
import shlex
import sys
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

from tests.chaos.harness import Record

COMMAND = ".venv/bin/python tests/chaos/run.py"


def exactly(record: Record) -> str:
    """The scenario of a record as option --only takes it, quoted for a shell."""
    return shlex.quote(re.escape(f"{record.place}/{record.fault}").replace("\\ ", " ") + "$")


def matrix(records: list[Record], seed: str, seconds: float) -> str:
    """A Markdown table of runs, and the command that repeats each failed one."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.place, record.fault].append(record)
    heads = ("place", "fault", "worlds", "rounds", "faults that hit", "statements")
    heads += ("lost", "doubled", "wrong", "repairs")
    rows = [heads, ("---",) * 2 + ("---:",) * 8]
    for (place, fault), runs in [*sorted(groups.items()), (("all", ""), records)]:
        played = [run for run in runs if not run.skipped]
        sums = [
            sum(getattr(run, name) for run in played)
            for name in ("rounds", "faults", "statements", "lost", "doubled", "wrong", "repairs")
        ]
        rows.append((place, fault, str(len(played)), *[f"{number:,}" for number in sums]))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    failed = [record for record in records if not record.ok]
    skipped = {(record.place, record.fault, record.skipped) for record in records if record.skipped}
    lines += ["", f"Seed {seed}, {round(seconds)} s, {len(failed)} failed."]
    lines += [f"Not played: {place}/{fault}: {why}" for place, fault, why in sorted(skipped)]
    lines += [
        f"Failed: `{COMMAND} --only {exactly(one)} --seed {one.seed} --runs 1 "
        f"--rounds {one.rounds}`"
        for one in failed
    ]
    return "\n".join(lines) + "\n"


def added_up(paths: list[Path]) -> str:
    """The matrix of all runs in JSON reports of `tests.chaos.run`.

    Args:
        paths: the reports.
    """
    reports = [json.loads(path.read_text()) for path in paths]
    known = {field.name for field in fields(Record)}
    records = [
        Record(**{name: value for name, value in run.items() if name in known})
        for report in reports
        for run in report["runs"]
    ]
    seeds = ", ".join(report["seed"] for report in reports)
    return matrix(records, seeds, sum(report["seconds"] for report in reports))


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("name the JSON reports")
    print(added_up([Path(name) for name in sys.argv[1:]]))

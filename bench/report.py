"""The report: bench/results.json for programs, bench/README.md for people."""

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.rows import Row
from bench.sizes import Size

FOLDER = Path(__file__).resolve().parent

_TITLES = {
    "load": "1, 2. Loading",
    "transform": "3. Transforming",
    "end_to_end": "4. End to end, against a Lambda that transforms in Python",
    "increments": "5. Increments",
    "section_queries": "6. Queries for a section",
    "memory": "7. Memory",
    "storage": "8. Storage",
    "lambda_cost": "9. The Lambda",
}
_HEAD = (
    "| what | ours | reference | ratio | target | met | ceiling |\n|---|--:|--:|--:|--:|---|--:|\n"
)
_INTRODUCTION = """# Benchmarks

`make bench` measures the pipeline beside what people use instead and writes this page and
`results.json`. Each figure stands beside its reference from the same run; where a piece was timed
several times, the runs of both took turns and the middle one counts. Times depend on the machine;
ratios less so; rows, requests, parts and bytes are exact.

- `python -m bench.run --size small|default|large`; `--only NAME` for one measurement, `--set
  NAME=NUMBER` for another volume (`bench/sizes.py`), `--json` for programs.
- The bucket is a folder served by nginx on 127.0.0.1: no latency, so the engine is what is timed.
- Statements are made by SQL in the shapes Torus writes, 1.2 KB each: video 58 %, part attempts
  20 %, activity attempts 10 %, page views 8 %, page attempts 4 %.
- The load of large and tiny objects goes through the loader as when the Lambda is told of them;
  the transform is `dbt run` as a process. Its start-up is a run with nothing to do, subtracted
  where a row says so.
- A ceiling is the ratio that would remain if all but the engine's bare work took no time: the same
  lines read, parsed or inserted by one plain statement each, one after the other, without ledger,
  ids, types, exactly-once or other families (`bench/bare.py`), in the same run. It varies from run
  to run as times do. A target above it is out of reach unless reading and writing overlap.
"""

# What is known of a missed target, shown where one is missed; more in docs/decisions.md.
_MISSED = {
    "load": "Beside the bare INSERT there are four statements that ask for versions, check the "
    "lines and commit. Other codecs, block sizes and thread counts were tried and gain nothing "
    "more.",
    "transform": "Beside the bare work, each line gets its event id (a 128-bit hash of 45 "
    "members), its family, its reason if it is rejected, and types in 40 columns that arrive as "
    "text: that is what the staging view takes longer than the one JSONExtract. The statement "
    "store, which makes the other families, rejects and rebuilds cheap, is written on the way.",
    "end_to_end": "The Python function here is lighter than ours: it keeps video statements only, "
    "checks nothing, and has neither ledger nor raw lines nor the other families. It is one "
    "thread with no latency to S3; with 20 ms to S3 a function that asks for one object after the "
    "other reads at most 50 a second, the pipeline 560 (docs/decisions.md).",
    "section_queries": "The layout ordered by hash reads the whole month or table, ours one or two "
    "granules of 8,192 rows a month: the ratio grows with the rows: about 20 at two million, "
    "69 to 102 at ten.",
    "increments": "Both histories are at rest, their parts merged. What grows with the history is "
    "the ledger, 500,000 rows for 10 million lines in objects of 20: a run looks for new loads in "
    "two columns of it, and looks its own objects up by their keys.",
    "memory": "Sixteen small objects are read at a time, of large ones as many as have 256 MiB "
    "together, each in blocks of up to 65,000 lines. Merges of what was just written run in the "
    "same process; with granules of 1 MB they need a sixth of what they did.",
}


def machine() -> dict[str, Any]:
    """What it ran on, without names of places."""
    import chdb

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 1024**3, 1),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "engine": chdb.engine_version,
    }


def write(found: dict[str, list[Row]], size_name: str, size: Size, about: dict[str, Any]) -> None:
    """Write both files.

    Args:
        found: rows by measurement.
        size_name: small, default or large.
        size: its volumes.
        about: machine, dates and prices.
    """
    results = {
        "run": about | {"size": size_name, "volumes": asdict(size)},
        "measurements": {
            name: [asdict(row) | {"met": row.met} for row in rows] for name, rows in found.items()
        },
    }
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (FOLDER / "results.json").write_text(text + "\n")
    (FOLDER / "README.md").write_text(page(results, found))


def page(results: dict[str, Any], found: dict[str, list[Row]]) -> str:
    """The page for people."""
    run = results["run"]
    parts = [
        _INTRODUCTION,
        f"\n## This run\n\nOne uninterrupted run of size `{run['size']}`, {run['date']}, "
        f"{run['minutes']} minutes; {run['cores']} cores ({run['processor']}), "
        f"{run['memory_gib']} GiB, Python {run['python']}, ClickHouse {run['engine']} (chDB).\n",
        _verdict(found, run["failed"]),
        tables(found),
    ]
    return "".join(parts)


def tables(found: dict[str, list[Row]]) -> str:
    """A table for each measurement, with its notes."""
    parts = []
    for name, rows in found.items():
        parts.append(f"\n## {_TITLES[name]}\n\n")
        parts.append(_HEAD)
        parts += [_line(row) for row in rows]
        parts += ["\n", *(note for row in rows for note in _notes(row))]
        if any(row.met is False for row in rows):
            parts.append(f"\n{_MISSED[name]}\n" if name in _MISSED else "")
    return "".join(parts)


def figure(value: float) -> str:
    """Three significant digits, and never fewer than the whole part."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _verdict(found: dict[str, list[Row]], failed: list[str]) -> str:
    judged = [row for rows in found.values() for row in rows if row.met is not None]
    missed = [_named(row) for row in judged if not row.met]
    text = f"\n{len(judged) - len(missed)} of {len(judged)} targets are met."
    if failed:
        text += f" Not measured, because they failed: {', '.join(failed)}."
    return text + (f" Missed: {'; '.join(missed)}.\n" if missed else "\n")


def _named(row: Row) -> str:
    if row.at_least is None or row.ceiling is None or row.ceiling >= row.at_least:
        return row.what
    return f"{row.what} (the target is above the ceiling)"


def _line(row: Row) -> str:
    target = ""
    if row.at_least is not None:
        target = f"≥ {row.at_least:g}"
    elif row.at_most is not None:
        target = f"≤ {row.at_most:g}" + (f" {row.unit}" if row.ratio is None else "")
    cells = [
        row.what,
        f"{figure(row.ours)} {row.unit}",
        "" if row.reference is None else f"{figure(row.reference)} {row.unit}",
        "" if row.ratio is None else figure(row.ratio),
        target,
        {True: "yes", False: "**no**", None: ""}[row.met],
        "" if row.ceiling is None else figure(row.ceiling),
    ]
    return f"| {' | '.join(cells)} |\n"


def _notes(row: Row) -> list[str]:
    parts = [row.note] if row.note else []
    parts += [f"{name}: {_shown(value)}" for name, value in row.counts.items()]
    return [f"- {row.what}: {'; '.join(parts)}\n"] if parts else []


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(f"`{one}`" for one in value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

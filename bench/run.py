"""The command line: run the measurements, each in a separate process, and write the report."""

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TextIO

import click

from bench import report
from bench.data import buckets
from bench.engine import Site, prepare_environment
from bench.lake import serve
from bench.prices import prices_with
from bench.rows import Row
from bench.sizes import SIZES, Size

FOLDER = Path("build/bench")
MEASUREMENTS = (
    "load",
    "transform",
    "end_to_end",
    "increments",
    "fresh",
    "section_queries",
    "marts",
    "memory",
    "storage",
    "lambda_cost",
    "growth",
)
# Takes about two hours, so it has a size and a report alone.
ALONE = {"huge": ("growth",)}


@click.command()
@click.option("--size", type=click.Choice(list(SIZES)), default="default", show_default=True)
@click.option("--only", type=click.Choice(MEASUREMENTS), multiple=True, help="Repeatable.")
@click.option("--set", "changes", multiple=True, metavar="NAME=NUMBER", help="Change a volume.")
@click.option("--prices", type=click.File(), help="JSON file with other prices (bench/prices.py).")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--replace", "replaces", is_flag=True, help="With --only: change the last report.")
def main(
    size: str,
    only: tuple[str, ...],
    changes: tuple[str, ...],
    prices: TextIO,
    as_json: bool,
    replaces: bool,
) -> None:
    """Compare the pipeline with common alternatives.

    A run of all measurements writes bench/results.json and bench/README.md, a run of size huge
    bench/growth.json and bench/growth.md; a run of some only prints them, or replaces them in the
    report of the last run. A measurement that fails is reported and does not stop the others.
    """
    if replaces and (not only or size in ALONE):
        raise click.UsageError("--replace needs --only, and another size than huge")
    volumes = _changed(SIZES[size], changes)
    started, found, failed = time.perf_counter(), {}, []
    about = report.machine() | {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    try:
        with serve(FOLDER / "lake", FOLDER / "nginx") as lake:
            prepare_environment(lake, buckets(volumes))
            paid = prices_with(prices)
            site = Site(volumes, FOLDER.resolve(), lake, paid)
            for name in only or measurements(size):
                click.echo(f"{name} ...", err=True)
                at = time.perf_counter()
                try:
                    found[name] = measure(name, site)
                except Exception as error:
                    failed.append(name)
                    click.echo(f"{name} failed: {type(error).__name__}: {error}", err=True)
                click.echo(f"{name}: {time.perf_counter() - at:.0f} s", err=True)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    minutes = round((time.perf_counter() - started) / 60, 1)
    about |= {"minutes": minutes, "prices": paid, "failed": failed}
    if as_json:
        shown = {name: [asdict(row) for row in rows] for name, rows in found.items()}
        click.echo(json.dumps(shown, indent=1))
    else:
        click.echo(report.tables(found))
    if not only or (replaces and found):
        write = report.replace if only else report.write
        try:
            files = write(found, size, volumes, about)
        except ValueError as error:
            raise click.ClickException(f"not replaced: {error}") from None
        click.echo(f"wrote {' and '.join(f'bench/{file.name}' for file in files)}", err=True)
    if failed:
        raise click.ClickException(f"not measured: {', '.join(failed)}")


def measurements(size: str) -> tuple[str, ...]:
    """The measurements of a run of this size."""
    alone = [name for names in ALONE.values() for name in names]
    return ALONE.get(size, tuple(name for name in MEASUREMENTS if name not in alone))


def measure(name: str, site: Site) -> list[Row]:
    """Run one measurement in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(_measure, name, site).result()


def _measure(name: str, site: Site) -> list[Row]:
    return import_module(f"bench.{name}").measure(site)


def _changed(size: Size, changes: tuple[str, ...]) -> Size:
    names = {field.name for field in fields(size)} - {"memory"}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in names or not value.isdigit():
            raise click.BadParameter(f"{change!r}; accepted: {', '.join(sorted(names))} = a number")
        size = replace(size, **{name: int(value)})
    return size


if __name__ == "__main__":
    main()

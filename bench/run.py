"""The command line: run the measurements, each in a process of its own, and write the report."""

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields, replace
from importlib import import_module
from pathlib import Path

import click

from bench.data import buckets
from bench.engine import Site, prepare_environment
from bench.lake import serve
from bench.rows import Row
from bench.sizes import SIZES

FOLDER = Path("build/bench")
MEASUREMENTS = (
    "load",
    "transform",
    "end_to_end",
    "storage",
)


@click.command()
@click.option("--size", type=click.Choice(list(SIZES)), default="default", show_default=True)
@click.option("--only", type=click.Choice(MEASUREMENTS), multiple=True, help="Again for another.")
@click.option("--set", "changes", multiple=True, metavar="NAME=NUMBER", help="Another volume.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def main(size: str, only: tuple[str, ...], changes: tuple[str, ...], as_json: bool) -> None:
    """Measure the pipeline beside what people use instead."""
    volumes = _changed(SIZES[size], changes)
    found: dict[str, list[Row]] = {}
    with serve(FOLDER / "lake", FOLDER / "nginx") as lake:
        prepare_environment(lake, buckets(volumes))
        site = Site(volumes, FOLDER.resolve(), lake, {})
        for name in only or MEASUREMENTS:
            started = time.perf_counter()
            click.echo(f"{name} ...", err=True)
            found[name] = measure(name, site)
            click.echo(f"{name}: {time.perf_counter() - started:.0f} s", err=True)
            for row in found[name]:
                click.echo(
                    f"    {row.what}: {row.ours:,.2f} {row.unit}, ratio {row.ratio}", err=True
                )
    if as_json:
        click.echo(
            json.dumps(
                {name: [asdict(row) for row in rows] for name, rows in found.items()}, indent=1
            )
        )


def measure(name: str, site: Site) -> list[Row]:
    """Run one measurement in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(_measure, name, site).result()


def _measure(name: str, site: Site) -> list[Row]:
    return import_module(f"bench.{name}").measure(site)


def _changed(size, changes: tuple[str, ...]):
    names = {field.name for field in fields(size)}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in names or not value.isdigit():
            raise click.BadParameter(f"{change!r}; accepted: {', '.join(sorted(names))} = a number")
        size = replace(size, **{name: int(value)})
    return size


if __name__ == "__main__":
    main()

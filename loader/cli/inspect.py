"""Commands that only read: status, doctor."""

from dataclasses import asdict
from typing import Any

import typer

from loader import checks
from loader.cli.app import AsJson, app
from loader.cli.output import (
    console,
    counting,
    duration,
    errors,
    print_json,
    print_table,
    size,
)
from loader.pipeline import Pipeline
from loader.status import Status

# What the first line of the output says in words (rows that are missing, say) is left out.
TABLE_COLUMNS = ("name", "rows", "bytes", "waiting_loads", "waiting_lines")


@app.command(epilog="Example: xapi-elt status --json")
def status(as_json: AsJson = False) -> None:
    """Show what is loaded, what is waiting for dbt, what was rejected and what failed."""
    with Pipeline.from_env() as pipeline:
        where = pipeline.settings.place
        with counting(f"waiting for ClickHouse ({where})"):
            page = pipeline.status()
    if as_json:
        about = {"clickhouse": where, "headline": page.headline, "problems": page.problems}
        print_json(about | asdict(page))
    else:
        _print_status(page, where)
    if page.not_allowed:
        raise typer.Exit(1)


def _print_status(page: Status, where: str) -> None:
    console.print(page.headline)
    console.print(f"ClickHouse: {where}")
    print_table("Ledger", page.ledger, "Nothing is loaded yet. Load objects: xapi-elt load ...")
    if page.expired:
        console.print(
            f"Expired: {page.expired['lines']:,} raw lines of {page.expired['loads']:,} loads were "
            f"removed, the last on {page.expired['last'][:10]}; events that came from them stay"
        )
    if not page.not_allowed:
        tables = [_readable({name: row[name] for name in TABLE_COLUMNS}) for row in page.tables]
        print_table("Tables", tables, "No tables are built yet. Build them: dbt run")
    print_table("Rejected lines", page.rejected)
    for title, rows in page.operations.items():
        print_table(title, [_readable(row) for row in rows])
    print_table("Latest errors", page.errors)
    for reason in page.not_allowed:
        errors.print(f"not shown: {reason}")


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """A row with sizes and times in the units that people read."""
    units = {"bytes": ("size", size), "lag_seconds": ("lag", duration)}
    return {
        units[name][0] if name in units else name: units[name][1](value) if name in units else value
        for name, value in row.items()
    }


@app.command(epilog="Example: xapi-elt doctor")
def doctor(as_json: AsJson = False) -> None:
    """Check settings, engine, tables, S3 and dbt, and say how to fix each problem."""
    with counting("waiting for ClickHouse and S3"):
        found = checks.run()
    if as_json:
        print_json([asdict(check) for check in found])
    for check in [] if as_json else found:
        console.print(f"{check.verdict:5} {check.name}: {check.finding}")
    if any(check.verdict == "fail" for check in found):
        raise typer.Exit(1)

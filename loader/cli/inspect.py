"""Commands that only read: status, doctor."""

from dataclasses import asdict

import typer

from loader import checks
from loader.cli.app import AsJson, app
from loader.cli.output import console, errors, print_json, print_table
from loader.pipeline import Pipeline
from loader.status import Status


@app.command(epilog="Example: xapi-elt status --json")
def status(as_json: AsJson = False) -> None:
    """Show what is loaded, what is waiting for dbt, what was rejected and what failed."""
    with Pipeline.from_env() as pipeline:
        page = pipeline.status()
        where = pipeline.settings.place
    if as_json:
        print_json({"clickhouse": where} | asdict(page))
    else:
        _print_status(page, where)
    if page.not_allowed:
        raise typer.Exit(1)


def _print_status(page: Status, where: str) -> None:
    console.print(f"ClickHouse: {where}")
    print_table("Ledger", page.ledger, "Nothing is loaded yet. Load objects: xapi-elt load ...")
    if not page.not_allowed:
        print_table("Tables", page.tables, "No tables are built yet. Build them: dbt run")
    print_table("Rejected lines", page.rejected)
    for title, rows in page.operations.items():
        print_table(title, rows)
    print_table("Latest errors", page.errors)
    for reason in page.not_allowed:
        errors.print(f"not shown: {reason}")


@app.command(epilog="Example: xapi-elt doctor")
def doctor(as_json: AsJson = False) -> None:
    """Check settings, engine, tables, S3 and dbt, and say how to fix each problem."""
    found = checks.run()
    if as_json:
        print_json([asdict(check) for check in found])
    for check in [] if as_json else found:
        console.print(f"{check.verdict:5} {check.name}: {check.finding}")
    if any(check.verdict == "fail" for check in found):
        raise typer.Exit(1)

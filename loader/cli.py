"""The command line: arguments in, text or JSON out. What a command does lives elsewhere."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loader import doctor as doctor_checks
from loader import schema
from loader import status as status_page
from loader.errors import LoaderError, SettingsError
from loader.ledger import Outcome
from loader.load import load as load_objects
from loader.objects import S3Object
from loader.settings import POLICIES, Settings
from loader.sources import local_objects
from loader.warehouse import Warehouse, open_warehouse

app = typer.Typer(
    name="xapi-elt",
    help="xAPI statements from S3 into ClickHouse. Settings: see .env.example.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True, markup=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

# How the models are built, wherever a text says so.
BUILD = "dbt build --project-dir dbt_project"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def main() -> None:
    """Run the command line.

    Exit codes: 0 all that was asked is done; 1 some of it failed; 2 the call or a setting is
    wrong, and nothing was changed.
    """
    try:
        app()
    except LoaderError as error:
        errors.print(f"xapi-elt: {error}")
        sys.exit(2 if isinstance(error, SettingsError) else 1)


@app.command()
def init(as_json: AsJson = False) -> None:
    """Create or upgrade databases and tables; what is there stays."""
    with _warehouse() as (warehouse, settings):
        made = schema.init(warehouse, settings)
    if as_json:
        _print_json({"ready": made})
    for line in [] if as_json else made:
        console.print(f"ready: {line}")


@app.command()
def load(
    targets: Annotated[
        list[str], typer.Argument(help="s3://bucket/key, or .jsonl(.gz) files and folders.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Load also what the ledger holds already.")
    ] = False,
    policy: Annotated[
        str, typer.Option(help="What another version of a loaded key means: append or ignore.")
    ] = "append",
    as_json: AsJson = False,
) -> None:
    """Load objects or local files, each exactly once."""
    if policy not in POLICIES:
        raise SettingsError(f"--policy is {policy!r}; accepted: {', '.join(POLICIES)}")
    remote = [S3Object.from_uri(target) for target in targets if target.startswith("s3://")]
    local = list(
        chain.from_iterable(
            local_objects(Path(target)) for target in targets if not target.startswith("s3://")
        )
    )
    with _warehouse() as (warehouse, settings):
        schema.init(warehouse, settings)
        done = (
            load_objects(warehouse, settings, items, mode=mode, policy=policy, force=force)
            for items, mode in ((remote, "load"), (local, "file"))
            if items
        )
        outcomes = _with_progress(chain.from_iterable(done), len(remote) + len(local))
    _report(outcomes, as_json)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what is loaded, what waits for dbt, what was rejected and what failed."""
    with _warehouse() as (warehouse, settings):
        page = status_page.status(warehouse, settings)
    if as_json:
        _print_json(asdict(page))
    else:
        _print_status(page)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check settings, engine, tables, S3 and dbt; say what to do about what is wrong."""
    checks = doctor_checks.run()
    if as_json:
        _print_json([asdict(check) for check in checks])
    for check in [] if as_json else checks:
        console.print(f"{check.verdict:5} {check.name}: {check.finding}")
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


@app.command()
def demo() -> None:
    """Show the whole pipeline on sample data: local S3, load, dbt build, one query."""
    from loader.demo import run

    run(console)


@contextmanager
def _warehouse() -> Iterator[tuple[Warehouse, Settings]]:
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        yield warehouse, settings


def _with_progress(batches: Iterable[list[Outcome]], total: int) -> list[Outcome]:
    """Collect outcomes while a bar on the terminal shows how far it is."""
    bar = Progress(
        TextColumn("loading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("objects"),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
        transient=True,
    )
    outcomes: list[Outcome] = []
    with bar:
        task = bar.add_task("", total=total)
        for batch in batches:
            outcomes += batch
            bar.advance(task, len(batch))
    return outcomes


def _report(outcomes: list[Outcome], as_json: bool) -> None:
    """Print what became of each object; exit with 1 if some failed."""
    counts = Counter(outcome.outcome for outcome in outcomes)
    failures = [outcome for outcome in outcomes if outcome.outcome in ("failed", "unknown")]
    if as_json:
        _print_json(
            {
                "objects": dict(counts),
                "rows": sum(outcome.rows for outcome in outcomes),
                "failed": [
                    {"object": failure.item.uri, "error": failure.error} for failure in failures
                ],
            }
        )
    else:
        for failure in failures:
            errors.print(f"{failure.outcome}: {failure.error}")
        parts = [f"{count:,} {outcome}" for outcome, count in sorted(counts.items())]
        rows = sum(outcome.rows for outcome in outcomes)
        console.print(f"objects: {', '.join(parts) or 'none'}; lines loaded: {rows:,}")
    if failures:
        raise typer.Exit(1)


def _print_status(page: status_page.Status) -> None:
    _print_table("Ledger", page.ledger, "Nothing was loaded yet: xapi-elt load ...")
    _print_table(
        "Tables", page.tables, "dbt has built nothing yet: dbt build --project-dir dbt_project"
    )
    _print_table("Rejected lines", page.rejected)
    _print_table("Latest errors", page.errors)


def _print_table(title: str, rows: list[dict[str, Any]], otherwise: str = "") -> None:
    if not rows:
        if otherwise:
            console.print(otherwise)
        return
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(
            name.replace("_", " "), justify="right" if isinstance(value, int) else "left"
        )
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    console.print(table)


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))

"""The command line: arguments in, text or JSON out. What a command does lives elsewhere."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from loader import doctor as doctor_checks
from loader import status as status_page
from loader.errors import LoaderError, SettingsError
from loader.pipeline import Pipeline
from loader.summary import Summary

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
    with Pipeline.from_env() as pipeline:
        made = pipeline.init()
    if as_json:
        print_json({"ready": made})
    for line in [] if as_json else made:
        console.print(f"ready: {line}")


@app.command()
def load(
    targets: Annotated[
        list[str], typer.Argument(help="s3://bucket/key, or .jsonl(.gz) files and folders.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Load also what the ledger holds, in its place.")
    ] = False,
    policy: Annotated[
        str,
        typer.Option(help="What another version of a loaded key means: append, replace, ignore."),
    ] = "append",
    as_json: AsJson = False,
) -> None:
    """Load objects or local files, each exactly once."""
    with Pipeline.from_env() as pipeline, loading_bar() as show:
        summary = pipeline.load(*targets, policy=policy, force=force, on_progress=show)
    report(summary, as_json)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what is loaded, what waits for dbt, what was rejected and what failed."""
    with Pipeline.from_env() as pipeline:
        page = pipeline.status()
    if as_json:
        print_json(asdict(page))
    else:
        _print_status(page)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check settings, engine, tables, S3 and dbt; say what to do about what is wrong."""
    checks = doctor_checks.run()
    if as_json:
        print_json([asdict(check) for check in checks])
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
def loading_bar() -> Iterator[Callable[[Summary], None]]:
    """A bar on the terminal that shows how far a load is, how fast and how long it will take."""
    bar = Progress(
        TextColumn("loading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("objects"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
        disable=not errors.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None, rate="")

        def show(summary: Summary) -> None:
            rate = f"{summary.done / summary.seconds:,.0f}/s" if summary.seconds else ""
            bar.update(task, total=summary.asked, completed=summary.done, rate=rate)

        yield show


def report(summary: Summary, as_json: bool, **more: Any) -> None:
    """Print what became of the objects; exit with 1 if not all is done.

    Args:
        more: what JSON says besides.
    """
    if as_json:
        print_json(more | _summary_json(summary))
    else:
        for failure in summary.failed:
            errors.print(f"{failure.outcome}: {failure.error}")
        parts = [f"{count:,} {outcome}" for outcome, count in sorted(summary.counts.items())]
        console.print(f"objects: {', '.join(parts) or 'none'}; lines loaded: {summary.rows:,}")
        if summary.stopped:
            errors.print(
                f"stopped, with {summary.asked - summary.done:,} objects not tried: "
                f"{summary.stopped}; run the same command again, it goes on from here"
            )
    if not summary.complete:
        raise typer.Exit(1)


def _summary_json(summary: Summary) -> dict[str, Any]:
    return {
        "objects": dict(summary.counts),
        "rows": summary.rows,
        "bytes": summary.bytes,
        "inserts": summary.inserts,
        "seconds": round(summary.seconds, 3),
        "failed": [
            {"object": failure.item.uri, "error": failure.error} for failure in summary.failed
        ],
        "not_tried": summary.asked - summary.done,
        "stopped": summary.stopped,
    }


def _print_status(page: status_page.Status) -> None:
    _print_table("Ledger", page.ledger, "Nothing was loaded yet: xapi-elt load ...")
    _print_table(
        "Tables", page.tables, "dbt has built nothing yet: dbt build --project-dir dbt_project"
    )
    _print_table("Rejected lines", page.rejected)
    for title, rows in page.operations.items():
        _print_table(title, rows)
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


def print_json(value: Any) -> None:
    """Print for programs."""
    print(json.dumps(value, indent=2, default=str))


# Commands of other modules; they take `app` from here.
import loader.cli_bulk  # noqa: E402
import loader.cli_trigger  # noqa: E402, F401

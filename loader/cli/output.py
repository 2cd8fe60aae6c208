"""What commands print: JSON, tables, progress bars and summaries."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
from rich.status import Status
from rich.table import Table
from rich.text import Text

from loader.errors import SettingsError
from loader.log import escaped, to_json
from loader.outcomes import Summary

# Characters of a cell that is not broken over lines.
_LONGEST_NAME = 32


class SafeStatus(Status):
    """A status line whose text has no control characters, and no markup: Rich reads that in the
    text of a status, whatever the console's settings are."""

    def __init__(self, status: str, **options: Any):
        super().__init__(Text(escaped(status)), **options)

    def update(self, status: str | None = None, **options: Any) -> None:
        """Change the text; see `Status.update`."""
        super().update(None if status is None else Text(escaped(status)), **options)


class SafeConsole(Console):
    """A console that prints text without control characters, one line per call."""

    def status(self, status: str, **options: Any) -> SafeStatus:
        """A status line on this console; see `Console.status`."""
        return SafeStatus(status, console=self, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print text and tables; the cells of tables are escaped by `print_table`."""
        shown = (escaped(item) if isinstance(item, str) else item for item in objects)
        super().print(*shown, **options)


console = SafeConsole(highlight=False, soft_wrap=True, markup=False)
errors = SafeConsole(stderr=True, highlight=False, soft_wrap=True, markup=False)


def confirm(question: str, yes: bool, as_json: bool = False) -> None:
    """Ask before something is changed for good.

    Args:
        question: what to ask.
        yes: whether the call has answered it.
        as_json: whether a program called, which cannot answer.

    Raises:
        SettingsError: there is no terminal.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise SettingsError("--yes is missing: there is no terminal to ask. Nothing was changed")
    typer.confirm(escaped(question), abort=True, err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    print(to_json(value, indent=2))


def print_table(title: str, rows: list[dict[str, Any]], empty: str = "") -> None:
    """Print rows as a table.

    Args:
        title: printed above the table.
        rows: the rows, all with the same columns.
        empty: printed if there are no rows.
    """
    if not rows:
        if empty:
            console.print(empty)
        return
    table = Table(title=escaped(title), title_justify="left")
    for name, value in rows[0].items():
        right = isinstance(value, int | float)
        # In a narrow terminal names stay whole, and headings and long texts take several lines.
        is_name = not right and all(len(_shown(row[name])) <= _LONGEST_NAME for row in rows)
        table.add_column(
            escaped(name.replace("_", " ")),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=is_name,
        )
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    console.print(table)


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else escaped(value)


def size(count: float) -> str:
    """Format a number of bytes, e.g. 1.2 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def duration(seconds: float | None) -> str:
    """Format seconds, e.g. 1 h 20 min."""
    seconds = round(seconds or 0)
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def loading_bar() -> Iterator[Callable[[Summary], None]]:
    """Show a progress bar on a terminal: objects done, speed, time left.

    Yields:
        A function that updates it from a summary.
    """
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
            bar.update(task, total=summary.requested, completed=summary.done, rate=rate)

        yield show


@contextmanager
def counting(verb: str) -> Iterator[SafeStatus]:
    """Show a status line on a terminal.

    Args:
        verb: its first text, e.g. listing.

    Yields:
        The line, whose text can be updated.
    """
    status = errors.status(verb)
    if errors.is_terminal:
        status.start()
    try:
        yield status
    finally:
        status.stop()


def report(summary: Summary, as_json: bool, **more: Any) -> None:
    """Print the outcomes of a load; exit with 1 if not every object is loaded.

    Args:
        summary: the outcomes.
        as_json: whether to print JSON.
        more: further members of the JSON.

    Raises:
        typer.Exit: some objects failed or were not attempted.
    """
    if as_json:
        print_json(more | _summary_json(summary))
    else:
        print_failures(summary)
        parts = [f"{count:,} {outcome}" for outcome, count in sorted(summary.counts.items())]
        console.print(f"objects: {', '.join(parts) or 'none'}; lines loaded: {summary.rows:,}")
        if summary.stopped:
            errors.print(
                f"stopped; {summary.requested - summary.done:,} objects not attempted: "
                f"{summary.stopped}. Run the same command again to continue."
            )
    if not summary.complete:
        raise typer.Exit(1)


def print_failures(summary: Summary) -> None:
    """Print one line for each object that failed, and for each version that was missed."""
    for failure in summary.failed + summary.missed:
        errors.print(f"{failure.outcome}: {failure.error}")


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
        "missed": [{"object": one.item.uri, "error": one.error} for one in summary.missed],
        "not_tried": summary.requested - summary.done,
        "stopped": summary.stopped,
    }

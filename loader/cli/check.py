"""The command that shows what lines would become, without a database: check."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from loader.cli.app import AsJson, app
from loader.cli.output import console, counting, errors, print_json
from loader.errors import SettingsError
from loader.log import to_json
from loader.preview import MOST_LINES, FileReport, Reason, preview
from loader.settings import Settings


@app.command(epilog="Example: xapi-elt check exports/ statements.jsonl.gz")
def check(
    targets: Annotated[
        list[str],
        typer.Argument(help=".jsonl(.gz) files and folders; - for standard input."),
    ],
    lines: Annotated[
        bool, typer.Option("--lines", help="Print each line's fate, as JSON Lines.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what each line of files would become: its table, event id, or why it is rejected.

    The files are loaded and parsed in a temporary database; nothing else is read or changed.
    Exits with 1 if a line is rejected or a file cannot be loaded, with 2 if there is no such file.
    """
    if lines and as_json:
        raise SettingsError("--lines prints JSON Lines itself; use it without --json")
    with (
        counting("loading and parsing in a temporary database"),
        preview(targets, Settings.from_env(), sys.stdin.buffer) as found,
    ):
        files, reasons = found.files(), found.reasons()
        for line in found.lines() if lines else ():
            print(to_json(line))
    if as_json:
        print_json({"files": [asdict(one) for one in files], "rejected": [*map(asdict, reasons)]})
    elif lines:
        _print_failures(files)
    else:
        _print_summary(files, reasons)
    if any(one.error or one.rejected for one in files):
        raise typer.Exit(1)


def _print_summary(files: list[FileReport], reasons: list[Reason]) -> None:
    for one in files:
        if not one.error:
            console.print(f"{one.file}: {_counts(one)}")
    for one in reasons:
        numbers = ", ".join(map(str, one.lines))
        more = " and more; all: --lines" if one.count > MOST_LINES else ""
        word = "line" if len(one.lines) == 1 else "lines"
        console.print(f"rejected: {one.reason}: {one.file}, {word} {numbers}{more}")
    _print_failures(files)


def _print_failures(files: list[FileReport]) -> None:
    for one in files:
        if one.warning:
            errors.print(f"{one.file}: {one.warning}")
        if one.error:
            errors.print(f"cannot be loaded: {one.error}")


def _counts(one: FileReport) -> str:
    parts: list[tuple[Any, str]] = [(count, table) for table, count in sorted(one.tables.items())]
    parts += [(one.repeats, "repeated"), (one.voided, "voided"), (one.other, "other")]
    parts += [(one.blank, "blank"), (one.rejected, "rejected")]
    return ", ".join(f"{count:,} {word}" for count, word in parts if count) or "no lines"

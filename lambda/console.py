"""Output of the deployment commands: progress, tables, and the error that stops a command."""

import sys


class DeployError(Exception):
    """A command cannot continue; the message says why and what to do."""


def say(text: str) -> None:
    """Print progress on standard error; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def table(rows: list[tuple[str, ...]]) -> str:
    """Format rows as left-aligned columns, two spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

"""What all commands use at the terminal: progress, tables, and the error that ends them."""

import sys


class DeployError(Exception):
    """The command cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    """Progress goes to standard error: standard output is for the outputs."""
    print(text, file=sys.stderr, flush=True)


def table(rows: list[tuple[str, ...]]) -> str:
    """Left-aligned columns, two spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

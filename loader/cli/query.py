"""The command query: SQL or a named question, read-only."""

import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from loader import questions
from loader.cli.app import AsJson, app
from loader.cli.output import SafeConsole, console, errors, print_json
from loader.clickhouse.reader import Reader
from loader.errors import PermanentError, SettingsError
from loader.log import escaped
from loader.pipeline import Pipeline

# ClickHouse's name of each format.
FORMATS = {
    "table": "JSONCompact",
    "csv": "CSVWithNames",
    "json": "JSONEachRow",
    "parquet": "Parquet",
}

# Characters of a cell that a table shows.
_WIDEST = 60


@app.command(
    epilog="Example: xapi-elt query drop-off --section 2161",
    context_settings={"ignore_unknown_options": True},
)
def query(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SQL | NAME [--PARAMETER VALUE]...",
            help="SQL, or the name of a question and its parameters.",
        ),
    ] = None,
    file: Annotated[
        str, typer.Option(metavar="F", help="Read the SQL from a file; - for stdin.")
    ] = "",
    listed: Annotated[
        bool, typer.Option("--list", help="Show the named questions and their parameters.")
    ] = False,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Value of {NAME:Type} in the SQL; repeatable."),
    ] = None,
    fmt: Annotated[
        str, typer.Option("--format", help=f"Output format: {', '.join(FORMATS)}.")
    ] = "table",
    out: Annotated[str, typer.Option(metavar="FILE", help="Write the result into this file.")] = "",
    rows: Annotated[int, typer.Option(help="Rows that a table shows at most.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """Run SQL or a named question, read-only: ClickHouse refuses whatever would change anything.

    Names without a database are tables of the models (docs/models.md).
    """
    if listed:
        _print_list(questions.questions(), as_json)
        return
    fmt = "json" if as_json else fmt
    if fmt not in FORMATS:
        raise SettingsError(f"--format is {fmt!r}; accepted: {', '.join(FORMATS)}")
    if fmt == "parquet" and not out and sys.stdout.isatty():
        raise SettingsError("Parquet is not text; use --out FILE or a pipe")
    sql, values = _statement(words or [], file, param or [])
    with Pipeline.from_env() as pipeline:
        if fmt == "table" and not out:
            _print_rows(pipeline.reader, sql, values, rows)
            return
        if fmt == "table":
            raise SettingsError("--out needs --format csv, json or parquet")
        answer = pipeline.reader.read(sql, FORMATS[fmt], values)
    _write(_array(answer) if fmt == "json" else answer, out)


def _statement(words: list[str], file: str, param: list[str]) -> tuple[str, dict[str, Any]]:
    """The SQL of a call, and the values of its parameters.

    Args:
        words: SQL, or the name of a question and its parameters as options.
        file: a file with SQL, or -.
        param: values for SQL, as name=value.
    """
    options, rest = parameters_in(words)
    options |= dict(_split(one, "--param") for one in param)
    if len(rest) + bool(file) != 1:
        raise SettingsError(
            "one of these is needed: SQL (in quotes), --file F, or the name of a question; "
            "xapi-elt query --list shows them"
        )
    if not file and re.fullmatch(r"[\w-]+", rest[0]):
        question = questions.find(rest[0])
        return question.sql, question.values(options)
    if len(param) < len(options):
        raise SettingsError(
            f"there is no option --{next(iter(options))}; give values for SQL as --param name=value"
        )
    return (_text(file) if file else rest[0]), options


def parameters_in(words: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Split words into options (--name value or --name=value) and the rest.

    Args:
        words: the words of a call.

    Raises:
        SettingsError: the last option has no value.
    """
    found, rest, left = {}, [], iter(words)
    for word in left:
        if not re.match(r"--\w", word) or " " in word.partition("=")[0]:
            rest.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if not equals and (value := next(left, None)) is None:
            raise SettingsError(f"--{name} needs a value")
        found[name.replace("-", "_")] = value
    return found, rest


def _split(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"{option} is {text!r}; accepted: name=value")
    return name, value


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{file} cannot be read: {reason}") from None


def _print_list(found: list[questions.Question], as_json: bool) -> None:
    if as_json:
        print_json([asdict(question) for question in found])
        return
    for question in found:
        console.print(f"{question.name}: {question.question} {question.notes}".rstrip())
        for one in question.parameters:
            default = "" if one.default is None else f" (default {one.default!r})"
            console.print(f"    --{one.name} {one.type}{default}: {one.meaning}")


def _print_rows(reader: Reader, sql: str, values: dict[str, Any], most: int) -> None:
    answer = json.loads(reader.read(sql, FORMATS["table"], values, limit=most + 1) or b"{}")
    if not answer:  # e.g. of `use`
        return
    names = [escaped(column["name"]) for column in answer["meta"]]
    cells = [[shown(value) for value in row] for row in answer["data"][:most]]
    if not cells:
        console.print("no rows")
        return
    width = console.width if console.is_terminal else 100_000
    output = SafeConsole(highlight=False, markup=False, width=width)
    table = Table(box=None, pad_edge=False)
    for name, column in zip(names, answer["meta"], strict=True):
        right = re.search(r"U?Int\d|Float|Decimal", column["type"]) and "(" not in column[
            "type"
        ].removeprefix("Nullable(")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    if output.measure(table).maximum <= width:
        output.print(table)
    else:
        # Too wide for the terminal: one line per value.
        longest = max(map(len, names))
        for number, row in enumerate(cells, start=1):
            console.print(f"-- row {number}")
            for name, cell in zip(names, row, strict=True):
                console.print(f"{name:<{longest}}  {cell}")
    if len(answer["data"]) > most:
        count = reader.count(sql, values)
        more = "more" if count is None else f"{count - most:,} more"
        errors.print(f"{more} rows; show them with --rows N, or write all with --format csv")


def shown(value: Any) -> str:
    """A value of a result as the cell of a table: short, in one line.

    Args:
        value: what JSON makes of it.
    """
    text = _plain(value)
    return escaped(text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…")


def _plain(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.7g}" if 1e-4 < abs(value) < 1e7 or not value else f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, dict):
        return f"({', '.join(f'{name} {_plain(one)}' for name, one in value.items())})"
    return str(value)


def _array(lines: bytes) -> bytes:
    """An array of the objects of JSONEachRow, each in a line of its own."""
    rows = lines.strip(b"\n").split(b"\n") if lines.strip() else []
    return b"[" + b",\n ".join(rows) + b"]\n"


def _write(answer: bytes, out: str) -> None:
    if not out:
        if sys.stdout.isatty():
            # A value may contain what would change the terminal.
            lines = answer.decode("utf-8", "replace").split("\n")
            print("\n".join(map(escaped, lines)), end="")
        else:
            sys.stdout.buffer.write(answer)
            sys.stdout.flush()
        return
    try:
        Path(out).write_bytes(answer)
    except OSError as error:
        reason = error.strerror or os.fspath(out)
        raise PermanentError(f"{out} cannot be written: {reason}") from None
    errors.print(f"wrote {len(answer):,} bytes to {out}")

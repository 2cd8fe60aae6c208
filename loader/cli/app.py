"""The Typer application of the command line; the other modules here add their commands to it."""

from importlib.metadata import version
from typing import Annotated

import typer

app = typer.Typer(
    name="xapi-elt",
    help="xAPI statements from S3 into ClickHouse. Settings: see .env.example.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _print_version(value: bool) -> None:
    if value:
        print(f"xapi-elt {version('xapi-elt')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """xAPI statements from S3 into ClickHouse. Settings: see .env.example."""

"""The command that prints the rights of ClickHouse's users: grants."""

from typing import Annotated

import typer

from loader.cli.app import AsJson, app
from loader.cli.output import console, print_json
from loader.grants import ROLES, role_name, statements
from loader.settings import Settings


@app.command(epilog="Example: xapi-elt grants --role analyst --section 2161")
def grants(
    role: Annotated[str, typer.Option(help=f"The role: {', '.join(ROLES)}.")],
    names: Annotated[
        bool, typer.Option("--names", help="Analysts may see who a learner is (dim_learners).")
    ] = False,
    section: Annotated[
        list[int] | None,
        typer.Option(min=0, metavar="N", help="Analysts see only this course section; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the SQL that gives a role the rights that its commands need, and no more.

    An administrator of ClickHouse runs it, again after each upgrade. It creates no user and
    contains no password. Databases, collection and cluster are those of the settings.
    """
    settings = Settings.from_env()
    written = statements(role, settings, names, section or ())
    if as_json:
        print_json({"role": role, "statements": written})
        return
    name = role_name(role, settings, names, section or ())
    console.print(f"-- Role {name}: {ROLES[role]}.")
    for statement in written:
        console.print(f"{statement};")
    console.print("-- A user with this role; write a name and a password of your own:")
    console.print("-- create user <name> identified with sha256_password by '<password>';")
    console.print(f"-- grant {name} to <name>;")

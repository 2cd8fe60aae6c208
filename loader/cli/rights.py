"""The command that prints the rights of ClickHouse's users: grants."""

from typing import Annotated

import typer

from loader.cli.app import AsJson, app
from loader.cli.output import console, print_json
from loader.grants import ROLES, assignments, role_name, statements
from loader.settings import Settings


@app.command(epilog="Example: xapi-elt grants --role analyst --section 2161")
def grants(
    role: Annotated[str, typer.Option(help=f"The role: {', '.join(ROLES)}.")],
    names: Annotated[
        bool, typer.Option("--names", help="Analysts may see who a learner is (dim_learners).")
    ] = False,
    section: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Analysts see only this course section; repeatable."),
    ] = None,
    course: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="The same for statements without a section; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the SQL that gives a role the rights that its commands need, and no more.

    An administrator of ClickHouse runs it, again after each upgrade. It creates no user and
    contains no password. Databases, collection and cluster are those of the settings.

    With --section or --course the role is that of all analysts who see some sections; which ones
    each of them sees is in the table analyst_sections, which the administrator fills.
    """
    settings = Settings.from_env()
    of_sections = bool(section or course)
    written = statements(role, settings, names, of_sections)
    each_user = assignments(settings, "<name>", section or (), course or ())
    if as_json:
        print_json({"role": role, "statements": written, "for_each_user": each_user})
        return
    name = role_name(role, settings, names, of_sections)
    console.print(f"-- Role {name}: {ROLES[role]}.")
    for statement in written:
        for line in f"{statement};".splitlines():
            console.print(line)
    console.print("-- A user with this role; write a name and a password of your own:")
    console.print("-- create user <name> identified with sha256_password by '<password>';")
    console.print(f"-- grant {name} to <name>;")
    for statement in each_user:
        console.print(f"-- {statement};")

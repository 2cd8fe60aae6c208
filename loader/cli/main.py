"""The console script `xapi-elt`: runs a command, prints its error and sets the exit code."""

import os
import sys

from loader.cli import (  # noqa: F401 (they add their commands)
    bulk,
    check,
    erase,
    inspect,
    load,
    privacy,
    query,
    redrive,
    report,
    rights,
    transform,
    trigger,
)
from loader.cli.app import app
from loader.cli.output import errors, print_json
from loader.errors import LoaderError, SettingsError, describe
from loader.settings import complaints


def main() -> None:
    """Run the command line.

    Exit codes: 0 everything requested is done; 1 some of it failed; 2 an argument or a setting is
    wrong, and nothing was changed.
    """
    arguments, as_json = set(sys.argv[1:]), "--json" in sys.argv
    try:
        if not arguments & {"--help", "--version", "doctor"}:
            for complaint in complaints(os.environ):
                errors.print(f"warning: {complaint}")
        app()
    except LoaderError as error:
        if as_json:
            print_json({"error": str(error)})
        errors.print(f"xapi-elt: {error}")
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except SystemExit as ended:
        # Typer has printed what is wrong with the call.
        if as_json and ended.code == 2:
            print_json({"error": "the call is wrong; see standard error, or --help"})
        raise
    except Exception as error:
        # Without its text, which may quote a password.
        if as_json:
            print_json({"error": describe(error)})
        errors.print(f"xapi-elt: {describe(error)}; this is a bug of xapi-elt")
        sys.exit(1)

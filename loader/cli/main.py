"""The console script `xapi-elt`: runs a command, prints its error and sets the exit code."""

import sys

from loader.cli import (  # noqa: F401 (they add their commands)
    bulk,
    inspect,
    load,
    query,
    report,
    transform,
    trigger,
)
from loader.cli.app import app
from loader.cli.output import errors, print_json
from loader.errors import LoaderError, SettingsError, describe


def main() -> None:
    """Run the command line.

    Exit codes: 0 everything requested is done; 1 some of it failed; 2 an argument or a setting is
    wrong, and nothing was changed.
    """
    try:
        app()
    except LoaderError as error:
        if "--json" in sys.argv:
            print_json({"error": str(error)})
        errors.print(f"xapi-elt: {error}")
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except Exception as error:
        # Without its text, which may quote a password.
        if "--json" in sys.argv:
            print_json({"error": describe(error)})
        errors.print(f"xapi-elt: {describe(error)}; this is a bug of xapi-elt")
        sys.exit(1)

"""Render the SQL of the staging view without dbt, whose start takes seconds.

The SQL and its macros are the dbt project's own files; a test compares the result with dbt's.
"""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from loader.errors import SettingsError
from loader.settings import Settings

MODEL = "dbt_project/models/staging/stg_xapi__statements.sql"

# The files with the macros that the model and the callers of `rendered` use.
MACROS = (
    "macros/statements/*.sql",
    "macros/xapi_iris.sql",
    "macros/event_columns.sql",
    "macros/view_parts.sql",
    "macros/ledger_incremental/voided.sql",
)

# A macro must not be visible under its own name inside its file: `return` works only in a call
# through the wrapper.
_MACRO = re.compile(r"(\{%-?\s*macro\s+)(\w+)\(")
_PREFIX = "macro__"


def staging_sql(settings: Settings) -> str:
    """The select of the view stg_xapi__statements.

    Args:
        settings: where the project is, and the name of the raw database.

    Raises:
        SettingsError: see `rendered`.
    """
    return rendered(settings, (settings.project() / MODEL).read_text())


def rendered(settings: Settings, text: str, **names: str) -> str:
    """A text with calls of the parse's macros, rendered with the project's variables.

    Args:
        settings: where the project is, and the name of the raw database.
        text: a template, as dbt's models are.
        names: values that it uses, by name.

    Raises:
        SettingsError: there is no project, or Jinja is not installed.
    """
    try:
        import jinja2
        import yaml
    except ImportError:
        raise SettingsError(
            "jinja2 and pyyaml are not installed; install them: make install"
        ) from None
    root = settings.project()
    variables = yaml.safe_load((root / "dbt_project.yml").read_text())["vars"]
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)
    environment.globals |= {
        "var": variables.__getitem__,
        "source": lambda _, table: _Relation(f"`{settings.raw_database}`.`{table}`"),
        "return": _return,
        "exceptions": SimpleNamespace(raise_compiler_error=_refuse),
    }
    files = [path for pattern in MACROS for path in sorted(root.glob(pattern))]
    macros = {name: call for path in files for name, call in _macros(environment, path).items()}
    environment.globals |= {**macros, "xapi_elt": SimpleNamespace(**macros)}
    return environment.from_string(text).render(names)


class _Relation(str):
    """A table's name, with the method of dbt's relations that the model calls."""

    def render(self) -> str:
        """The name."""
        return str(self)


class _Returned(Exception):
    """Ends a macro with a value, as dbt's `return` does."""

    def __init__(self, value: Any):
        self.value = value


def _return(value: Any) -> None:
    raise _Returned(value)


def _refuse(text: str) -> None:
    raise SettingsError(text)


def _macros(environment: Any, path: Path) -> dict[str, Callable[..., Any]]:
    """The macros of a file as functions, by name."""
    text = path.read_text()
    template = environment.from_string(_MACRO.sub(rf"\g<1>{_PREFIX}\g<2>(", text))

    def function(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            # The module sees the globals as they are when it is first used: with all macros.
            macro = getattr(template.module, _PREFIX + name)
            try:
                return macro(*args, **kwargs)
            except _Returned as returned:
                return returned.value

        return call

    return {name: function(name) for _, name in _MACRO.findall(text)}

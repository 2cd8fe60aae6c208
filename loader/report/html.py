"""Make self-contained HTML: templates that escape, the style sheet, the scripts, and a policy that
allows exactly these and no network."""

import base64
import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loader.errors import SettingsError
from loader.log import to_json
from loader.report.texts import FILTERS

_HERE = Path(__file__).parent


def require_packages() -> None:
    """Check that the packages of the pages are installed; other commands do without them.

    Raises:
        SettingsError: one is missing.
    """
    for name in ("jinja2", "vl_convert"):
        if not find_spec(name):
            raise SettingsError(
                f"pages need the package {name}: pip install 'xapi-elt[report]', or make install"
            )


def render(page: str, data: dict[str, Any] | None = None, **values: Any) -> str:
    """The HTML of a page.

    Args:
        page: the folder of its template.
        data: what its script reads: charts and their rows; None for a page without script.
        values: what its template shows. Everything that is not a number is escaped.
    """
    from markupsafe import Markup

    style = (_HERE / "look" / "style.css").read_text()
    scripts = [] if data is None else [vega(), (_HERE / "look" / "page.js").read_text()]
    return (
        _environment()
        .get_template(f"pages/{page}/page.html")
        .render(
            policy=_policy(style, scripts),
            style=Markup(style),
            scripts=[Markup(script) for script in scripts],
            data=None if data is None else Markup(embedded_json(data)),
            version=version("xapi-elt"),
            **values,
        )
    )


def embedded_json(value: Any) -> str:
    """JSON that can stand in a script element: no `<`, `>` or `&`, only ASCII."""
    text = to_json(value)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


@cache
def vega() -> str:
    """The JavaScript of Vega, Vega-Lite and vega-embed, which the package vl-convert has.

    vega-embed has Vega's interpreter for expressions, so the pages need no `eval`.
    """
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # The same text for JavaScript, but not the end of the element for HTML.
    return script.replace("</script", "<\\/script").replace("<!--", "\\x3c!--")


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment


def _policy(style: str, scripts: list[str]) -> str:
    """A content security policy for these texts alone."""
    allowed = " ".join(_hash(script) for script in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

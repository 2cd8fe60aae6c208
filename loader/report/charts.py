"""The charts: Vega-Lite specifications beside the queries, checked before a page uses them."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from loader.errors import PermanentError
from loader.report.reading import PAGES

# Colours are the variables of style.css, so that charts follow the reader's light or dark mode.
# The text alternative is the table below the chart, so the drawing itself has none.
_CONFIG = {
    "background": None,
    "font": "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelPadding": 6,
    },
    "axisY": {"ticks": False, "domain": False, "tickCount": 4, "titlePadding": 12},
    "axisX": {"grid": False, "labelOverlap": True},
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": "var(--ink)",
        "labelFontSize": 13,
        "symbolType": "square",
        "offset": 8,
    },
}


def chart(page: str, name: str, columns: Iterable[str]) -> dict[str, Any]:
    """A chart's specification, complete and checked.

    Args:
        page: the folder of the page.
        name: the chart's file, without its ending; the query of its data has the same name.
        columns: what the data has.

    Raises:
        PermanentError: the specification is wrong or uses other columns; names page and chart.
    """
    spec = complete(page, name)
    check(page, name, spec, columns)
    return spec


@cache
def complete(page: str, name: str) -> dict[str, Any]:
    """The specification of the file, with what all charts share."""
    try:
        spec = json.loads((PAGES / page / f"{name}.vl.json").read_text())
    except ValueError as error:
        raise PermanentError(f"page {page}, chart {name}: not JSON: {error}") from None
    shared = {"data": {"name": "rows"}, "width": "container", "config": _CONFIG}
    return {"autosize": {"type": "fit-x", "contains": "padding"}} | shared | spec


def check(page: str, name: str, spec: dict[str, Any], columns: Iterable[str]) -> None:
    """Compare the fields of a specification with the columns of its data, and compile it.

    Raises:
        PermanentError: see `chart`.
    """
    made = set(_values(spec, "as"))
    unknown = set(_values(spec, "field")) - set(columns) - made
    if unknown:
        raise PermanentError(
            f"page {page}, chart {name}: no column {', '.join(sorted(unknown))}; "
            f"the query returns {', '.join(columns)}"
        )
    if problem := _compiled(json.dumps(spec)):
        raise PermanentError(f"page {page}, chart {name}: {problem}")


@cache
def _compiled(spec: str) -> str:
    """Compile a specification; returns what is wrong with it, or ''."""
    import vl_convert

    try:
        vega = vl_convert.vegalite_to_vega(spec)
    except ValueError as error:
        return " ".join(str(error).split("    at ")[0].split())
    # Vega-Lite compiles a mark without place or size, and draws nothing.
    return "" if vega.get("marks") else "it draws nothing"


def _values(spec: Any, key: str) -> Iterator[str]:
    """The texts below every member of this name."""
    if isinstance(spec, list):
        for item in spec:
            yield from _values(item, key)
    elif isinstance(spec, dict):
        for name, value in spec.items():
            if name == key:
                yield from [value] if isinstance(value, str) else filter(_is_text, value)
            else:
                yield from _values(value, key)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)

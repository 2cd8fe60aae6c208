"""Rows as a page's script reads them: the columns once, then the values of each row."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any


def table(rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> dict[str, Any]:
    """Rows as lists of values, which take a third of the bytes.

    Args:
        rows: rows with the same columns.
        columns: which columns; all of the first row if left out.
    """
    names = list(columns) or list(rows[0] if rows else ())
    return {"columns": names, "rows": [[_short(row[name]) for name in names] for row in rows]}


def _short(value: Any) -> Any:
    """Whole numbers without `.0`; others with the digits that a chart can show."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 3)
    return value


def every_day(rows: list[dict[str, Any]], least: int = 30) -> list[dict[str, Any]]:
    """Rows with a `day`, in order, and rows of zeros for the days between; so many days at least.

    Without them a chart of a single day would be one bar over its whole width.

    Args:
        rows: rows with the same columns.
        least: how many days the result spans at least, up to the last one.
    """
    if not rows:
        return []
    days = sorted({date.fromisoformat(row["day"]) for row in rows})
    first = min(days[0], days[-1] - timedelta(days=least - 1))
    known = set(days)
    span = (first + timedelta(days=number) for number in range((days[-1] - first).days + 1))
    zeros = {
        name: 0 if isinstance(value, int | float) else value for name, value in rows[0].items()
    }
    added = [zeros | {"day": str(day)} for day in span if day not in known]
    return sorted([*rows, *added], key=lambda row: row["day"])

"""The page of the pipeline: whether all statements arrived, and how fresh the tables are."""

from typing import Any

from loader.report.charts import chart
from loader.report.html import render
from loader.report.reading import Reader
from loader.report.section import Options
from loader.report.tables import every_day, table

# Columns of the balance, the last of which must be 0.
MUST_BE_ZERO = ("missing", "surplus", "doubled", "outdated")
BALANCE = (
    *("lines", "statements", "events", "duplicates", "rejected", "other", "blank", "voided"),
    *("waiting", *MUST_BE_ZERO),
)

# Rows of the longest tables.
ROWS = 20


def pipeline_page(reader: Reader, options: Options) -> str:
    """Make the page of the pipeline.

    Args:
        reader: the database.
        options: see `Options`.

    Raises:
        LoaderError: a query fails, or a chart does not fit its query.
    """

    def rows(name: str, **values: Any) -> list[dict[str, Any]]:
        return reader.rows("pipeline", name, **values)

    balance = rows("balance")
    total = next((row for row in balance if row["family"] == "all"), dict.fromkeys(BALANCE, 0))
    failed = rows("failed", limit=ROWS)
    days = rows("days")
    data = {
        "charts": {"days": chart("pipeline", "days", reader.columns("pipeline", "days"))},
        "tables": {"days": table(every_day(days))},
    }
    return render(
        "pipeline",
        data,
        place="pipeline",
        made_at=options.made_at,
        balance=balance,
        balance_columns=BALANCE,
        must_be_zero=MUST_BE_ZERO,
        total=total,
        problems=sum(total[name] for name in MUST_BE_ZERO),
        waiting=total["waiting"],
        freshness=rows("freshness"),
        days=days,
        failed=failed,
        failed_objects=failed[0]["objects"] if failed else 0,
        rejected=rows("rejected"),
        duplicates=rows("duplicates"),
        conflicts=rows("conflicts", limit=ROWS),
        producers=rows("producers", limit=ROWS),
        other=rows("other", limit=ROWS),
        runs=rows("runs", limit=ROWS),
    )

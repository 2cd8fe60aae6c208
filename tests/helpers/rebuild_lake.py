"""The lake of the tests of rebuilding (half a year of loads, and one that came late), and what they
do with its tables."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.helpers.dbt_runs import run_dbt

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
LOADS, LINES, DAYS = 18, 3000, 10  # loads of so many lines, each of the next ten days
MARCH = "{start_date: 2025-03-01, end_date: 2025-03-31}"
LATE = 400  # lines that were uploaded last: half of them of January, half of July

CHECKSUM = """
select count() as n, toString(sum(cityHash64(toString(tuple(*))))) as hash
from {database:Identifier}.{table:Identifier}
where {condition}
"""


def line(number: int, time: datetime) -> str:
    """A statement: two of three are of videos, the third is of a page; three sections."""
    extensions = {"http://oli.cmu.edu/extensions/section_id": number % 3 + 1}
    video = number % 3 != 1
    verb = (
        "https://w3id.org/xapi/video/verbs/played"
        if video
        else ("http://id.tincanapi.com/verb/viewed")
    )
    page = {"id": "page", "definition": {"type": "http://oli.cmu.edu/extensions/types/page"}}
    return json.dumps(
        {
            "actor": {"account": {"name": number % 50, "homePage": "https://torus"}},
            "verb": {"id": verb},
            "object": {"id": f"https://videos/{number % 7}"} if video else page,
            "context": {"extensions": extensions},
            "timestamp": time.isoformat().replace("+00:00", "Z"),
        }
    )


def files() -> dict[str, str]:
    """The lake: a file for each load; the last one is late."""
    lake = {}
    step = timedelta(days=DAYS) / LINES
    for load in range(LOADS):
        first = BEGIN + load * timedelta(days=DAYS)
        lake[f"{load:02}/a.jsonl"] = "\n".join(
            line(number, first + number * step) for number in range(LINES)
        )
    january, july = BEGIN + timedelta(days=3, seconds=1), datetime(2025, 7, 20, tzinfo=UTC)
    late = [line(n, (january if n % 2 else july) + n * timedelta(seconds=7)) for n in range(LATE)]
    lake["99/late.jsonl"] = "\n".join(late)
    return lake


def checksum(pipeline, table="video_events", condition="1") -> tuple[int, str]:
    """Rows of a table that meet a condition, and a hash of all their columns."""
    sql = CHECKSUM.replace("{condition}", condition)
    row = pipeline.warehouse.query(sql, table=table)[0]
    return row["n"], row["hash"]


def rebuild(
    folder: Path, variables: str = MARCH, select: str = "video_events", fails: bool = False
) -> str:
    """Rebuild a range and return what dbt printed."""
    return run_dbt(
        "run", "--select", *select.split(), "--vars", variables, folder=folder, fails=fails
    )

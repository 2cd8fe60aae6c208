"""The whole pipeline on sample data, on this machine alone: what `make demo` shows."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from loader import schema
from loader.errors import PermanentError
from loader.ledger import Outcome
from loader.load import load
from loader.objects import S3Object
from loader.sample import SamplePlan, objects
from loader.settings import Settings
from loader.warehouse import Warehouse, open_warehouse

BUCKET = "xapi-demo"
PROJECT = Path(__file__).resolve().parent.parent

REJECTED = """
select reason, count() as lines, any(source_line) as line, any(source_path) as object
from {database:Identifier}.rejected_statements
group by reason
order by lines desc, reason
"""

BALANCE = """
select family, lines, events, duplicates as repeats, rejected, other
from {database:Identifier}.ops_statement_balance
where lines > 0
order by family = 'all', lines desc
"""

EVENTS = """
select formatDateTime(timestamp, '%Y-%m') as month, verb, count() as events
from {database:Identifier}.video_events
group by month, verb
order by month, verb
"""

SECTION_QUERY = """
select
    video_title as video,
    uniqExact(user_id) as learners,
    countIf(verb = 'played') as plays,
    countIf(verb = 'completed') as completed,
    round(avgIf(video_time / video_length, verb = 'paused'), 2) as paused_at
from {database:Identifier}.video_events
where section_id = {section:UInt64}
    and timestamp >= {first:String} and timestamp < {last:String}
group by video
order by plays desc
limit 5
"""

TOTALS = """
select
    (select count() from {database:Identifier}.video_events) as events,
    (select min(section_id) from {database:Identifier}.video_events where section_id > 0) as section
"""


def run(console: Console) -> None:
    """Write sample objects to a local S3, load them, build the models and print what is there.

    A second run finds everything loaded and applied, and says so.

    Raises:
        PermanentError: the target is no embedded database, or dbt failed.
    """
    settings = _embedded_settings()
    with _local_s3() as endpoint:
        os.environ |= {
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_DEFAULT_REGION": "us-east-1",
            "XAPI_ALLOWED_BUCKETS": BUCKET,
        }
        settings = Settings.from_env()
        console.print(
            f"1. Local S3 at {endpoint}, ClickHouse in this process: {settings.chdb_path}"
        )
        items = _write_sample(console)
        with closing(open_warehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
            outcomes = [item for batch in load(warehouse, settings, items) for item in batch]
    _print_load(console, outcomes)
    _build(console)
    with closing(open_warehouse(settings)) as warehouse:
        _print_tables(console, warehouse)
    changed = any(outcome.outcome == "committed" for outcome in outcomes)
    console.print(_NEXT if changed else f"Nothing was new, so nothing changed.\n{_NEXT}")


_NEXT = """
Where to go next
  xapi-elt status                              what is loaded, what waits, what was rejected
  xapi-elt load FILE...                        your own statements (.jsonl, .jsonl.gz)
  dbt build --project-dir dbt_project          bring the tables up to date
  docs/models.md                               the tables, with example queries
(activate the environment first: . .venv/bin/activate)"""


def _embedded_settings() -> Settings:
    settings = Settings.from_env()
    if settings.target != "embedded":
        raise PermanentError("the demo runs on the embedded engine only; unset XAPI_TARGET")
    return settings


@contextmanager
def _local_s3() -> Iterator[str]:
    """An S3 endpoint in this process, on 127.0.0.1; its objects last as long as it does."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def _write_sample(console: Console) -> list[S3Object]:
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    sample = list(objects(SamplePlan()))
    for item in track(
        sample, "   writing", console=console, transient=True, disable=not console.is_terminal
    ):
        client.put_object(Bucket=BUCKET, Key=item.key, Body=item.body)
    size = sum(len(item.body) for item in sample)
    console.print(f"2. Wrote {len(sample)} objects ({size / 1e6:.1f} MB) to s3://{BUCKET}")
    return [S3Object(BUCKET, item.key) for item in sample]


def _print_load(console: Console, outcomes: list[Outcome]) -> None:
    counts = Counter(outcome.outcome for outcome in outcomes)
    rows = sum(outcome.rows for outcome in outcomes)
    loads = len({outcome.load_id for outcome in outcomes if outcome.load_id})
    if counts["committed"]:
        console.print(
            f"3. ClickHouse read {counts['committed']} objects in {loads} INSERT: {rows:,} lines"
        )
    if counts["skipped"]:
        console.print(f"3. {counts['skipped']} objects were loaded before and were skipped")


def _build(console: Console) -> None:
    command = [str(Path(sys.executable).with_name("dbt")), "build", "--project-dir", "dbt_project"]
    # The unit tests say nothing about these data.
    command += ["--exclude-resource-type", "unit_test"]
    console.print(f"4. dbt {' '.join(command[1:])}")
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise PermanentError(f"dbt failed; its last words: {done.stdout[-2000:]}")
    summary = [line for line in done.stdout.splitlines() if "Done." in line]
    console.print(f"   {summary[-1].partition('Done. ')[2]}")


def _print_tables(console: Console, warehouse: Warehouse) -> None:
    totals = warehouse.query(TOTALS)[0]
    _print(console, "Every line accounted for", warehouse.query(BALANCE))
    _print(console, "Rejected lines: kept, with the reason", warehouse.query(REJECTED))
    _print(console, "Video events by verb and month", _by_month(warehouse.query(EVENTS)))
    values = {"section": totals["section"], "first": "2025-09-01", "last": "2025-10-01"}
    answer = warehouse.query(SECTION_QUERY, **values)
    _print(console, f"Section {totals['section']}, September: its videos", answer)
    read = warehouse.query(f"explain estimate {SECTION_QUERY}", **values)[0]
    console.print(
        f"   To answer, ClickHouse reads {read['rows']:,} of {totals['events']:,} events: "
        "the tables are partitioned by month and ordered by section."
    )


def _by_month(rows: list[dict]) -> list[dict]:
    """One row per verb, one column per month."""
    counts = {(row["verb"], row["month"]): row["events"] for row in rows}
    months = sorted({row["month"] for row in rows})
    verbs = sorted(
        {row["verb"] for row in rows}, key=lambda verb: -counts.get((verb, months[0]), 0)
    )
    return [
        {"verb": verb} | {month: counts.get((verb, month), 0) for month in months} for verb in verbs
    ]


def _print(console: Console, title: str, rows: list[dict]) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        right = isinstance(rows[0][name], int | float)
        table.add_column(name.replace("_", " "), justify="right" if right else "left")
    for row in rows:
        table.add_row(
            *(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values())
        )
    console.print(table)

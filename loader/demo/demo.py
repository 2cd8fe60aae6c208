"""Run the whole pipeline on sample data, on this machine only: `make demo`."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.progress import track

from loader.aws.client import s3_client
from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.warehouse import Warehouse
from loader.dbt_run import dbt_command, dbt_environment
from loader.demo.sample import SamplePlan, objects
from loader.errors import PermanentError
from loader.load import load
from loader.objects import S3Object
from loader.outcomes import Summary
from loader.report.writing import write
from loader.settings import Settings

BUCKET = "xapi-demo"

# Prints rows of equal columns under a title.
PrintTable = Callable[[str, list[dict[str, Any]]], None]

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


def run(console: Console, print_table: PrintTable) -> None:
    """Write sample objects to a local S3, load them, build the models, print tables, write pages.

    A second run skips everything, because it is already loaded, and says so.

    Args:
        console: prints the steps.
        print_table: prints rows under a title.

    Raises:
        PermanentError: the target is not the embedded engine, or dbt failed.
    """
    settings = demo_settings()
    with _local_s3() as endpoint:
        os.environ |= {
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        settings = replace(settings, s3_endpoint=endpoint, allowed_buckets=(BUCKET,))
        console.print(
            f"1. Local S3 at {endpoint}, ClickHouse in this process: {settings.chdb_path}"
        )
        items = _write_sample(console, settings)
        with closing(open_warehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
            summary = Summary()
            for outcomes in load(warehouse, settings, items):
                summary.add(outcomes)
    _print_load(console, summary)
    _build(console, settings)
    with closing(open_warehouse(settings)) as warehouse:
        _print_tables(console, print_table, warehouse)
    written = write(settings, f"{settings.chdb_path}-report")
    console.print(f"5. {len(written.pages)} pages to look at; open {written.index} in a browser")
    if not summary.committed:
        console.print("There were no new objects, so nothing changed.")
    console.print(*_NEXT.format(path=settings.chdb_path).split("\n"), sep="\n")


_NEXT = """
Next steps (first activate the environment: . .venv/bin/activate)
  xapi-elt load FILE... && dbt run      load your own statements, into a separate database
  docs/models.md                        read about the tables, with example queries
  XAPI_CHDB_PATH={path} xapi-elt status
                                        show what the demo loaded"""


def demo_settings() -> Settings:
    """The settings of the demo, with a separate database, so that it does not mix with other data.

    Raises:
        PermanentError: the target is not the embedded engine.
    """
    settings = Settings.from_env()
    if settings.target != "embedded":
        raise PermanentError("the demo runs on the embedded engine only; unset XAPI_TARGET")
    return replace(settings, chdb_path=f"{settings.chdb_path}-demo")


@contextmanager
def _local_s3() -> Iterator[str]:
    """Run an S3 endpoint in this process, on 127.0.0.1; its objects are in memory."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def _write_sample(console: Console, settings: Settings) -> list[S3Object]:
    client = s3_client(settings)
    client.create_bucket(Bucket=BUCKET)
    sample = list(objects(SamplePlan()))
    for item in track(
        sample, "   writing", console=console, transient=True, disable=not console.is_terminal
    ):
        client.put_object(Bucket=BUCKET, Key=item.key, Body=item.body)
    size = sum(len(item.body) for item in sample)
    console.print(f"2. Wrote {len(sample)} objects ({size / 1e6:.1f} MB) to s3://{BUCKET}")
    return [S3Object(BUCKET, item.key) for item in sample]


def _print_load(console: Console, summary: Summary) -> None:
    if summary.committed:
        console.print(
            f"3. ClickHouse read {summary.committed} objects in {summary.inserts} INSERT: "
            f"{summary.rows:,} lines"
        )
    if skipped := summary.counts["skipped"]:
        console.print(f"3. {skipped} objects were loaded before and were skipped")


def _build(console: Console, settings: Settings) -> None:
    # The unit tests do not depend on the data, so they are left out.
    arguments = ("build", "--exclude-resource-type", "unit_test")
    console.print(f"4. dbt {' '.join(arguments)}")
    done = subprocess.run(
        dbt_command(settings, *arguments),
        env=dbt_environment(settings),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PermanentError(f"dbt failed; the end of its output: {done.stdout[-2000:]}")
    summary = [line for line in done.stdout.splitlines() if "Done." in line]
    console.print(f"   {summary[-1].partition('Done. ')[2]}")


def _print_tables(console: Console, print_table: PrintTable, warehouse: Warehouse) -> None:
    totals = warehouse.query(TOTALS)[0]
    print_table("Every line accounted for", warehouse.query(BALANCE))
    print_table("Rejected lines: kept, with the reason", warehouse.query(REJECTED))
    print_table("Video events by verb and month", _by_month(warehouse.query(EVENTS)))
    values = {"section": totals["section"], "first": "2025-09-01", "last": "2025-10-01"}
    answer = warehouse.query(SECTION_QUERY, **values)
    print_table(f"Section {totals['section']}, September: its videos", answer)
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

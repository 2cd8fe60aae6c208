"""Commands around the Lambda: send statements, invoke the handler, consume its queue."""

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from loader.aws.sqs import Queue
from loader.cli.app import AsJson, app
from loader.cli.output import console, errors, print_json
from loader.cli.watched import HangSeconds, MemoryMb, MetricsPort, log_of, run_watched, sweep_with
from loader.dbt_run import Transform
from loader.demo import producer
from loader.errors import SettingsError
from loader.events.trigger import from_settings
from loader.events.worker import Worker
from loader.log import Log
from loader.report.keeping import Keeper
from loader.settings import Settings
from loader.supervisor import Limits, Link
from loader.variables import queue_address


@app.command(epilog="Example: xapi-elt send statements.jsonl --section-id 2161")
def send(
    files: Annotated[list[Path], typer.Argument(help="Files of statements, .jsonl or .jsonl.gz.")],
    section_id: Annotated[int, typer.Option(min=0, help="The course section; 0 for none.")] = 0,
    category: Annotated[
        str, typer.Option(help="The kind of statements, part of the key.")
    ] = "video",
    as_json: AsJson = False,
) -> None:
    """Send files of statements as a producer would, each as one bundle.

    XAPI_ETL_MODE says where to: direct, into ClickHouse; lambda, to the deployed function, in the
    event; s3, into the bucket, from which the function loads it.
    """
    settings = Settings.from_env()
    sent = []
    for item in producer.send(files, settings, section_id, category):
        sent.append(item)
        if item.error:
            errors.print(f"not sent: {item.file}: {item.error}")
        elif not as_json:
            rows = "" if item.rows is None else f", {item.rows:,} lines"
            console.print(f"sent ({settings.etl_mode}): {item.file} -> {item.place}{rows}")
    if as_json:
        print_json({"mode": settings.etl_mode, "sent": [vars(item) for item in sent]})
    if any(item.error for item in sent):
        raise typer.Exit(1)


@app.command(epilog="Example: xapi-elt invoke tests/events/sqs_direct.json")
def invoke(
    event: Annotated[Path, typer.Argument(help="A JSON file; tests/events has one of each kind.")],
    function: Annotated[
        str, typer.Option(help="Invoke this deployed function instead of running its code here.")
    ] = "",
) -> None:
    """Handle an event as the Lambda does, here or in AWS, and print the answer as JSON."""
    try:
        content = json.loads(event.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{event} is not a JSON file: {error}") from None
    if function:
        answer = producer.invoke(producer.lambda_client(), function, content)
    else:
        settings = Settings.from_env()
        log = Log(settings.log_level, sys.stderr, human=True)
        with closing(from_settings(settings, log=log)) as trigger:
            answer = trigger.answer(content)
    print_json(answer)
    if _failed(answer):
        raise typer.Exit(1)


@app.command(epilog="Example: xapi-elt worker --transform")
def worker(
    queue_url: Annotated[str, typer.Option(help="The queue; default: XAPI_SQS_QUEUE_URL.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Stop when the queue is empty.")] = False,
    transform: Annotated[
        bool,
        typer.Option("--transform", help="Run dbt after loads, to update the tables."),
    ] = False,
    report: Annotated[
        str,
        typer.Option(
            help="After dbt, update the pages of changed sections in a folder or s3://bucket/prefix."
        ),
    ] = "",
    batch_size: Annotated[
        int, typer.Option(min=1, max=1000, help="Messages in a batch, which one INSERT loads.")
    ] = 100,
    window: Annotated[
        float, typer.Option(min=0, max=60, help="Seconds to wait for a full batch.")
    ] = 5,
    metrics_port: MetricsPort = 0,
    hang_seconds: HangSeconds = Limits.silent_seconds,
    memory_mb: MemoryMb = Limits.memory_mb,
    as_json: AsJson = False,
) -> None:
    """Load the objects of a queue's messages, without Lambda; SIGTERM stops it after a batch.

    With --transform, loads and dbt run in a child process, which is replaced if it crashes, hangs
    or has grown too large.
    """
    url = queue_address("--queue-url", queue_url) or Settings.from_env().queue_url
    if not url:
        raise SettingsError("no queue: set XAPI_SQS_QUEUE_URL or use --queue-url")
    if report and not transform:
        raise SettingsError("--report updates pages after dbt; use it with --transform")
    options = WorkerOptions(url, once, transform, report, batch_size, window, as_json)
    limits = Limits(hang_seconds, memory_mb)
    code = run_watched(
        work_queue,
        options,
        log_of(as_json),
        limits,
        metrics_port,
        endless=not once,
        in_child=transform,
    )
    if code:
        raise typer.Exit(code)


@dataclass(frozen=True)
class WorkerOptions:
    """What `work_queue` has to do: the options of the command."""

    queue_url: str
    once: bool
    transform: bool
    report: str
    batch_size: int
    window: float
    as_json: bool


def work_queue(link: Link, options: WorkerOptions) -> int | None:
    """Work until the link's `stop` is set, or until the queue is empty.

    Args:
        link: where progress and numbers are reported.
        options: what to do.

    Returns:
        The exit code; None if a new process has to continue.
    """
    settings = Settings.from_env()
    log = log_of(options.as_json)
    after = sweep_with(settings, log)
    transform = Transform(settings, log, link, after=after) if options.transform else None
    consumer = Worker(
        Queue(options.queue_url),
        from_settings(settings, log=log),
        log,
        batch_size=options.batch_size,
        window=options.window,
        transform=transform,
        report=Keeper(settings, options.report, log).update if options.report else None,
        release=settings.target == "embedded",
        link=link,
    )
    totals = consumer.run(options.once)
    if not options.once:
        return None if transform and transform.is_worn and not link.stop.is_set() else 0
    return int(bool(totals.failed or totals.failed_transforms or totals.failed_reports))


def _failed(answer: Any) -> bool:
    """Whether an answer reports a failure."""
    return isinstance(answer, dict) and bool(
        answer.get("batchItemFailures")
        or answer.get("failures")
        or answer.get("error")
        or answer.get("status") == "fail"
    )

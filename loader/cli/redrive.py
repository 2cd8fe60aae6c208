"""The command around dead letters: redrive."""

import sys
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from loader.aws.password import with_password
from loader.aws.sqs import Queue
from loader.cli.app import AsJson, app
from loader.cli.output import confirm, console, counting, errors, print_json, print_table
from loader.clickhouse.connect import open_warehouse
from loader.errors import RetryableError, SettingsError
from loader.events import redrive as dead_letters
from loader.settings import Settings
from loader.variables import queue_address

# Messages that are looked at for their reasons.
LOOK_AT = 500


@app.command(epilog="Example: xapi-elt redrive --max 100 --yes")
def redrive(
    status: Annotated[
        bool,
        typer.Option("--status", help="Only show both queues, and why messages are dead letters."),
    ] = False,
    most: Annotated[
        int | None,
        typer.Option("--max", min=1, metavar="N", help="Move at most N messages; default: all."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be moved; move nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before messages are moved.")
    ] = False,
    queue_url: Annotated[str, typer.Option(help="The queue; default: XAPI_SQS_QUEUE_URL.")] = "",
    as_json: AsJson = False,
) -> None:
    """Move the messages of the dead-letter queue back into the queue, after a repair.

    Shows both queues first, and the ledger's latest error for the objects of the messages. A
    message is sent before it is deleted, so an interruption loses none; what was loaded in the
    meantime is skipped.
    """
    settings = Settings.from_env()
    url = queue_address("--queue-url", queue_url) or settings.queue_url
    if not url:
        raise SettingsError("no queue: set XAPI_SQS_QUEUE_URL or use --queue-url")
    moves = not (status or dry_run)
    if moves and not yes and (as_json or not sys.stdin.isatty()):
        # Before the queues are looked at, which takes a while.
        raise SettingsError("redrive moves messages; accepted: --yes, --dry-run or --status")
    queue = Queue(url)
    dead = queue.dead_letters()
    found = _inspected(settings, queue, dead, moves)
    count = min(found.dead, most or found.dead)
    if not as_json:
        _print(found)
    moved = 0
    if moves and count:
        confirm(f"Move {count:,} messages back into the queue?", yes, as_json)
        with counting("moving messages") as line:
            moved = dead_letters.redrive(
                queue, dead, count, lambda done: line.update(f"moved {done:,} of {count:,}")
            )
    if as_json:
        plan = {} if status else {"to_move": count} if dry_run else {"moved": moved}
        print_json({"queue": url, "dead_letter_queue": dead.url} | asdict(found) | plan)
    elif dry_run:
        console.print(f"would move {count:,} messages; without --dry-run they are moved")
    elif moves:
        console.print(f"moved {moved:,} messages back into the queue")


def _inspected(
    settings: Settings, queue: Queue, dead: Queue, moves: bool
) -> dead_letters.DeadLetters:
    """Both queues; without reasons if ClickHouse cannot be reached and nothing is to be moved."""
    with counting("looking at dead letters"):
        try:
            with closing(open_warehouse(with_password(settings), wait=5)) as warehouse:
                return dead_letters.inspect(queue, dead, warehouse, LOOK_AT)
        except RetryableError as error:
            if moves:
                raise
            errors.print(f"reasons unknown: {error}")
        return dead_letters.inspect(queue, dead, None, LOOK_AT)


def _print(found: dead_letters.DeadLetters) -> None:
    console.print(f"queue: {found.waiting:,} waiting, {found.in_flight:,} in flight")
    console.print(f"dead-letter queue: {found.dead:,} dead letters")
    print_table(f"Reasons of {found.seen:,} of them", found.reasons)

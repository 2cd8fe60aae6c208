"""The command that runs dbt for new loads: transform."""

from dataclasses import dataclass
from typing import Annotated

import typer

from loader.cli.app import AsJson, app
from loader.cli.watched import HangSeconds, MemoryMb, MetricsPort, log_of, run_watched, sweep_with
from loader.dbt_run import Transform
from loader.settings import Settings
from loader.supervisor import Limits, Link


@app.command(epilog="Example: xapi-elt transform --watch")
def transform(
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: keep dbt parsed, run it after new loads.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, help="With --watch: seconds between two looks at the ledger.")
    ] = 10,
    metrics_port: MetricsPort = 0,
    hang_seconds: HangSeconds = Limits.silent_seconds,
    memory_mb: MemoryMb = Limits.memory_mb,
    as_json: AsJson = False,
) -> None:
    """Run dbt if the ledger has loads that the tables do not have; else do nothing.

    dbt runs in a child process, which is replaced if it crashes, hangs or has grown too large. With
    --json each line is an event; `checked` or `transformed` ends it if all is done.
    """
    code = run_watched(
        keep_up,
        TransformOptions(watch, interval, as_json),
        log_of(as_json),
        Limits(hang_seconds, memory_mb),
        metrics_port,
        endless=watch,
        in_child=True,
    )
    if code:
        raise typer.Exit(code)


@dataclass(frozen=True)
class TransformOptions:
    """What `keep_up` has to do: the options of the command."""

    watch: bool
    interval: float
    as_json: bool


def keep_up(link: Link, options: TransformOptions) -> int | None:
    """Run dbt for what is new: once, or until the link's `stop` is set.

    Args:
        link: where progress and numbers are reported.
        options: what to do.

    Returns:
        The exit code; None if a new process has to continue.
    """
    log = log_of(options.as_json)
    settings = Settings.from_env()
    transform = Transform(settings, log, link, after=sweep_with(settings, log))
    if not options.watch:
        outcome = transform.update()
        if outcome == "nothing":
            log("INFO", "checked", tables="all hold what the ledger has")
        return int(outcome == "failed")
    log("INFO", "started", interval_seconds=options.interval)
    while not link.stop.is_set():
        link.alive("idle")
        if transform.may_run:
            transform.update()
        if transform.is_worn:
            return None
        link.stop.wait(options.interval)
    log("INFO", "stopped")
    return 0

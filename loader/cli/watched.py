"""What worker and transform share: their limits, their log, the supervisor and the metrics."""

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Any

import typer

from loader.clickhouse.connect import open_warehouse
from loader.dbt_run import dbt_settings
from loader.errors import LoaderError
from loader.log import Log
from loader.metrics import board_for
from loader.privacy.erase import overwrite_what_came_again
from loader.settings import Settings
from loader.supervisor import Limits, LocalLink, Supervisor, Work

MetricsPort = Annotated[
    int,
    typer.Option(min=0, max=65535, help="Serve /metrics and /healthz on this port; 0: do not."),
]
HangSeconds = Annotated[
    float,
    typer.Option(
        min=1,
        help="Replace the child after so many seconds without progress.",
    ),
]
MemoryMb = Annotated[
    int,
    typer.Option(min=1, help="Replace the child if it has more memory (MiB) after a run of dbt."),
]


def log_of(as_json: bool) -> Log:
    """The log: JSON lines on standard output, or text for people on standard error.

    Args:
        as_json: which of the two.
    """
    level = Settings.from_env().log_level
    return Log(level, sys.stdout if as_json else sys.stderr, human=not as_json)


def sweep_with(settings: Settings, log: Log) -> Callable[[], None]:
    """What follows a run of dbt: overwrite raw lines of erased learners that came again.

    Args:
        settings: which ClickHouse.
        log: writes log events.
    """

    def sweep() -> None:
        try:
            with closing(open_warehouse(dbt_settings(settings))) as warehouse:
                lines = overwrite_what_came_again(warehouse, settings)
        except LoaderError as error:
            # The tables are without them; `erase --pending` overwrites them, too.
            log("WARNING", "erased_lines_wait", error=str(error), remedy="xapi-elt erase --pending")
        else:
            if lines:
                log("INFO", "erased_lines_overwritten", lines=lines)

    return sweep


def run_watched(
    work: Work,
    options: Any,
    log: Log,
    limits: Limits,
    metrics_port: int,
    *,
    endless: bool,
    in_child: bool,
) -> int:
    """Do work until it ends or SIGTERM or SIGINT comes, and serve its metrics.

    Args:
        work: what to do (see `Supervisor`).
        options: its options.
        log: writes log events.
        limits: when a child is replaced.
        metrics_port: port of the metrics; 0 for none.
        endless: whether it has no end of its own.
        in_child: whether it runs in a child, because dbt runs in it.

    Returns:
        The exit code.
    """
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    with board_for(metrics_port, limits.silent_seconds) as on_message:
        if not in_child:
            return work(LocalLink(on_message, stop, limits), options) or 0
        supervisor = Supervisor(
            work, options, log, limits, stop=stop, endless=endless, on_message=on_message
        )
        return supervisor.run()

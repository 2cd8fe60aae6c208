"""Run work in a child process, and replace the child when it dies, hangs or has grown too large."""

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from loader.errors import LoaderError, PermanentError, SettingsError, describe
from loader.log import Log, escaped

# Seconds that dbt has to end when the supervisor is stopped. The next run completes it.
GRACE = 10

# Longest pause in seconds before a lost child is replaced.
LONGEST_PAUSE = 60

# Work that has an end is given up after this many lost children.
MOST_LOST = 3


@dataclass(frozen=True)
class Limits:
    """When a child is replaced.

    Attributes:
        silent_seconds: seconds without progress: no statement of dbt and no batch ended.
        memory_mb: memory in MiB after a run of dbt.
        runs: number of dbt runs.
    """

    silent_seconds: float = 1800
    memory_mb: int = 2000
    runs: int = 200


class Link(Protocol):
    """Where work reports its progress and its numbers.

    Attributes:
        stop: when set, the work has to end.
        limits: when the work has to end for a new child to continue it.
    """

    stop: threading.Event
    limits: Limits

    def alive(self, phase: str) -> None:
        """Report progress, and what is being done: idle, loading or transforming."""

    def report(self, kind: str, **about: Any) -> None:
        """Report something that happened, with its numbers."""


# Does the work. Returns an exit code; None if a new child has to continue.
Work = Callable[[Link, Any], int | None]


class LocalLink:
    """The link of work that runs in this process, without a supervisor.

    Args:
        on_message: receives what the work reports.
        stop: see `Link`; a new one if left out.
        limits: see `Link`.
    """

    def __init__(
        self,
        on_message: Callable[..., None] = lambda kind, **about: None,
        stop: threading.Event | None = None,
        limits: Limits = Limits(),
    ):
        self.stop = stop or threading.Event()
        self.limits = limits
        self._on_message = on_message

    def alive(self, phase: str) -> None:
        """See `Link`."""
        self._on_message("alive", phase=phase)

    def report(self, kind: str, **about: Any) -> None:
        """See `Link`."""
        self._on_message(kind, **about)


class ChildLink:
    """The child's end of the connection to its supervisor; work stops if the supervisor dies."""

    def __init__(self, connection: Connection, limits: Limits):
        self.stop = threading.Event()
        self.limits = limits
        self._connection = connection
        self._lock = threading.Lock()
        self._reported = ("", 0.0)
        threading.Thread(target=self._listen, daemon=True).start()

    def alive(self, phase: str) -> None:
        """See `Link`. dbt reports each statement, of which one per second is enough."""
        before, at = self._reported
        now = time.monotonic()
        if phase != before or now - at >= 1:
            self._reported = (phase, now)
            self.report("alive", phase=phase)

    def report(self, kind: str, **about: Any) -> None:
        """See `Link`."""
        with self._lock, contextlib.suppress(OSError):  # `stop` is set if the supervisor is gone
            self._connection.send((kind, about))

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            self._connection.recv()
        self.stop.set()


def memory_mb() -> float:
    """Memory of this process in MiB; on other systems than Linux the most that it had."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Supervisor:
    """Keeps one child at work. It opens no database itself, so nothing of dbt or of the engine can
    end it.

    Args:
        work: what the child does; a function of a module.
        options: its second argument, which is pickled.
        log: writes log events.
        limits: when a child is replaced.
        stop: when set, the child is stopped and the supervisor ends.
        endless: whether the work has no end; other work is given up after MOST_LOST children.
        on_message: receives what the child reports.
    """

    def __init__(
        self,
        work: Work,
        options: Any,
        log: Log,
        limits: Limits,
        *,
        stop: threading.Event,
        endless: bool,
        on_message: Callable[..., None] = lambda kind, **about: None,
    ):
        self._work = work
        self._options = options
        self._log = log
        self._limits = limits
        self._stop = stop
        self._endless = endless
        self._on_message = on_message

    def run(self) -> int:
        """Work until the work ends or `stop` is set.

        Returns:
            The exit code.

        Raises:
            LoaderError: the work ended with this error.
        """
        lost, pause = 0, 1.0
        while True:
            started = time.monotonic()
            child = _Child(self._work, self._options, self._limits, self._on_message)
            self._log("INFO", "child_started", pid=child.pid)
            reason = child.watch(self._stop)
            if child.code is not None:
                if child.error:
                    raise (SettingsError if child.code == 2 else PermanentError)(child.error)
                return child.code
            if child.is_worn and not self._stop.is_set():
                self._log("INFO", "child_replaced", memory_mb=child.memory)
                continue
            if self._stop.is_set():
                return 0
            lost, pause = (1, 1.0) if time.monotonic() - started > 600 else (lost + 1, pause)
            self._log("ERROR", "child_lost", reason=reason, phase=child.phase, lost=lost)
            self._on_message("lost")
            if lost == MOST_LOST and not self._endless:
                return 1
            self._stop.wait(pause)
            if self._stop.is_set():
                return 0
            pause = min(pause * 2, LONGEST_PAUSE)


class _Child:
    """A child process and what it has reported."""

    def __init__(self, work: Work, options: Any, limits: Limits, on_message: Callable[..., None]):
        self.phase = "starting"
        self.code: int | None = None
        self.error = ""
        self.is_worn = False
        self.memory = 0
        self._limits = limits
        self._on_message = on_message
        # Not forked: the supervisor may have threads, and the child starts without its memory.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_run, args=(theirs, work, options, limits), daemon=False
        )
        self._process.start()
        theirs.close()
        self.pid = self._process.pid

    def watch(self, stop: threading.Event) -> str:
        """Wait until the child has ended, or end it.

        Returns:
            Why it ended, if it did not say so itself.
        """
        latest, stopped_at, is_open = time.monotonic(), 0.0, True
        while True:
            ready = wait(
                [self._process.sentinel, *([self._connection] if is_open else [])], timeout=0.5
            )
            now = time.monotonic()
            if self._connection in ready:
                is_open, latest = self._receive(), now
                continue
            if self._process.sentinel in ready:
                self._process.join()
                return f"it ended with {_ending(self._process.exitcode)}"
            if self.code is not None or self.is_worn:
                if now - latest > GRACE:  # its threads keep it
                    return self._kill("it did not end")
            elif now - latest > self._limits.silent_seconds:
                return self._kill(f"no progress for {self._limits.silent_seconds:g} s")
            if stop.is_set():
                if not stopped_at:
                    stopped_at = now
                    with contextlib.suppress(OSError):
                        self._connection.send("stop")
                # A batch is finished; dbt is not, because the next run completes it.
                elif self.phase == "transforming" and now - stopped_at > GRACE:
                    return self._kill("stopped")

    def _receive(self) -> bool:
        """Take one message. Returns whether the child can still send."""
        try:
            kind, about = self._connection.recv()
        except (EOFError, OSError):
            return False
        if kind == "ended":
            self.code, self.error = about["code"], about["error"]
        elif kind == "worn":
            self.is_worn, self.memory = True, about["memory_mb"]
        elif kind == "alive":
            self.phase = about["phase"]
        self._on_message(kind, **about)
        return True

    def _kill(self, why: str) -> str:
        self._process.kill()
        self._process.join()
        return why


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _run(connection: Connection, work: Work, options: Any, limits: Limits) -> None:
    """The child. Only the supervisor stops it: signals of the terminal or of systemd reach both."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    link = ChildLink(connection, limits)
    try:
        code = work(link, options)
    except LoaderError as error:
        code = 2 if isinstance(error, SettingsError) else 1
        link.report("ended", code=code, error=str(error))
        return
    except Exception as error:
        # Without its text, which may quote a password.
        print(escaped(describe(error)), file=sys.stderr, flush=True)
        sys.exit(70)
    if code is None:
        link.report("worn", memory_mb=round(memory_mb()))
    else:
        link.report("ended", code=code, error="")

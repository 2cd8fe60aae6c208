"""Real processes of the real commands, started by forking a parent that has imported them.

Importing dbt takes three seconds, what it compiles for itself on the way to its first command two
more, and there are hundreds of runs. The parent imports `loader.cli.main` and dbt, has dbt parse
the project once and never opens a database; each command is a forked child, a process group of its
own, which is killed like any other. `python processes.py ROOT` is the parent.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Forks:
    """The parent of the commands of one project folder.

    Args:
        root: the project: this one, or a changed copy of it.
    """

    def __init__(self, root: Path = ROOT):
        self.root = root
        self._lock = threading.Lock()
        self._started: list[int] = []
        self._codes: dict[int, int] = {}
        self._told = threading.Condition()
        # Its own process group: an interrupt of the terminal is ours to handle. -P: the commands
        # find no modules of this folder. -W: semaphores of children, which end without tidying
        # up or are killed, are no news; Python takes them away in the end.
        self._parent = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore:resource_tracker", __file__, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, command: list[str], env: dict[str, str], folder: Path) -> "Process":
        """Start `xapi-elt` or `dbt` with arguments, in the project's folder.

        Args:
            command: 'xapi-elt' or 'dbt', then its arguments.
            env: its whole environment.
            folder: where its output goes.
        """
        handle, output = tempfile.mkstemp(suffix=f".{command[0]}.txt", dir=folder)
        os.close(handle)
        with self._lock:
            request = {"command": command, "env": env, "output": output}
            self._parent.stdin.write(json.dumps(request) + "\n")
            self._parent.stdin.flush()
            with self._told:
                # The first waits until the parent has imported and parsed.
                if not self._told.wait_for(lambda: self._started or self._gone(), 300):
                    raise TimeoutError(f"{command} was not started")
                if not self._started:
                    raise RuntimeError("the parent of the commands has ended")
                pid = self._started.pop()
        return Process(pid, command, Path(output), self)

    def code(self, pid: int, seconds: float) -> int | None:
        """The exit code of a child, waited for; None if it still runs. -9 after SIGKILL."""
        with self._told:
            self._told.wait_for(lambda: pid in self._codes or self._gone(), seconds)
            if pid not in self._codes and self._gone():
                raise RuntimeError("the parent of the commands has ended")
            return self._codes.get(pid)

    def close(self) -> None:
        """End the parent; it takes its children with it."""
        self._parent.stdin.close()
        try:
            self._parent.wait(10)
        except subprocess.TimeoutExpired:
            self._parent.kill()
            self._parent.wait()

    def _gone(self) -> bool:
        return self._parent.poll() is not None

    def _listen(self) -> None:
        for line in self._parent.stdout:
            message = json.loads(line)
            with self._told:
                if "started" in message:
                    # Process ids come again: what an earlier one ended with is not its code.
                    self._codes.pop(message["started"], None)
                    self._started.append(message["started"])
                else:
                    self._codes[message["ended"]] = message["code"]
                self._told.notify_all()
        with self._told:
            self._told.notify_all()


class Process:
    """A command that runs, or has run."""

    def __init__(self, pid: int, command: list[str], output: Path, forks: Forks):
        self.pid = pid
        self.command = command
        self.started = time.monotonic()
        self._output = output
        self._forks = forks

    @property
    def output(self) -> str:
        """What it printed so far, errors included."""
        return self._output.read_text(errors="replace")

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._forks.code(self.pid, 0)

    def wait(self, seconds: float = 300) -> int:
        """Wait for its end; past the time it is killed.

        Raises:
            TimeoutError: it did not end in time.
        """
        code = self._forks.code(self.pid, seconds)
        if code is None:
            self.kill()
            raise TimeoutError(f"{self.command} ran {seconds} s and was ended:\n{self.output}")
        return code

    def kill(self) -> bool:
        """SIGKILL to its process group. Returns whether it was still running."""
        if self.poll() is not None:
            return False  # another process may have its id by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._forks.code(self.pid, 30) == -signal.SIGKILL


# The parent ------------------------------------------------------------------------------------


def serve(root: Path) -> None:
    """Fork a child for each request on standard input and report each that ends, until standard
    input is closed."""
    sys.path.insert(0, str(root))
    os.chdir(root)
    import dbt.cli.main

    import loader.cli.main

    if Path(loader.__file__).parents[1] != root.resolve():
        raise ImportError(f"loader is {loader.__file__}, not that of {root}")
    _warm_up(dbt.cli.main.dbtRunner())
    commands = {"xapi-elt": loader.cli.main.main, "dbt": dbt.cli.main.cli}
    children: set[int] = set()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 512)
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.remove(pid)
                _tell(ended=pid, code=os.waitstatus_to_exitcode(status))
        if 0 not in ready:
            continue
        read = os.read(0, 1 << 20)
        if not read:
            break
        *lines, waiting = (waiting + read).split(b"\n")
        for line in lines:
            children.add(_fork(json.loads(line), commands, (woken, wake)))
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _warm_up(runner) -> None:
    """Have dbt parse the project. (If that fails, the commands report it.) The static
    parser stays untouched: it has threads, which no fork takes along."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as null,
        contextlib.redirect_stdout(null),
    ):
        options = "--no-write-json --no-static-parser"
        runner.invoke(["parse", *options.split(), "--target-path", folder, "--log-path", folder])


def _fork(request: dict, commands: dict, pipes: tuple[int, int]) -> int:
    pid = os.fork()
    if pid:
        # Also here, so that the group exists when the caller learns of the child.
        with contextlib.suppress(PermissionError):
            os.setpgid(pid, pid)
        _tell(started=pid)
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for pipe in pipes:
            os.close(pipe)
        output = os.open(request["output"], os.O_WRONLY | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, to in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, to)
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = request["command"]
        code = _call(commands[sys.argv[0]])
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        # What the interpreter would do at its end belongs to the parent.
        os._exit(code)


def _call(command) -> int:
    try:
        command()
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
            return 1
        return int(ending.code or 0)
    return 0


def _tell(**message: int) -> None:
    sys.__stdout__.write(json.dumps(message) + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))

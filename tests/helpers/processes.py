"""Real processes of the real commands, started by forking a parent that has imported them.

Importing dbt and parsing the project takes dbt six seconds, and there are hundreds of runs. The
parent imports `loader.cli.main` and dbt, has dbt parse the project once for each kind of database
(`Parses`) and never opens a database; each command is a forked child, a process group of its own,
which is killed like any other. `python processes.py ROOT` is the parent.
"""

import atexit
import contextlib
import functools
import gc
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

import yaml


class Forks:
    """The parent of the commands of one project folder.

    Args:
        root: the project: this one, or a changed copy of it.
    """

    def __init__(self, root: Path):
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


@functools.cache
def shared_forks(root: Path) -> Forks:
    """The parent that all tests of this process share; it ends with the process."""
    forks = Forks(root)
    atexit.register(forks.close)
    return forks


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
    parses = Parses()
    parses.of({"command": ["dbt", "run", "--no-write-json"], "env": dict(os.environ)})
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
            request = json.loads(line)
            children.add(_fork(request, commands, (woken, wake), parses.of(request)))
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


class Parses:
    """What dbt parsed, for the commands that can use it: the manifest."""

    # A command with another option or variable parses for itself: it may change what is parsed.
    COMMANDS = ("run", "build", "test", "compile", "show")
    OPTIONS = (
        *("--select", "--exclude", "--exclude-resource-type", "--vars", "--full-refresh"),
        *(
            "--empty",
            "--threads",
            "--no-use-colors",
            "--no-write-json",
            "--target-path",
            "--log-path",
        ),
    )
    VARIABLES = (
        *("start_date", "end_date", "section_id"),
        *("slice_lines", "mart_slice_events", "mart_compare_hours"),
        *("lock_expires_seconds", "lock_wait_seconds"),
    )
    # The settings that a parse depends on: the adapter, and the names of databases and cluster.
    SETTINGS = ("XAPI_TARGET", "CLICKHOUSE_DATABASE", "CLICKHOUSE_CLUSTER")

    def __init__(self) -> None:
        self._manifests: dict[tuple[str | None, ...], object] = {}

    def of(self, request: dict) -> object | None:
        """The manifest for a command; None if it parses for itself."""
        command, env = request["command"], request["env"]
        if not self._is_known(command):
            return None
        key = tuple(env.get(name) for name in self.SETTINGS)
        if key not in self._manifests:
            self._manifests[key] = self._parse(env)
            # The children neither walk nor copy what is here already.
            gc.collect()
            gc.freeze()
        return self._manifests[key]

    def _is_known(self, command: list[str]) -> bool:
        if command[0] != "dbt" or command[1] not in self.COMMANDS:
            return False
        # A manifest that dbt did not parse is not written.
        if "--no-write-json" not in command:
            return False
        options = {word for word in command[2:] if word.startswith("--")}
        text = command[command.index("--vars") + 1] if "--vars" in command else "{}"
        return options <= {*self.OPTIONS} and {*yaml.safe_load(text)} <= {*self.VARIABLES}

    def _parse(self, env: dict[str, str]) -> object | None:
        """Have dbt parse the project, and compile its macros. (If that fails, the commands
        report it.) The static parser stays untouched: it has threads, which no fork takes along."""
        from dbt.cli.main import dbtRunner
        from dbt_common.clients.jinja import template_cache

        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(env)
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                open(os.devnull, "w") as null,
                contextlib.redirect_stdout(null),
            ):
                options = ["--no-write-json", "--no-static-parser"]
                options += ["--target-path", folder, "--log-path", folder]
                manifest = dbtRunner().invoke(["parse", *options]).result
        finally:
            os.environ.clear()
            os.environ.update(before)
        for macro in manifest.macros.values() if manifest else ():
            template_cache.get_node_template(macro)
        return manifest


def _fork(request: dict, commands: dict, pipes: tuple[int, int], manifest: object | None) -> int:
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
        command = commands[sys.argv[0]]
        code = _call(lambda: command(obj={"manifest": manifest}) if manifest else command())
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

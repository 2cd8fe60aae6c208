"""AWS Lambda's runtime API, small: hands events to the real runtime client and takes its answers.

python tests/e2e/runtime_api.py ZIP EVENT.json [--python PYTHON]     # times of one function
"""

import argparse
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.helpers.paths import ROOT

PYTHON = ROOT / ".venv-ministack" / "bin" / "python"
VERSION = "/2018-06-01/runtime"


@dataclass
class Answer:
    """What a function answered.

    Attributes:
        error: what it said instead, if it failed.
        seconds: from handing out the event to having the answer.
    """

    content: Any
    error: dict[str, Any] | None
    seconds: float


class Function:
    """A zip in a separate process, run by awslambdaric as Lambda runs it.

    Attributes:
        seconds_to_start: from starting the process to its asking for the first event: interpreter,
            runtime client and the import of the handler.
    """

    def __init__(self, package: Path, environment: dict[str, str], python: Path = PYTHON):
        self._package = package
        self._environment = environment
        self._python = python
        self._events: queue.Queue[tuple[str, bytes, float]] = queue.Queue()
        self._answers: queue.Queue[tuple[Any, dict | None]] = queue.Queue()
        self._asked = threading.Event()

    def __enter__(self) -> "Function":
        """Unpack and start it, and wait until it requests an event."""
        handler = type("Handler", (_Handler,), {"of": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self._folder = TemporaryDirectory(prefix="function-")
        with zipfile.ZipFile(self._package) as archive:
            archive.extractall(self._folder.name)
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._http.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "under-test",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_REGION": "us-east-1",
            "LAMBDA_TASK_ROOT": self._folder.name,
            # As in Lambda, where the code is read-only.
            "PYTHONDONTWRITEBYTECODE": "1",
            **self._environment,
        }
        self.log = Path(self._folder.name) / "log"
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [self._python, "-m", "awslambdaric", "handler.lambda_handler"],
            cwd=self._folder.name,
            env=environment,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )
        if not self._asked.wait(30):
            self._process.kill()
            raise RuntimeError(f"it never requested an event: {self.log.read_text()}")
        self.seconds_to_start = time.perf_counter() - started
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._http.shutdown()
        self._http.server_close()
        self._folder.cleanup()

    def invoke(self, event: Any, seconds: float = 20) -> Answer:
        """Hand out an event and wait for the answer."""
        started = time.perf_counter()
        deadline = time.time() + seconds
        self._events.put((f"request-{time.time_ns()}", json.dumps(event).encode(), deadline))
        content, error = self._answers.get(timeout=seconds + 10)
        return Answer(content, error, time.perf_counter() - started)


class _Handler(BaseHTTPRequestHandler):
    of: Function
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the function is ended at any moment
            super().handle()

    def do_GET(self) -> None:
        self.of._asked.set()
        request, body, deadline = self.of._events.get()
        self.send_response(200)
        for name, value in {
            "Lambda-Runtime-Aws-Request-Id": request,
            "Lambda-Runtime-Deadline-Ms": int(deadline * 1000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:0:function:under-test",
            "Content-Type": "application/json",
            "Content-Length": len(body),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")
        if self.path.endswith("/response"):
            self.of._answers.put((body, None))
        elif self.path.startswith(VERSION):
            self.of._answers.put((None, body))
            self.of._asked.set()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()


def bare(folder: Path) -> Path:
    """A zip with a handler that does nothing."""
    package = folder / "bare.zip"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("handler.py", "def lambda_handler(event, context):\n    return {}\n")
    return package


def measure(
    package: Path, environment: dict[str, str], event: Any, python: Path, times: int
) -> dict[str, float]:
    """Milliseconds, the middle of several runs: to start, of the first event, of later ones."""
    runs = []
    for _ in range(times):
        with Function(package, environment, python) as function:
            first = function.invoke(event)
            if first.error:
                raise RuntimeError(f"{first.error}\n{function.log.read_text()}")
            later = sorted(function.invoke(event).seconds for _ in range(5))[2]
            runs.append((function.seconds_to_start, first.seconds, later))
    middle = [sorted(column)[len(runs) // 2] * 1000 for column in zip(*runs, strict=True)]
    return dict(
        zip(("start", "first", "later"), (round(value, 1) for value in middle), strict=True)
    )


def main() -> None:
    """Measure a package beside a bare handler."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("event", type=Path)
    parser.add_argument("--python", type=Path, default=PYTHON)
    parser.add_argument("--times", type=int, default=9)
    options = parser.parse_args()
    names = ("XAPI_", "CLICKHOUSE_", "S3_XAPI_", "AWS_")
    environment = {k: v for k, v in os.environ.items() if k.startswith(names)}
    event = json.loads(options.event.read_text())
    with TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        for package in (bare(Path(folder)), options.package):
            found = measure(package, environment, event, options.python, options.times)
            print(f"{package.stat().st_size:>9,} bytes  {found}  {package.name}", file=sys.stderr)


if __name__ == "__main__":
    main()

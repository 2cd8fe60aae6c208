"""A local AWS for end-to-end tests: MiniStack as a separate process, on 127.0.0.1 only.

    with MiniStack() as aws:
        outputs = aws.deploy("ClickHouseHost=127.0.0.1", "ClickHousePassword=secret")
        aws.client("s3").put_object(Bucket=outputs["BucketName"], Key="section/1/a.jsonl", ...)

MiniStack pins its own botocore, so it lives in `.venv-ministack` (`make e2e` creates it).
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from tests.helpers.lambda_template import TEMPLATE
from tests.helpers.paths import ROOT

COMMAND = ROOT / ".venv-ministack" / "bin" / "ministack"
# ClickHouse signs for us-east-1 when the endpoint names no region, and from a bucket elsewhere
# it is sent on to amazonaws.com, by MiniStack as by AWS.
REGION = "us-east-1"


def wait_until(probe: Callable[[], Any], seconds: float = 20) -> Any:
    """Call `probe` until it returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{getattr(probe, '__name__', probe)}: nothing after {seconds} s")


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class MiniStack:
    """A running MiniStack; `environment` is added to its own and thus to the functions' one."""

    def __init__(self, environment: dict[str, str] | None = None, command: Path = COMMAND):
        """Remember how to start; the process starts on entering the `with` block."""
        self.command = command
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.added = environment or {}

    @property
    def environment(self) -> dict[str, str]:
        """What another process (a CLI, ClickHouse) needs to talk to this AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def __enter__(self) -> "MiniStack":
        """Start the process and wait until it answers."""
        if not self.command.exists():
            raise FileNotFoundError(f"{self.command}: run `make e2e`, which installs MiniStack")
        self.directory = tempfile.TemporaryDirectory(
            prefix="ministack-", ignore_cleanup_errors=True
        )
        # Functions inherit this environment: a nearly empty one shows what they really need.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": self.directory.name,
            "TMPDIR": self.directory.name,
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "GATEWAY_PORT": str(self.port),
            **self.added,
        }
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [self.command],
                env=environment,
                cwd=self.directory.name,
                stdout=log,
                stderr=log,
                start_new_session=True,  # its functions' processes are then one group with it
            )
        try:
            wait_until(self._answers)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the process, and with it the functions it started."""
        self._stop()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"MiniStack ended at its start:\n{self.log()}")
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _stop(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.directory.cleanup()

    @property
    def log_path(self) -> Path:
        """Log of MiniStack, with the functions' output in it."""
        return Path(self.directory.name) / "ministack.log"

    def log(self, lines: int = 50) -> str:
        """The last lines of that log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def client(self, service: str) -> Any:
        """A boto3 client for this AWS."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def deploy(
        self, *arguments: str, retry_after: int | None = None, template: Path = TEMPLATE
    ) -> dict[str, str]:
        """Run `lambda/deploy.py deploy ARGUMENTS` as a user would; return the stack's outputs.

        `retry_after` shortens the queue's visibility timeout (13 minutes by default), so that a
        test sees a failed message again, and then in the dead-letter queue. `template` may be a
        changed one.
        """
        deploy = (
            "import sys, pathlib, stack; stack.TEMPLATE = pathlib.Path(sys.argv.pop(1)); "
            "import deploy; sys.exit(deploy.main())"
        )
        done = subprocess.run(
            [sys.executable, "-c", deploy, template, "deploy", "--json", *arguments],
            cwd=ROOT / "lambda",
            env={"PATH": os.environ["PATH"], "HOME": self.directory.name, **self.environment},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"deploy.py ended with {done.returncode}:\n{done.stderr}")
        outputs = json.loads(done.stdout)
        self._repair_mappings(outputs["FunctionName"])
        if retry_after is not None:
            self.client("sqs").set_queue_attributes(
                QueueUrl=outputs["QueueUrl"], Attributes={"VisibilityTimeout": str(retry_after)}
            )
        return outputs

    def _repair_mappings(self, function: str) -> None:
        # MiniStack 1.5.33 keeps numbers from template parameters as text, and its poller then
        # compares an int with a str and never polls.
        functions = self.client("lambda")
        found = functions.list_event_source_mappings(FunctionName=function)
        for mapping in found["EventSourceMappings"]:
            functions.update_event_source_mapping(
                UUID=mapping["UUID"],
                ScalingConfig={
                    "MaximumConcurrency": int(mapping["ScalingConfig"]["MaximumConcurrency"])
                },
            )

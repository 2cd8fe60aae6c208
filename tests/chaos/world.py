"""A fresh database and bucket in which something may fail, and the commands that act on it."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import md5
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.clickhouse.warehouse import Warehouse
from loader.settings import Settings
from tests.chaos.judge import Bodies, Verdict, judge
from tests.chaos.lakes import lake
from tests.helpers.clickhouse_process import PYTHON, SERVER
from tests.helpers.paths import ROOT
from tests.helpers.processes import Forks, Process, shared_forks
from tests.helpers.secrets import AWS_SECRET, PASSWORD

AWS = {
    "AWS_ACCESS_KEY_ID": "test-key",
    "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
}
# The bucket of the filled template: its name is in the rows of the database.
FILLED = "lake-filled"

# Seconds for a command of the recovery; it is an error if it takes longer.
PATIENCE = 300


class Yard:
    """What the worlds of one process share: S3, the parent of the commands, built databases.

    Args:
        folder: where worlds are made; what failed stays there.
        root: the project whose commands run.
    """

    def __init__(self, folder: Path, root: Path = ROOT):
        self.folder = folder
        self.root = root
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(AWS)
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self.endpoint = "http://{}:{}".format(*self._moto.get_host_and_port())
        self.forks = shared_forks(root) if root == ROOT else Forks(root)
        self._filled: dict[str, bytes] = {}

    def close(self) -> None:
        """Stop what was started."""
        if self.root != ROOT:
            self.forks.close()
        self._moto.stop()

    def template(self, filled: bool = False) -> Path:
        """A database made once: with empty tables, or with a lake that is loaded and built."""
        place = self.folder / ("template.filled" if filled else "template")
        if not place.exists():
            making = self.folder / "template.making"
            shutil.rmtree(making, ignore_errors=True)
            if filled:
                shutil.copytree(self.template(), making, symlinks=True)
            world = World(self, making, "embedded", FILLED if filled else "")
            for key, body in self.filled_lake().items() if filled else ():
                world.put(key, body)
            world.run("xapi-elt", "init")
            if filled:
                for section in (2161, 2174, 2188):
                    world.run("xapi-elt", "backfill", f"s3://{FILLED}/section/{section}/")
            world.dbt("run")
            for leftover in making.glob("*.txt"):
                leftover.unlink()
            world.close()
            making.rename(place)
        return place

    def filled_lake(self) -> dict[str, bytes]:
        """The objects in the bucket of the filled template."""
        return lake(random.Random("filled"), "few", 3000)

    @contextmanager
    def world(self, name: str, target: str, filled: bool = False) -> Iterator["World"]:
        """A new world, empty or filled; its folder stays behind."""
        folder = self.folder / name
        shutil.copytree(self.template(filled), folder, symlinks=True)
        world = World(self, folder, target, FILLED if filled else "")
        try:
            if filled:
                for key, body in self.filled_lake().items():
                    world.put(key, body)
                world.held = {(key, etag) for (_, key), etag in world.current.items()}
            world.start_server() if target == "server" else None
            yield world
        finally:
            world.close()


class World:
    """A fresh database and bucket.

    Attributes:
        env: the environment of its commands.
        bucket, prefix: where its objects lie, and the URI below which all of them do.
        policy: with which `recover` loads.
        reload: what `recover` loads with: `load`, unless a scenario has another ordinary command.
        commits_twice: set where two loads of one version may both have committed.
        bodies: all that was ever put.
        at_end: takes what is to be undone when the world ends.
    """

    def __init__(self, yard: Yard, folder: Path, target: str, bucket: str = ""):
        self.yard, self.folder, self.target = yard, folder, target
        folder.mkdir(parents=True, exist_ok=True)
        self.bucket = bucket or f"lake-{uuid.uuid4().hex[:12]}"
        self.prefix = f"s3://{self.bucket}/section/"
        self.policy = "append"
        self.commits_twice = False
        self.reload = self.load
        self.bodies = Bodies()
        self.current: dict[tuple[str, str], str] = {}
        self.held: set[tuple[str, str]] = set()
        self.happened: list[str] = []
        self.faults = 0
        self.too_early: list[str] = []
        self._server: subprocess.Popen | None = None
        self._started: list[Process] = []
        self._endings = contextlib.ExitStack()
        self.at_end = self._endings.callback
        self.env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.env |= AWS | {
            "AWS_ENDPOINT_URL": yard.endpoint,
            "S3_XAPI_BUCKET_NAME": self.bucket,
            "XAPI_TARGET": target,
            "XAPI_CHDB_PATH": str(folder / "clickhouse"),
            "DBT_TARGET_PATH": str(folder / "target"),
            "DBT_LOG_PATH": str(folder / "logs"),
        }
        self.s3 = self.client("s3")
        self.s3.create_bucket(Bucket=self.bucket)

    def client(self, service: str):
        """A client of the local AWS, straight to it."""
        return boto3.client(service, endpoint_url=self.yard.endpoint)

    # Objects in S3 -----------------------------------------------------------------------------

    def put(self, key: str, body: bytes) -> None:
        """Write an object, and remember its body."""
        self.remember(key, body)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def remember(self, key: str, body: bytes) -> None:
        """Remember the body of an object that another process writes: it may be loaded, and must be
        loaded in the end."""
        etag = md5(body).hexdigest()
        self.bodies.add(key, etag, body)
        self.current[self.bucket, key] = etag

    def delete(self, key: str) -> None:
        """Delete an object: it need not be loaded any more, but may have been."""
        self.current.pop((self.bucket, key), None)
        self.s3.delete_object(Bucket=self.bucket, Key=key)

    # Commands ---------------------------------------------------------------------------------

    def start(self, *command: str) -> Process:
        """Start `xapi-elt …` or `dbt …` in a new process group."""
        process = self.yard.forks.start(list(command), self.env, self.folder)
        self._started.append(process)
        return process

    def run(self, *command: str, code: int | None = 0) -> str:
        """Run a command to its end, and return its output.

        Args:
            code: the exit code that it must have; None for any.

        Raises:
            AssertionError: it ended with another.
        """
        process = self.start(*command)
        found = process.wait(PATIENCE)
        if code is not None and found != code:
            raise AssertionError(f"{' '.join(command)} ended with {found}:\n{process.output}")
        return process.output

    def start_dbt(self, verb: str, *options: str) -> Process:
        """Start dbt from the root of the project."""
        return self.start("dbt", verb, "--no-use-colors", "--no-write-json", *options)

    def dbt(self, verb: str, *options: str, code: int | None = 0) -> str:
        """Run dbt to its end, and return its output."""
        process = self.start_dbt(verb, *options)
        found = process.wait(PATIENCE)
        if code is not None and found != code:
            raise AssertionError(f"dbt {verb} ended with {found}:\n{process.output[-4000:]}")
        return process.output

    def hit(self, what: str, really: bool = True) -> None:
        """Note what the fault did, and whether it hit anything."""
        self.happened.append(what if really else f"{what}, too late")
        self.faults += bool(really)

    @property
    def loads_as_usual(self) -> bool:
        """Whether an ordinary load of everything, by the ordinary policy, is what comes next."""
        return self.policy == "append" and not self.commits_twice and self.reload == self.load

    # Recovery and verdict ---------------------------------------------------------------------

    def load(self) -> None:
        """The ordinary load of all objects; must succeed."""
        self.run("xapi-elt", "backfill", self.prefix, "--policy", self.policy)
        self.held |= {(key, etag) for (_, key), etag in self.current.items()}
        if self.policy == "ignore":
            self.held.clear()

    def recover(self) -> None:
        """What the operator's schedule does anyway: load, transform, collect garbage."""
        self.reload()
        self.dbt("run", "--select", "+marts.events")
        self.run("xapi-elt", "gc")

    def check(self, models: bool = True) -> Verdict:
        """Compare everything with the oracle and by `xapi-elt reconcile`.

        Args:
            models: whether dbt has run since the last load; else only raw and ledger count.
        """
        with self.warehouse() as warehouse:
            verdict = judge(
                warehouse,
                self.bodies,
                self.current,
                self.held,
                policy=self.policy,
                commits_twice=self.commits_twice,
                models=models,
            )
        if self.policy != "ignore" and self.current:
            report = json.loads(self.run("xapi-elt", "reconcile", self.prefix, "--json", code=None))
            # What was deleted in S3 stays loaded: it is named, and right.
            counts = {k: n for k, n in report["counts"].items() if k != "extra"}
            verdict.add("wrong", sum(counts.values()), f"xapi-elt reconcile: {counts}")
        return verdict

    def look(self, models: bool = False) -> None:
        """Look right after a fault, before anything recovers: what is visible is whole, and
        nothing is there that must not be. Much may be missing.

        Args:
            models: whether to look at the event tables as well.

        What is half-done or doubled goes to `too_early`, which fails the run after its recovery.
        """
        with self.warehouse() as warehouse:
            verdict = judge(
                warehouse, self.bodies, {}, self.held, commits_twice=True, models=models
            )
        self.too_early += [
            note for note in verdict.notes if not models or not note.startswith("lost")
        ]

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        """The database, open in this process (embedded) or over HTTP; closed at the end."""
        os.environ.update(AWS)
        with closing(open_warehouse(Settings.from_env(self.env))) as warehouse:
            yield warehouse

    # The server -------------------------------------------------------------------------------

    def start_server(self) -> None:
        """Start ClickHouse's stand-in on this world's database; `fault.json` steers it."""
        config = engine_config(Settings.from_env(self.env))
        port = self.env.get("CLICKHOUSE_PORT", "0")
        collection = {k: v for k, v in os.environ.items() if k.startswith("XAPI_EMBEDDED_")}
        command = [str(PYTHON), *SERVER]
        command += ["--path", self.env["XAPI_CHDB_PATH"], "--config-file", str(config)]
        command += ["--port", port, "--password", PASSWORD]
        command += ["--fault-file", str(self.folder / "fault.json")]
        self._server = subprocess.Popen(
            command,
            env=self.env | collection,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "server.txt").open("a"),
            text=True,
            process_group=0,
        )
        line = self._server.stdout.readline()
        if "listening on" not in line:
            raise RuntimeError(f"no server: {(self.folder / 'server.txt').read_text()[-2000:]}")
        self.env |= {
            "CLICKHOUSE_HOST": "127.0.0.1",
            "CLICKHOUSE_PORT": line.split()[-1],
            "CLICKHOUSE_PASSWORD": PASSWORD,
            "CLICKHOUSE_SECURE": "false",
        }

    def kill_server(self) -> None:
        """SIGKILL to ClickHouse; `start_server` starts it again on the same port."""
        if self._server:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server.stdout.close()
            self._server = None

    def close(self) -> None:
        """End what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
        self.kill_server()
        self._endings.close()
        with contextlib.suppress(Exception):
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
                for item in page.get("Contents", []):
                    self.s3.delete_object(Bucket=self.bucket, Key=item["Key"])
            self.s3.delete_bucket(Bucket=self.bucket)

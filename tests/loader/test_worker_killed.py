"""A worker with dbt and metrics under load: its child is killed, then the whole worker, while
objects arrive and its metrics are scraped. Nothing is lost or doubled; the metrics come back."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest

from tests.helpers.ministack import free_port, wait_until
from tests.helpers.small_database import statement
from tests.helpers.view_faults import faults
from tests.helpers.worker_queue import ask

COMMAND = Path(sys.executable).with_name("xapi-elt")

# Objects, statements of each, and how the worker dies. A child that is killed is replaced.
OBJECTS, LINES = 60, 20
KILLS = ("child", "child", "worker", "child", "worker")


@dataclass
class Worker:
    """`xapi-elt worker --transform --metrics-port`, which can be killed and started again."""

    port: int
    log: list[dict] = field(default_factory=list)
    process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, and read its log in a thread."""
        options = ["--transform", "--metrics-port", str(self.port), "--window", "0.2", "--json"]
        self.process = subprocess.Popen(
            [COMMAND, "worker", *options], stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen) -> None:
        self.log.extend(json.loads(line) for line in process.stdout if line.startswith("{"))

    def events(self, name: str) -> list[dict]:
        """Its log events of one kind, of all its lives."""
        return [line for line in list(self.log) if line.get("event") == name]

    def kill(self, who: str) -> None:
        """Kill the child, or the worker itself and start it again."""
        if who == "child":
            os.kill(self.events("child_started")[-1]["pid"], signal.SIGKILL)
            return
        self.process.kill()
        self.process.wait()
        self.start()


@dataclass
class Scraper:
    """Scrapes the metrics all the time.

    Attributes:
        samples: each answer: time, and the values by name.
        failed: times at which nothing answered.
    """

    port: int
    samples: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Scrape twice a second until `stop` is set."""
        while not self.stop.wait(0.5):
            try:
                url = f"http://127.0.0.1:{self.port}/metrics"
                with urllib.request.urlopen(url, timeout=10) as answer:
                    text = answer.read().decode()
            except (urllib.error.URLError, OSError):
                self.failed.append(time.monotonic())
                continue
            found = re.findall(r"^xapi_elt_(\S+) (\S+)$", text, re.MULTILINE)
            self.samples.append((time.monotonic(), {name: float(value) for name, value in found}))

    def latest(self, name: str) -> float:
        """The latest value of a metric."""
        return self.samples[-1][1].get(name, 0)


@pytest.fixture
def patient_queue(bucket, monkeypatch) -> str:
    """A queue that delivers a message again soon and often, so that kills make no dead letter."""
    sqs = boto3.client("sqs")
    attributes = {"VisibilityTimeout": "10"}
    url = sqs.create_queue(QueueName=f"{bucket}-patient", Attributes=attributes)["QueueUrl"]
    monkeypatch.setenv("XAPI_SQS_QUEUE_URL", url)
    return url


@pytest.mark.long
def test_nothing_is_lost_or_doubled_though_child_and_worker_are_killed(
    chdb_path, bucket, patient_queue, put, tmp_path, monkeypatch
):
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "target"))
    monkeypatch.setenv("DBT_LOG_PATH", str(tmp_path / "logs"))
    worker, done = Worker(free_port()), threading.Event()
    scraper = Scraper(worker.port)

    def produce() -> None:
        for number in range(OBJECTS):
            key = f"section/1/video/{number}.jsonl"
            lines = [statement(minute=number * LINES + at) for at in range(LINES)]
            put(key, "\n".join(lines).encode())
            # Each notification twice, as SQS may deliver it.
            for _ in range(2):
                body = json.dumps({"bucket": bucket, "key": key})
                boto3.client("sqs").send_message(QueueUrl=patient_queue, MessageBody=body)
            time.sleep(1.5)
        done.set()

    try:
        worker.start()
        wait_until(lambda: worker.events("transformed"), 240)
        threads = [threading.Thread(target=work, daemon=True) for work in (produce, scraper.run)]
        for thread in threads:
            thread.start()
        chance = random.Random(7)
        killed = []
        for who in KILLS:
            starts = len(worker.events("child_started"))
            time.sleep(chance.uniform(8, 20))
            killed.append(time.monotonic())
            worker.kill(who)
            wait_until(lambda before=starts: len(worker.events("child_started")) > before, 90)
        done.wait(300)
        wait_until(lambda: settled(patient_queue, scraper), 300)
        scraper.stop.set()
        threads[1].join(30)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
    finally:
        scraper.stop.set()
        worker.process.kill()
        worker.process.wait()
    check_metrics(scraper, killed)
    [row] = ask("select count() as events, uniqExact(event_id) as ids from xapi.video_events")
    assert row == {"events": OBJECTS * LINES, "ids": OBJECTS * LINES}
    assert ask("select uniqExact(key) as n from xapi_raw.committed_objects") == [{"n": OBJECTS}]
    assert faults(ask) == []
    print(
        f"{len(scraper.samples)} scrapes, {len(scraper.failed)} without an answer; "
        f"{len(worker.events('child_started'))} children, "
        f"{len(worker.events('transformed'))} runs of dbt"
    )


def settled(queue: str, scraper: Scraper) -> bool:
    """Whether all messages are done and no table is behind, by the metrics and by SQS."""
    about = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    if sum(int(about["Attributes"][name]) for name in names):
        return False
    # The next sample may have been requested before.
    before = len(scraper.samples)
    wait_until(lambda: len(scraper.samples) > before + 1, 60)
    applied = scraper.latest('last_success_timestamp_seconds{what="transform"}')
    # Until dbt has looked again, the number of waiting loads is that before the last load.
    is_newer = applied > scraper.latest('last_success_timestamp_seconds{what="load"}')
    return is_newer and scraper.latest('table_waiting_loads{table="video_events"}') == 0


def check_metrics(scraper: Scraper, killed: list[float]) -> None:
    """A supervisor answers while its child is dead, and its counters only grow; a worker that was
    killed answers again within a minute."""
    workers = [at for who, at in zip(KILLS, killed, strict=True) if who == "worker"]
    for at in scraper.failed:
        assert any(0 <= at - death < 60 for death in workers), "no answer though the worker ran"
    counted = 'objects_total{outcome="committed"}'
    for (before, old), (after, new) in zip(scraper.samples, scraper.samples[1:], strict=False):
        if not any(before < death <= after for death in workers):
            assert new.get(counted, 0) >= old.get(counted, 0)
            assert new.get("children_lost_total", 0) >= old.get("children_lost_total", 0)
    for death in workers:
        assert any(at > death and at - death < 60 for at, _ in scraper.samples)
    assert scraper.latest('table_lag_seconds{table="video_events"}') == 0

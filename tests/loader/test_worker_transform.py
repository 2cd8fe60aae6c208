"""A worker with dbt: loads and dbt in one child, whose metrics are served by its supervisor."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from tests.helpers.ministack import free_port, wait_until
from tests.helpers.worker_queue import LINE, ask, held

COMMAND = Path(sys.executable).with_name("xapi-elt")

STORED = "select count() as n from xapi.int_xapi__statements"


def scrape(port: int) -> dict[str, float]:
    """The samples of /metrics; /healthz must be well."""
    for path in ("healthz", "metrics"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            text = answer.read().decode()
    found = re.findall(r"^xapi_elt_(\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_a_worker_loads_and_transforms_though_its_child_is_killed(
    chdb_path, queue, put, notify, tmp_path, monkeypatch
):
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "target"))
    monkeypatch.setenv("DBT_LOG_PATH", str(tmp_path / "logs"))
    port, log = free_port(), []
    options = ["--transform", "--metrics-port", str(port), "--window", "0", "--json"]
    worker = subprocess.Popen([COMMAND, "worker", *options], stdout=subprocess.PIPE, text=True)

    def listen() -> None:
        log.extend(json.loads(line) for line in worker.stdout)

    def events(name: str) -> list[dict]:
        return [line for line in list(log) if line.get("event") == name]

    def load(number: int) -> None:
        put(f"section/1/video/{number}.jsonl", LINE)
        notify(f"section/1/video/{number}.jsonl")

    threading.Thread(target=listen, daemon=True).start()
    try:
        # The engine is opened by the loader and by dbt in turns.
        load(1)
        wait_until(lambda: events("object") and len(events("transformed")) >= 1, 240)
        load(2)
        wait_until(lambda: len(events("object")) == 2 and scrape(port), 240)
        wait_until(lambda: events("transforming")[1:] or events("transformed")[1:], 240)
        os.kill(events("child_started")[0]["pid"], signal.SIGKILL)
        load(3)
        wait_until(lambda: len(events("child_started")) == 2 and scrape(port), 60)
        wait_until(lambda: len(events("object")) >= 3, 240)
        done = len(events("transformed"))
        wait_until(lambda: len(events("transformed")) > done, 240)
        found = scrape(port)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()
    assert found["children_lost_total"] == 1
    assert found['objects_total{outcome="committed"}'] == 3
    assert found['transforms_total{outcome="done"}'] >= 2
    assert found['table_lag_seconds{table="video_events"}'] == 0
    assert found["rejected_ratio"] == 1  # the lines have no time
    assert held(queue) == (0, 0)
    assert ask(STORED) == [{"n": 3}]

"""`xapi-elt transform`: whether dbt has something to do, and dbt kept warm in a child."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loader.dbt_run import Transform, WarmDbt, read_numbers
from loader.log import Log
from loader.pipeline import Pipeline
from loader.settings import Settings
from loader.supervisor import Limits, Link, LocalLink, Supervisor, memory_mb
from tests.helpers.mart_server import MartServer, serve_marts
from tests.helpers.paths import ROOT
from tests.helpers.small_database import Attempt, SmallDatabase, statement

COMMAND = Path(sys.executable).with_name("xapi-elt")

LOADED = """
insert into xapi_raw.loads (load_id, bucket, key, rows, outcome, committed_at)
select generateUUIDv4(), 'lake', 'new.jsonl', 7, 'committed', now64(3) - interval {days} day
"""


@pytest.fixture
def server(database: SmallDatabase, tmp_path: Path) -> Iterator[MartServer]:
    """The small database behind HTTP: all its tables hold all loads."""
    with serve_marts(database, tmp_path / "dbt") as server:
        yield server


def behind() -> set[str]:
    """The tables for which dbt has something to do."""
    found = read_numbers(Settings.from_env(), False)
    names = {row["name"] for row in found.tables if row["is_behind"]}
    assert found.is_behind == bool(names)
    return names


def test_nothing_to_do_is_one_query_and_no_dbt(server):
    server.http.queries.clear()
    transform = Transform(Settings.from_env(), Log(), LocalLink(), run=lambda _: pytest.fail("dbt"))
    assert transform.update() == "nothing"
    assert len(server.http.queries) == 1


def rows_read(server: MartServer) -> int:
    """Rows that the engine has read so far."""
    return server.query("select value from system.events where event = 'SelectedRows'")[0]["value"]


def test_the_query_reads_little_of_a_long_ledger(server):
    server.change(
        "insert into xapi_raw.loads (load_id, bucket, key, rows, outcome, committed_at)"
        " select toUUID('00000000-0000-4000-8000-000000000000'), 'lake', toString(number), 1,"
        " 'committed', now64(3) - interval 30 day - interval number second from numbers(500000)"
    )
    before = rows_read(server)
    assert behind() == {"int_xapi__statements"}
    assert rows_read(server) - before < 50_000


FOLLOWERS = {
    *("int_xapi__statements", "rejected_statements", "voided_statements"),
    *("video_events", "activity_attempt_events", "page_attempt_events"),
    *("part_attempt_events", "page_viewed_events"),
}


@pytest.mark.parametrize("days", [0, 90])
def test_a_new_load_is_seen_by_all_tables_even_if_it_became_visible_late(server, days):
    server.change(LOADED.format(days=days))
    assert behind() == (FOLLOWERS if not days else {"int_xapi__statements"})
    found = read_numbers(Settings.from_env(), True)
    [store] = [row for row in found.tables if row["name"] == "int_xapi__statements"]
    assert (store["waiting_loads"], store["waiting_lines"]) == ((1, 7) if not days else (0, 0))
    assert found.last_day["committed"] == (1 if not days else 0)


def test_a_table_that_a_run_did_not_reach_is_seen(server):
    server.change(
        "delete from xapi.elt_applied_loads where model = 'video_events' and load_id in"
        " (select load_id from xapi_raw.loads where outcome = 'committed'"
        " order by committed_at desc limit 1)"
    )
    server.change(
        "insert into xapi.elt_tables select * replace (toDate('1970-01-01') as horizon,"
        " 0 as loads_before_horizon, version + 1 as version) from xapi.elt_tables final"
        " where model = 'video_events'"
    )
    assert behind() == {"video_events", "int_learner_videos"}


def test_bookkeeping_that_was_lost_is_seen(server):
    server.change("delete from xapi.elt_applied_loads where model = 'page_viewed_events'")
    assert behind() == {"page_viewed_events"}
    with Pipeline.from_env() as pipeline:
        assert pipeline.status().problems == [
            "loads that became visible late, or were lost by the bookkeeping, wait: dbt run"
        ]


def test_a_mart_that_a_run_did_not_reach_is_seen(server):
    server.record_change("page_attempt_events")
    assert behind() == {"int_learner_pages"}


def test_a_table_that_lost_rows_is_seen(server):
    server.change("truncate table xapi.part_attempt_events")
    assert behind() == {"part_attempt_events"}


# dbt in a child ------------------------------------------------------------------------------


@contextmanager
def watching(database: SmallDatabase, project: Path) -> Iterator["Watched"]:
    """`transform --watch` on a database, with a project that may be changed."""
    database.close()
    environment = os.environ | {
        "XAPI_CHDB_PATH": str(database.folder / "clickhouse"),
        "XAPI_HOME": str(project),
    }
    process = subprocess.Popen(
        [COMMAND, "transform", "--watch", "--interval", "0.3", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield Watched(process)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


class Watched:
    """The log of a process, as it is written."""

    def __init__(self, process: subprocess.Popen):
        self._lines: list[dict] = []
        self._read = 0
        self._stdout = process.stdout
        threading.Thread(target=self._listen, daemon=True).start()

    def until(self, event: str, seconds: float = 180) -> dict:
        """Wait for the next event of that name."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while self._read < len(self._lines):
                line = self._lines[self._read]
                self._read += 1
                if line.get("event") == event:
                    return line
            time.sleep(0.05)
        raise TimeoutError(f"no {event} in {self._lines[-20:]}")

    def _listen(self) -> None:
        for line in self._stdout:
            self._lines.append(json.loads(line))


def copy_of_project(folder: Path) -> Path:
    """The files of the project that dbt reads."""
    for name in ("dbt_project", "macros"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def attempt(minute: int) -> Attempt:
    """A load of one new event."""
    return Attempt(minute, f"section/2161/video/{minute}.jsonl", [statement(minute=minute)])


def test_new_loads_and_changed_files_reach_the_tables_though_the_child_is_killed(
    database, tmp_path
):
    project = copy_of_project(tmp_path / "project")
    events = "select count() as n from xapi.video_events"
    [before] = database.query(events)
    with watching(database, project) as log:
        child = log.until("child_started")["pid"]
        database.load(attempt(100))
        database.close()
        log.until("transformed")
        # The same child applies the next load; this time it is killed while dbt runs.
        database.load(attempt(101))
        database.close()
        log.until("transforming")
        os.kill(child, signal.SIGKILL)
        assert log.until("child_lost")["reason"] == "it ended with SIGKILL"
        log.until("transformed")
        # A file of the project changes: dbt parses it again, though nothing was loaded.
        model = project / "dbt_project" / "models" / "marts" / "video" / "added.sql"
        model.write_text("{{ config(contract = {'enforced': false}) }} select 42 as answer")
        log.until("transformed")
    assert database.query(events)[0]["n"] == before["n"] + 2
    assert database.query("select answer from xapi.added") == [{"answer": 42}]


def run_dbt_often(link: Link, runs: int) -> int | None:
    """Run dbt again and again; report the memory after each run."""
    dbt = WarmDbt(Settings.from_env())
    for run in range(link.limits.runs):
        assert dbt.run(lambda: link.alive("transforming")) == ""
        link.report("ran", pid=os.getpid(), run=run, memory_mb=memory_mb())
        if link.stop.is_set():
            return 1
        if memory_mb() > link.limits.memory_mb:
            return None
    return 0


def often(database: SmallDatabase, monkeypatch, runs: int) -> list[dict]:
    """What was reported after each run."""
    reported = []
    database.close()
    monkeypatch.setenv("XAPI_CHDB_PATH", str(database.folder / "clickhouse"))
    monkeypatch.setenv("DBT_TARGET_PATH", str(database.folder / "target"))
    monkeypatch.setenv("DBT_LOG_PATH", str(database.folder / "logs"))

    def record(kind: str, **about) -> None:
        reported.extend([about] if kind == "ran" else [])

    limits = Limits(silent_seconds=300, memory_mb=1500, runs=runs)
    stop = threading.Event()
    supervisor = Supervisor(
        run_dbt_often, runs, Log(), limits, stop=stop, endless=False, on_message=record
    )
    assert supervisor.run() == 0
    return reported


@pytest.mark.long
def test_the_memory_of_a_warm_dbt_grows_little(database, monkeypatch):
    reported = often(database, monkeypatch, 4)
    assert len(reported) == 4
    assert reported[-1]["memory_mb"] - reported[1]["memory_mb"] < 60


@pytest.mark.long
def test_the_memory_of_500_runs_is_bounded(database, monkeypatch):
    reported = often(database, monkeypatch, 500)
    assert max(one["memory_mb"] for one in reported) < 1600

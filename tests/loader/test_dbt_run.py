"""dbt beside the worker: when it runs, when it is tried again, and what ends it."""

import io
import sys
import threading
import time

from loader.dbt_run import Transform
from loader.log import Log
from loader.settings import Settings
from tests.helpers.paths import ROOT
from tests.helpers.worker_queue import LINE, work

# Stands for dbt: notes that the database is free, and in whose folder it runs.
NOTE = """
import os, pathlib, sys
from loader.clickhouse.embedded import owner
path = pathlib.Path(os.environ["XAPI_CHDB_PATH"])
assert path.is_absolute() and owner(path) is None
with open(sys.argv[1], "a") as file:
    print(pathlib.Path.cwd(), file=file)
"""


def test_dbt_runs_after_loads_while_the_database_is_free(chdb_path, queue, put, notify, tmp_path):
    put("section/1/video/a.jsonl", LINE)
    notify("section/1/video/a.jsonl")
    notes = tmp_path / "notes"
    settings, log = Settings.from_env(), Log(stream=io.StringIO())
    transform = Transform(settings, log, [sys.executable, "-c", NOTE, str(notes)])
    totals, _ = work(queue, transform=transform)
    assert (totals.transforms, totals.failed_transforms) == (1, 0)
    assert notes.read_text().splitlines() == [str(ROOT)]


def test_pages_are_updated_after_dbt_and_not_after_a_failed_one(chdb_path, queue, put, notify):
    updates = []

    def report() -> bool:
        updates.append("update")
        return len(updates) > 1

    for number, code in enumerate(["", "import sys; sys.exit(1)", ""]):
        put(f"section/1/video/{number}.jsonl", LINE)
        notify(f"section/1/video/{number}.jsonl")
        totals, _ = work(queue, transform=transform(code, [0.0]), report=report)
        failed = (totals.failed_transforms, totals.failed_reports)
        assert failed == [(0, 1), (1, 0), (0, 0)][number]
    assert len(updates) == 2


def transform(code: str, now: list[float], output: io.StringIO | None = None) -> Transform:
    """A transform that runs a line of Python, by a clock that is set by hand."""
    log = Log(stream=output or io.StringIO())
    return Transform(Settings(), log, [sys.executable, "-c", code], 30, clock=lambda: now[0])


def test_dbt_is_due_when_the_queue_is_empty_or_loads_waited_long_enough():
    now = [0.0]
    due = transform("", now)
    assert due.is_due(idle=True) and not due.is_due(idle=False)  # what an earlier worker left
    assert due.run(threading.Event())
    assert not due.is_due(idle=True)
    due.note(1)
    assert due.is_due(idle=True) and not due.is_due(idle=False)
    now[0] += 30
    assert due.is_due(idle=False)


def test_a_failed_dbt_says_why_and_is_tried_again_later():
    now, output = [0.0], io.StringIO()
    failing = transform("import sys; sys.exit('model broken')", now, output)
    assert not failing.run(threading.Event())
    assert "model broken" in output.getvalue()
    assert not failing.is_due(idle=True)
    now[0] += 30
    assert failing.is_due(idle=True)


def test_a_stop_ends_dbt_too():
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    assert not transform("import time; time.sleep(60)", [0.0]).run(stop)
    assert time.monotonic() - started < 5

"""dbt beside the worker: when it runs, when it is tried again, and what is reported of it."""

import io
import itertools
import json
from types import SimpleNamespace

import pytest

from loader.clickhouse.embedded import owner
from loader.dbt_run import Transform, WarmDbt, project_files
from loader.errors import PermanentError, UnavailableError
from loader.lag import Numbers
from loader.log import Log
from loader.settings import Settings
from loader.supervisor import Limits, LocalLink
from tests.helpers.paths import ROOT
from tests.helpers.worker_queue import LINE, work


def table(**changes) -> dict:
    """How far a table is behind: not at all."""
    row = {"name": "int_xapi__statements", "kind": "table", "waiting_loads": 0}
    return row | {"waiting_lines": 0, "lag_seconds": 0, "is_behind": False} | changes


UP_TO_DATE = Numbers([table()])
BEHIND = Numbers([table(waiting_loads=1, lag_seconds=90, is_behind=True)])
LAST_DAY = {"lines": 4, "rejected_lines": 1, "rejected_share": 0.25}


class Stage:
    """A transform with a dbt that only counts, by a clock that is set by hand."""

    def __init__(
        self, error="", read=lambda *_: BEHIND, settings=None, on_run=lambda: None, **limits
    ):
        self.now, self.runs, self.reported, self.error = 0.0, 0, [], error
        self.on_run = on_run
        self.output = io.StringIO()
        self.afterwards = 0
        self.transform = Transform(
            settings or Settings(home=str(ROOT), target="server"),
            Log(stream=self.output),
            LocalLink(self.record, limits=Limits(**limits)),
            after=self.after,
            run=self.run,
            read=read,
            clock=lambda: self.now,
        )

    def record(self, kind: str, **about) -> None:
        self.reported.append((kind, about))

    def after(self) -> None:
        self.afterwards += 1

    def run(self, alive) -> str:
        self.runs += 1
        self.on_run()
        return self.error

    @property
    def log(self) -> list[dict]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


def test_what_follows_a_run_of_dbt_follows_only_one_that_succeeded():
    for error, expected in (("", 1), ("no", 0)):
        stage = Stage(error)
        stage.transform.update()
        assert (stage.runs, stage.afterwards) == (1, expected)


def test_dbt_runs_after_loads_while_the_database_is_free(chdb_path, queue, put, notify):
    put("section/1/video/a.jsonl", LINE)
    notify("section/1/video/a.jsonl")
    owners = []
    stage = Stage(settings=Settings.from_env(), on_run=lambda: owners.append(owner(chdb_path)))
    totals, _ = work(queue, transform=stage.transform)
    assert (totals.transforms, totals.failed_transforms) == (1, 0)
    assert owners == [None]


def test_dbt_runs_after_a_batch_that_emptied_the_queue(chdb_path, queue, put, notify):
    def arrive() -> None:
        if stage.runs <= 2:
            put(f"section/1/video/{stage.runs}.jsonl", LINE)
            notify(f"section/1/video/{stage.runs}.jsonl")

    stage = Stage(settings=Settings.from_env(), on_run=arrive)
    arrive()
    # Something always arrives while dbt runs, so no batch is empty before the last.
    totals, _ = work(queue, transform=stage.transform)
    assert (totals.batches, totals.transforms) == (3, 3)


def test_a_warm_dbt_leaves_the_views_out_after_a_run_of_all(monkeypatch):
    called = []

    class Runner:
        def __init__(self, **_):
            pass

        def invoke(self, words):
            called.append((words[0], "config.materialized:kept_view" in words))
            return SimpleNamespace(success=True, result="manifest", exception=None)

    for name in ("XAPI_CHDB_PATH", "CLICKHOUSE_DBT_USER", "CLICKHOUSE_DBT_PASSWORD"):
        monkeypatch.setenv(name, "")  # a run changes them
    monkeypatch.setattr("dbt.cli.main.dbtRunner", Runner)
    dbt = WarmDbt(Settings(home=str(ROOT)))
    assert dbt.run() == dbt.run() == ""
    assert called == [("parse", False), ("run", False), ("run", True)]


def test_pages_are_updated_after_dbt_and_not_after_a_failed_one(chdb_path, queue, put, notify):
    updates = []

    def report() -> bool:
        updates.append("update")
        return len(updates) > 1

    for number, error in enumerate(["", "model broken", ""]):
        put(f"section/1/video/{number}.jsonl", LINE)
        notify(f"section/1/video/{number}.jsonl")
        totals, _ = work(queue, transform=Stage(error).transform, report=report)
        failed = (totals.failed_transforms, totals.failed_reports)
        assert failed == [(0, 1), (1, 0), (0, 0)][number]
    assert len(updates) == 2


def test_dbt_is_due_when_the_queue_is_empty_or_loads_waited_long_enough():
    stage = Stage()
    due = stage.transform
    assert due.is_due(idle=True) and not due.is_due(idle=False)  # what an earlier worker left
    assert due.update() == "done"
    assert not due.is_due(idle=True)
    due.note(1)
    assert due.is_due(idle=True) and not due.is_due(idle=False)
    stage.now += 30
    assert due.is_due(idle=False)


def test_dbt_does_not_start_if_the_tables_hold_all_loads():
    stage = Stage(read=lambda *_: UP_TO_DATE)
    assert (stage.transform.update(), stage.runs) == ("nothing", 0)
    assert not stage.transform.is_due(idle=True)


def test_dbt_says_what_is_wrong_if_the_tables_cannot_be_read():
    def read(*_):
        raise PermanentError("no such table")

    stage = Stage(read=read)
    assert (stage.transform.update(), stage.runs) == ("done", 1)


def test_dbt_does_not_start_while_clickhouse_does_not_respond():
    def read(*_):
        raise UnavailableError("no connection")

    stage = Stage(read=read)
    assert (stage.transform.update(), stage.runs) == ("failed", 0)
    assert stage.log[0]["output"] == "no connection"


def test_a_failed_dbt_says_why_and_is_tried_again_later():
    stage = Stage("model broken")
    assert stage.transform.update() == "failed"
    assert [line["output"] for line in stage.log if line.get("event") == "transform_failed"] == [
        "model broken"
    ]
    assert not stage.transform.is_due(idle=True) and not stage.transform.may_run
    stage.now += 30
    assert stage.transform.is_due(idle=True) and stage.transform.may_run
    assert stage.transform.update() == "failed"
    stage.now += 30
    assert not stage.transform.may_run
    stage.now += 30
    assert stage.transform.may_run


@pytest.mark.parametrize("limits", [{"runs": 1}, {"memory_mb": 1}])
def test_a_process_is_worn_after_many_runs_or_with_much_memory(limits):
    stage = Stage(**limits)
    if "runs" in limits:
        assert not stage.transform.is_worn
    stage.transform.update()
    assert stage.transform.is_worn


def test_numbers_go_to_the_log_of_cloudwatch_and_to_the_link():
    stage = Stage(read=lambda _, last_day: Numbers(BEHIND.tables, LAST_DAY if last_day else {}))
    stage.transform.update()
    [metrics] = [line for line in stage.log if "_aws" in line]
    names = ("TableLag", "TransformFailures", "RejectedShare")
    assert [metrics[name] for name in names] == [90, 0, 25]
    reported = dict(stage.reported)
    assert reported["numbers"]["last_day"] == LAST_DAY
    assert reported["transform"]["is_done"] is True


def test_a_change_of_a_file_of_the_project_is_noticed(tmp_path):
    (tmp_path / "dbt_project.yml").write_text("model-paths: [models]\nmacro-paths: [macros]\n")
    (tmp_path / "models" / "marts").mkdir(parents=True)
    files = [project_files(tmp_path)]
    model = tmp_path / "models" / "marts" / "a.sql"
    model.write_text("select 1")
    files.append(project_files(tmp_path))
    model.write_text("select 10")
    files.append(project_files(tmp_path))
    model.unlink()
    (tmp_path / "profiles.yml").write_text("xapi: {}")
    files.append(project_files(tmp_path))
    assert all(before != after for before, after in itertools.pairwise(files))
    assert files[-1] == project_files(tmp_path)

"""dbt's everyday commands work on the project as they do on any other."""

import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from loader.clickhouse.connect import open_warehouse
from loader.errors import LoaderError
from loader.settings import Settings
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.paths import ROOT
from tests.helpers.small_database import Attempt, statement

OCTOBER = {
    "run": "{start_date: 2025-10-01, end_date: 2025-10-31}",
    "build": "{start_date: '2025-10-01', end_date: \"2025-10-31\"}",
}


@pytest.fixture(scope="module")
def database(_small_database, tmp_path_factory):
    """A copy of the small database, for all tests of this file."""
    database = _small_database.copy(tmp_path_factory.mktemp("commands") / "copy")
    yield database
    database.close()


def test_show_previews_a_model_with_its_tests(database):
    said = database.dbt("show", "--select", "video_events")
    assert "Previewing node 'video_events'" in said
    assert "https://lms.examp" in said


def test_show_previews_a_query(database):
    said = database.dbt("show", "--inline", "select count() as n from {{ ref('video_events') }}")
    assert re.search(r"\| +n \|\n\| -+ \|\n\| +4 \|", said)


def test_a_limit_can_follow_every_model_and_test(database):
    """dbt appends it for `dbt show` and for data tests with the config `limit`."""
    database.dbt("compile")
    compiled = database.folder / "target" / "compiled" / "xapi_elt" / "dbt_project"
    files = sorted(compiled.rglob("*.sql"))
    assert len(files) > 90
    for file in files:
        database.query(f"select count() as n from (explain ast {file.read_text()}\nlimit 1)")


@pytest.mark.parametrize(
    ("command", "days"),
    [
        ("run", OCTOBER["run"]),
        pytest.param("build", OCTOBER["build"], marks=pytest.mark.long),
    ],
)
def test_the_days_of_a_rebuild_may_be_quoted_or_not(database, command, days):
    said = database.dbt(command, "--select", "video_events", "--vars", days, artifacts=True)
    assert "[rebuilt days of 1 month in" in said
    assert database.query("select count() as n from xapi.video_events") == [{"n": 4}]


def test_a_day_that_does_not_exist_is_one_line(database):
    days = "{start_date: '2025-02-30', end_date: 2025-10-31}"
    said = database.dbt("run", "--vars", days, fails=True)
    assert "var start_date: '2025-02-30' is no date; give a UTC day as YYYY-MM-DD" in said
    assert "Traceback" not in said


@pytest.mark.long
def test_dbt_uses_the_same_database_from_every_folder(database, tmp_path):
    database.close()
    home = tmp_path / "home"
    shutil.copytree(database.folder / "clickhouse", home / ".data" / "clickhouse", symlinks=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = os.environ | {
        "XAPI_HOME": str(home),
        "DBT_USE_COLORS": "false",
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
    }

    def dbt(folder: Path, *arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("dbt")), *arguments]
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert dbt(ROOT, "run").count("[nothing new in") == 10
    root = ("--project-dir", str(ROOT), "--profiles-dir", str(ROOT))
    said = dbt(elsewhere, "build", "--select", "video_events", *root)
    assert "[nothing new in" in said
    assert list(elsewhere.iterdir()) == []


def test_a_run_keeps_its_lock_while_a_statement_of_it_runs(database, tmp_path, monkeypatch):
    copy = database.copy(tmp_path / "copy")
    copy.load(Attempt(8, "section/2161/video/new.jsonl", [statement(minute=8)]))
    copy.close()
    long_statement = (
        "/* xapi_elt run the-holder */ select sum(sleepEachRow(1)) from numbers(99) "
        "settings max_block_size = 1"
    )

    def hold() -> None:
        with closing(open_warehouse(Settings.from_env())) as other, suppress(LoaderError):
            other.command(long_statement)

    with ClickHouseHttp(copy.folder / "clickhouse") as server:
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(server.port))
        with closing(open_warehouse(Settings.from_env())) as warehouse:
            warehouse.command(
                "create table xapi.elt_claim__video_events__99 (load_id UUID) "
                "engine = Memory comment 'the-holder video_events'"
            )
            thread = threading.Thread(target=hold)
            thread.start()
            variables = "{lock_wait_seconds: 2, lock_expires_seconds: 0}"
            select = ("run", "--select", "video_events", "--vars", variables)
            said = run_dbt(*select, folder=tmp_path, fails=True)
            assert "is being changed by run the-holder" in said
            warehouse.command("kill query where startsWith(query, '/* xapi_elt run the-holder')")
            thread.join()
            assert "taking over" in run_dbt(*select, folder=tmp_path)
    assert "/* xapi_elt run " in (tmp_path / "logs" / "dbt.log").read_text()


def test_a_table_that_lacks_a_column_of_its_model_stops_the_run(database):
    """Otherwise the values of that column would be dropped."""
    count = "select count() as n from xapi.video_events"
    before = database.query(count)
    database.load(Attempt(8, "section/2161/video/new.jsonl", [statement(minute=8)]))
    database.change("alter table xapi.video_events drop column video_quality")
    said = database.dbt("run", "--select", "video_events", fails=True)
    assert "only in the model: video_quality" in said
    assert database.query(count) == before

"""`xapi-elt query` and the named questions, on the demo's database."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from loader import questions
from loader.errors import LoaderError, PermanentError, SettingsError
from loader.pipeline import Pipeline
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.paths import ROOT

SECTION = 2161
PAGE = (ROOT / "docs" / "models.md").read_text()
NOTEBOOK = ROOT / "notebooks" / "questions.ipynb"
XAPI_ELT = Path(sys.executable).with_name("xapi-elt")


@pytest.fixture
def pipeline(demo_database, monkeypatch):
    """A pipeline on the demo's database."""
    demo_database.close()
    monkeypatch.setenv("XAPI_CHDB_PATH", str(demo_database.folder / "clickhouse"))
    with Pipeline.from_env() as pipeline:
        yield pipeline


@pytest.fixture
def run(pipeline):
    """Call `xapi-elt query` with these words: run(*words, code=0)."""
    pipeline.close()

    def call(*words: str, code: int = 0, **how) -> subprocess.CompletedProcess:
        command = [XAPI_ELT, "query", *words]
        done = subprocess.run(command, env=os.environ, capture_output=True, timeout=60, **how)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


def rows(pipeline: Pipeline, sql: str) -> list[dict]:
    """Rows of a table of the section."""
    frame = pipeline.query_df(f"select * from {sql} where section_id = {{section:UInt64}}",
                              section=SECTION)  # fmt: skip
    return frame.to_dict("records")


def answer(pipeline: Pipeline, name: str, **params) -> list[dict]:
    """Rows of the answer to a question about the section."""
    found = pipeline.question(name, section=SECTION, **params).to_dict("records")
    assert found
    return found


def test_unique_seconds_are_the_length_of_the_pieces(pipeline):
    expected = {
        (row["learner_id"], row["video_key"]): sum(
            piece["to"] - piece["from"] for piece in row["pieces"]
        )
        for row in rows(pipeline, "fct_learner_videos")
    }
    found = answer(pipeline, "unique-seconds")
    seen = {(row["learner_id"], row["video_key"]): row["seconds_seen"] for row in found}
    assert seen == pytest.approx(expected)


def test_the_largest_drop_off_is_that_of_the_mart(pipeline):
    first = {}
    for row in answer(pipeline, "drop-off"):
        first.setdefault(row["video_key"], row["from_place"])
    assert first == {
        row["video_key"]: row["drop_off_place"]
        for row in rows(pipeline, "fct_videos")
        if pd.notna(row["drop_off_place"])
    }


def test_rewatched_parts_add_up_to_the_seconds_rewatched(pipeline):
    found, expected = defaultdict(float), defaultdict(float)
    for row in answer(pipeline, "rewatched", min_seconds=0):
        found[row["video_key"]] += (row["to_place"] - row["from_place"]) * row["repeats"]
    for row in rows(pipeline, "fct_learner_videos"):
        expected[row["video_key"]] += row["seconds_rewatched"]
    assert found == pytest.approx({video: total for video, total in expected.items() if total})


def test_who_has_not_watched_are_all_others(pipeline):
    watched = {
        (row["learner_id"], row["video_key"])
        for row in rows(pipeline, "fct_learner_video_shares")
        if row["is_watched"]
    }
    everybody = {
        (learner["learner_id"], video["video_key"])
        for learner in rows(pipeline, "fct_learner_activity")
        for video in rows(pipeline, "dim_videos")
    }
    found = answer(pipeline, "who-has-not-watched")
    assert {(row["learner_id"], row["video_key"]) for row in found} == everybody - watched
    assert {row["learners_are"] for row in found} == {"seen in the section"}
    assert {row["status"] for row in found} >= {"not opened", "seen in part"}


def test_completion_counts_learners_who_watched(pipeline):
    watched = Counter(
        row["video_key"]
        for row in rows(pipeline, "fct_learner_video_shares")
        if row["share_seen"] >= 0.95
    )
    found = {row["video_key"]: row["watched"] for row in answer(pipeline, "completion")}
    assert found == {video: watched[video] for video in found}
    assert len(found) == len(rows(pipeline, "dim_videos"))


def test_watch_time_of_weeks_adds_up_to_that_of_days(pipeline):
    expected = defaultdict(float)
    for row in rows(pipeline, "fct_learner_video_days"):
        day = row["day"] if isinstance(row["day"], date) else row["day"].date()
        monday = pd.Timestamp(day - timedelta(days=day.weekday()))
        expected[row["learner_id"], monday] += row["seconds_played"] / 60
    found = {
        (row["learner_id"], pd.Timestamp(row["week"])): row["minutes_played"]
        for row in answer(pipeline, "watch-time")
    }
    assert found == pytest.approx(expected)


def test_seek_backs_are_the_jumps_back_of_the_events(pipeline):
    expected = Counter(
        row["video_seek_to"] // 5 * 5
        for row in rows(pipeline, "video_events")
        if row["verb"] == "seeked" and row["video_seek_from"] - row["video_seek_to"] > 1
    )
    found = Counter()
    for row in answer(pipeline, "seek-backs"):
        found[row["to_place"]] += row["jumps_back"]
    assert found == expected


def test_watching_and_scores_gives_the_rank_correlation(pipeline):
    frame = pd.DataFrame(answer(pipeline, "watching-and-scores"))
    ranks = frame[["minutes_played", "mean_share_correct"]].rank()
    expected = ranks["minutes_played"].corr(ranks["mean_share_correct"])
    assert set(frame["rank_correlation"].round(9)) == {round(expected, 9)}
    activity = rows(pipeline, "fct_learner_activity")
    assert set(frame["learner_id"]) == {row["learner_id"] for row in activity}


def test_a_question_keeps_to_its_video(pipeline):
    [video, *_] = {row["video_key"] for row in answer(pipeline, "seek-backs")}
    for name in ("unique-seconds", "drop-off", "seek-backs", "who-has-not-watched"):
        found = answer(pipeline, name, video=video)
        assert {row["video_key"] for row in found} == {video}


@pytest.mark.parametrize(
    "statement",
    [
        "insert into video_events (section_id) values (1)",
        "insert into function file('out.csv', 'CSV', 'a UInt8') select 1",
        "create table copied engine = Memory as select 1",
        "drop view fct_videos",
        "truncate table video_events",
        "alter table video_events delete where 1",
        "select * from file('/etc/hostname', 'LineAsString')",
        "select * from url('file:///etc/hostname', 'LineAsString', 'line String')",
        "select * from s3('http://127.0.0.1:1/bucket/key', NOSIGN, 'LineAsString', 'line String')",
        "select * from remote('127.0.0.1:1', 'system', 'one')",
        "select 1 settings readonly = 0",
        "set readonly = 0",
        "select 1; drop view fct_videos",
        "select 1 into outfile 'out.csv'",
    ],
)
def test_the_engine_refuses_to_change_anything(pipeline, statement, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PermanentError):
        pipeline.reader.read(statement, "CSV")
    with pytest.raises(LoaderError):
        pipeline.query_df(statement)
    assert list(tmp_path.iterdir()) == []
    assert rows(pipeline, "fct_videos")


def test_a_server_answers_the_same_and_refuses_writes(pipeline):
    here = {name: len(answer(pipeline, name)) for name in questions.names()}
    settings = pipeline.settings
    pipeline.close()
    with ClickHouseHttp(settings.chdb_path) as http:
        there = replace(settings, target="server", host="127.0.0.1", port=http.port)
        with Pipeline(there) as remote:
            assert {name: len(answer(remote, name)) for name in questions.names()} == here
            with pytest.raises(PermanentError, match="readonly mode"):
                remote.reader.read("truncate table video_events", "CSV")
            assert remote.reader.read("select * from numbers(9)", "CSV", limit=2) == b"0\n1\n"


def test_a_pipeline_that_answers_still_loads(pipeline):
    assert pipeline.question("completion", section=SECTION).shape[0]
    pipeline.warehouse.command("create table xapi.written (a UInt8) engine = Memory")
    pipeline.warehouse.command("drop table xapi.written")


def test_wrong_questions_name_what_is_accepted(pipeline):
    with pytest.raises(SettingsError, match="accepted: completion, drop-off"):
        pipeline.question("drop")
    with pytest.raises(SettingsError, match=r"needs section; accepted: section, \[course\]"):
        pipeline.question("completion")


def test_every_format_has_the_same_rows(run, tmp_path):
    words = ("completion", "--section", str(SECTION))
    expected = json.loads(run(*words, "--json").stdout)
    text = run(*words, "--format", "csv").stdout.decode()
    assert [row["video_key"] for row in csv.DictReader(io.StringIO(text))] == [
        row["video_key"] for row in expected
    ]
    run(*words, "--format", "parquet", "--out", tmp_path / "answer.parquet")
    frame = pd.read_parquet(tmp_path / "answer.parquet")
    assert frame["watched"].tolist() == [row["watched"] for row in expected]
    assert frame["watched"].dtype == "uint64"
    table = run(*words, "--rows", "2")
    assert table.stdout.decode().count("\n") == 3
    assert f"{len(expected) - 2} more rows" in table.stderr.decode()


def test_sql_from_words_and_files_with_parameters(run, tmp_path):
    sql = "select {section:UInt64} as section, {name:String} as name, null as nothing"
    words = ("--param", "section=2161", "--param", "name=a'b\\c=d", "--format", "json")
    expected = [{"section": 2161, "name": "a'b\\c=d", "nothing": None}]
    assert json.loads(run(sql, *words).stdout) == expected
    (tmp_path / "q.sql").write_text(f"-- a comment\n{sql};\n")
    assert json.loads(run("--file", tmp_path / "q.sql", *words).stdout) == expected
    assert json.loads(run("--file", "-", *words, input=sql.encode()).stdout) == expected
    shown = run("select count() as events from video_events", "--format", "csv").stdout
    assert int(shown.splitlines()[1]) > 1000


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["drop-off"], 2, "needs section; accepted: section, [course], [video]"),
        (["completion", "--section", "1", "--video", "v"], 2, "does not take video"),
        (["completion", "--section", "x"], 2, "Value x cannot be parsed as UInt64"),
        (["watched"], 2, "there is no question 'watched'; accepted: completion, drop-off"),
        (["select 1", "--section", "1"], 2, "--param name=value"),
        (["select 1", "--param", "a=1"], 2, "does not use {a:Type}"),
        (["select 1", "--format", "xml"], 2, "accepted: table, csv, json, parquet"),
        (["select 1", "--out", "x.csv"], 2, "--out needs --format"),
        ([], 2, "xapi-elt query --list"),
        (["--file", "nowhere.sql"], 2, "nowhere.sql cannot be read"),
        (["select * from nothing"], 1, "'nothing'; the tables are in docs/models.md, and dbt run"),
        (["select verbb from video_events"], 1, "identifier `verbb`. Maybe you meant: ['verb"),
        (["truncate table video_events"], 1, "queries are read-only"),
    ],
)
def test_a_wrong_call_is_one_line(run, words, code, says):
    done = run(*words, code=code)
    assert says in done.stderr.decode()
    assert "In scope" not in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_the_list_shows_questions_and_parameters(run):
    listed = json.loads(run("--list", "--json").stdout)
    assert [one["name"] for one in listed] == questions.names()
    text = run("--list").stdout.decode()
    assert "drop-off: Where do viewers leave a video?" in text
    assert "    --step UInt64 (default '5'): length of a step in seconds" in text


def test_the_commands_of_the_page_about_the_models_run(run):
    shown = re.findall(r"`(xapi-elt query [\w-]+ --section .*?)`", PAGE)
    assert len(shown) == 8
    for command in shown:
        assert run(*shlex.split(command)[2:]).stdout


def test_the_page_about_the_models_shows_what_is_printed(run):
    command, _, printed = PAGE.partition("$ xapi-elt query ")[2].partition("```")[0].partition("\n")
    lines = run(*shlex.split(command)).stdout.decode().splitlines()
    assert [line.rstrip() for line in lines] == printed.splitlines()
    sql = re.search(r'^xapi-elt query ("select .*)$', PAGE, re.MULTILINE)[1]
    assert run(*shlex.split(sql)).stdout


@pytest.mark.long
def test_the_notebook_runs_from_top_to_bottom(demo_database, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    demo_database.close()
    # The notebook reads the demo's database, whose folder has this suffix.
    link = demo_database.folder / "link-demo"
    link.symlink_to(demo_database.folder / "clickhouse")
    monkeypatch.setenv("XAPI_CHDB_PATH", str(demo_database.folder / "link"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    link.unlink()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 8

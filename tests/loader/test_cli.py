"""The command line, as a person or a program calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loader.pipeline import Pipeline

XAPI_ELT = Path(sys.executable).with_name("xapi-elt")


def run(
    *arguments: str, code: int = 0, folder: Path | None = None, **env: str
) -> subprocess.CompletedProcess:
    """Run a command in a folder and check its exit code."""
    done = subprocess.run(
        [XAPI_ELT, *arguments],
        env=os.environ | env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_init_twice_says_the_same_and_changes_nothing(chdb_path, tmp_path):
    def contents() -> list[list[dict]]:
        """Every table as it was created, and the rows of the raw tables."""
        tables = (
            "select database, name, toString(uuid) as id, create_table_query from system.tables"
        )
        with Pipeline.from_env() as pipeline:
            return [
                pipeline.warehouse.query(f"{tables} where database like 'xapi%' order by all"),
                pipeline.warehouse.query("select * from {raw:Identifier}.statements"),
                pipeline.warehouse.query("select * from {raw:Identifier}.loads"),
                pipeline.warehouse.query("select * from {raw:Identifier}.learner_key"),
            ]

    said = run("init").stdout
    (tmp_path / "a.jsonl").write_text('{"a": 1}')
    run("load", str(tmp_path / "a.jsonl"))
    before = contents()
    assert run("init").stdout == said
    assert contents() == before
    assert [len(rows) for rows in before] == [11, 1, 1, 1]


def test_load_status_and_load_again(chdb_path, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 2}')
    first = run("load", str(tmp_path / "a.jsonl"))
    assert first.stdout == "objects: 1 committed; lines loaded: 2\n"
    again = run("load", str(tmp_path / "a.jsonl"))
    assert again.stdout == "objects: 1 skipped; lines loaded: 0\n"
    page = json.loads(run("status", "--json").stdout)
    assert [(row["outcome"], row["objects"], row["lines"]) for row in page["ledger"]] == [
        ("committed", 1, 2)
    ]
    said = run("status").stdout
    assert said.startswith("To do: 2 lines are loaded, and no tables are built yet: dbt run\n")


def test_one_missing_object_is_named_and_the_rest_loads(put, bucket, chdb_path):
    put("a.jsonl", b"{}")
    done = run("load", f"s3://{bucket}/a.jsonl", f"s3://{bucket}/b.jsonl", "--json", code=1)
    report = json.loads(done.stdout)
    assert report["objects"] == {"committed": 1, "failed": 1}
    assert report["rows"] == 1
    assert [item["object"] for item in report["failed"]] == [f"s3://{bucket}/b.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "env", "says"),
    [
        (["load", "s3://only-a-bucket"], {}, "s3://bucket/key"),
        (["load", "no/such/file.jsonl"], {}, "no such file"),
        (["load", "--policy", "merge", "x.jsonl"], {}, "append, replace, ignore"),
        (["status"], {"XAPI_TARGET": "cloud"}, "XAPI_TARGET"),
        (["load"], {}, "Missing argument"),
        (["status"], {"XAPI_HOME": "/no/such/folder"}, "accepted: an existing folder"),
        (["status"], {"XAPI_CHDB_PATH": __file__}, "cannot be used: it is a file"),
        (["status"], {"XAPI_CHDB_PATH": "/dev/null/db"}, "cannot be used: Not a directory"),
    ],
)
def test_a_wrong_call_is_one_line_and_changes_nothing(chdb_path, arguments, env, says):
    done = run(*arguments, code=2, **env)
    assert says in done.stderr
    assert not chdb_path.exists()


def test_a_prefix_or_a_bucket_that_is_not_allowed_leaves_nothing_in_the_ledger(bucket, chdb_path):
    run("init")
    refused = f"bucket 'other' is not allowed; accepted: {bucket}"
    for command in ("load", "backfill", "reconcile"):
        assert refused in run(command, "s3://other/a.jsonl", code=2).stderr
    assert "xapi-elt backfill" in run("load", f"s3://{bucket}/section/", code=2).stderr
    assert json.loads(run("status", "--json").stdout)["ledger"] == []


def test_a_misspelt_setting_is_a_warning_and_doctor_names_it(chdb_path):
    done = run("init", XAPI_S3_COLECTION="x")
    assert "did you mean XAPI_S3_COLLECTION?" in done.stderr
    found = run("doctor", CLICKHOUSE_HOST="h").stdout
    assert "warn  settings: CLICKHOUSE_HOST is set, but XAPI_TARGET is embedded" in found


def test_before_init_status_says_what_to_do(chdb_path):
    done = run("status", code=1)
    assert "xapi-elt init" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_database_in_use_is_reported_clearly(warehouse, chdb_path, tmp_path):
    # `warehouse` holds the database open in this process.
    done = run("doctor", code=1)
    assert f"{chdb_path} is in use by another process" in done.stdout


def test_doctor_finds_everything_right_when_it_is(bucket, chdb_path):
    run("init")
    done = run("doctor", "--json")
    assert {check["name"]: check["verdict"] for check in json.loads(done.stdout)} == {
        "settings": "ok",
        "engine": "ok",
        "tables": "ok",
        "s3": "ok",
        "dbt": "ok",
    }


def test_relative_paths_are_below_home_in_whichever_folder_a_command_runs(tmp_path):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir(), elsewhere.mkdir()
    places = {"XAPI_HOME": str(home), "XAPI_CHDB_PATH": "data/db"}
    run("init", folder=elsewhere, **places)
    assert (home / "data/db").is_dir() and not list(elsewhere.iterdir())
    # There is no dbt project to run, which only doctor has to know.
    found = run("doctor", folder=elsewhere, code=1, **places).stdout
    assert f"target embedded at {home}/data/db" in found
    assert f"fail  dbt: XAPI_HOME is '{home}'" in found


def test_doctor_shows_which_project_and_profile_dbt_uses(chdb_path, tmp_path):
    run("init", folder=tmp_path)
    found = run("doctor", folder=tmp_path).stdout
    root = Path(__file__).resolve().parents[2]
    assert f"project {root}, profile {root}/profiles.yml" in found


def test_an_error_is_json_where_json_was_requested(chdb_path):
    done = run("load", "s3://only-a-bucket", "--json", code=2)
    assert "s3://bucket/key" in json.loads(done.stdout)["error"]


def test_a_wrong_call_is_json_where_json_was_requested(chdb_path):
    done = run("load", "--nothing", "--json", code=2)
    assert "error" in json.loads(done.stdout) and "--nothing" in done.stderr


def test_a_server_that_is_down_is_one_line():
    done = run("status", code=1, XAPI_TARGET="server", CLICKHOUSE_PORT="9")
    assert "ClickHouse at localhost:9 does not answer" in done.stderr
    assert "Connection refused" in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_command_has_help():
    listed = run("--help").stdout
    for command in ("init", "load", "status", "doctor", "demo"):
        assert command in listed
        assert "--help" in run(command, "--help").stdout

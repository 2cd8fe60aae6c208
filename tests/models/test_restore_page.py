"""A loss of everything, and the backup and restore of docs/operate.md as they are written, with
objects in S3 and all models."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from loader.pipeline import Pipeline
from tests.helpers.backups import ADD, BACK_UP, COMMANDS, DROPS, RESTORE, run_on_server
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.paths import ROOT
from tests.helpers.small_database import SmallDatabase, statement
from tests.helpers.view_faults import faults

TABLES = """
select database, name from system.tables
where database in ('xapi', 'xapi_raw') and engine like '%MergeTree' and name not like 'elt\\_%'
    and name not in ('loads', 'learner_key')
order by database, name
"""
# What a table contains, apart from which load brought it, when.
CONTENT = """
select count() as rows, groupBitXor(cityHash64(toString(tuple(* except (load_id, loaded_at))))) as h
from {}.{}
"""
KEY = "select * from xapi_raw.learner_key"
APPLIED = """
select model, count() as loads, uniqExact(load_id) as different from xapi.elt_applied_loads
group by model order by model
"""


def content(database: SmallDatabase) -> dict[str, dict]:
    """Rows of each table and their checksum."""
    found = {
        f"{table['database']}.{table['name']}": database.query(CONTENT.format(*table.values()))[0]
        for table in database.query(TABLES)
    }
    return found | {"key": database.query(KEY)[0]}


def run(command: str, folder: Path) -> str:
    """Run a command of the page in a shell."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    more = {"DBT_TARGET_PATH": f"{folder}/target", "DBT_LOG_PATH": f"{folder}/logs", "PATH": path}
    done = subprocess.run(
        ["sh", "-c", command], env=os.environ | more, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, command + done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
def test_after_the_restore_of_the_page_all_is_as_before(bucket, put, tmp_path, monkeypatch):
    database = SmallDatabase(tmp_path)
    monkeypatch.setenv("XAPI_CHDB_PATH", str(tmp_path / "clickhouse"))

    def load_and_build(number: int) -> None:
        lines = [statement("page_viewed", minute=number), statement(minute=1), "no JSON"]
        lines += [statement("part_attempt", minute=number), statement(minute=10 + number)]
        put(f"section/2161/video/{number}.jsonl", "\n".join(lines).encode())
        with Pipeline.from_env() as pipeline:
            assert pipeline.load(f"s3://{bucket}/section/2161/video/{number}.jsonl").committed == 1
        run_dbt("run", folder=tmp_path)

    load_and_build(1)
    run_on_server(database, BACK_UP)
    load_and_build(2)
    run_on_server(database, ADD)
    load_and_build(3)
    before, applied = content(database), database.query(APPLIED)
    assert before["xapi.video_events"]["rows"] == 4
    run_on_server(database, *DROPS)
    run_on_server(database, RESTORE)
    assert database.query("select count() as n from xapi.video_events") == [{"n": 3}]
    database.close()
    for command in COMMANDS:
        run(command, tmp_path)
    assert content(database) == before
    # Each model has applied each load once, the old ones before the backup.
    assert database.query(APPLIED) == applied
    assert faults(database.query) == []
    objects = [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(objects) == 3
    # A run with nothing new does nothing: no model, no mart.
    database.close()
    assert "[1 loads" not in run_dbt("run", folder=tmp_path)
    assert content(database) == before

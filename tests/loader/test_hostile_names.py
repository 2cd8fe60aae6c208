"""Keys, messages and verbs with control characters: nothing that a command prints has any."""

from contextlib import closing
from pathlib import Path

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.settings import Settings
from tests.helpers.worker_queue import LINE
from tests.loader.test_cli import run

HOSTILE = "a\x1b[2J\u202e\x9b\x7f"
SHOWN = r"a\x1b[2J\u202e\x9b\x7f"
FORGED = "x\r\n2026-01-01T00:00:00Z INFO loaded"

VERB = """
create table {database:Identifier}.ops_other_statements engine = MergeTree order by () as
select {verb:String} as verb_iri, '' as object_type, 1 as statements
"""


def printed(*arguments: str, code: int = 0) -> str:
    """What a command prints, of which every character can be printed."""
    done = run(*arguments, code=code)
    text = done.stdout + done.stderr
    assert all(line.isprintable() for line in text.split("\n")), repr(text)
    return text


@pytest.fixture
def objects(chdb_path: Path, put) -> None:
    """A bucket with one object of a hostile name."""
    put(f"section/1/video/{HOSTILE}.jsonl", LINE)


def test_load_and_status(objects, bucket):
    there, gone = (
        f"s3://{bucket}/section/1/video/{name}.jsonl" for name in (HOSTILE, f"{HOSTILE}9")
    )
    text = printed("load", there, gone, f"s3://{bucket}/{FORGED}", code=1)
    assert f"{SHOWN}9.jsonl: no such object" in text
    assert text.count("\n") == 3
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        schema.init(warehouse, Settings.from_env())
        warehouse.command(VERB, verb=f"{HOSTILE}{FORGED}")
    assert SHOWN in printed("status")
    printed("status", "--json")


def test_reconcile_and_backfill(objects, bucket):
    printed("init")
    assert f"missing: s3://{bucket}/section/1/video/{SHOWN}.jsonl" in printed(
        "reconcile", f"s3://{bucket}/", code=1
    )
    printed("backfill", f"s3://{bucket}/section/1/video/{HOSTILE}")
    printed("reconcile", f"s3://{bucket}/", "--json")


def test_worker(objects, bucket, notify):
    notify(f"section/1/video/{HOSTILE}.jsonl", f"{HOSTILE}9", FORGED)
    text = printed("worker", "--once", "--window", "0", code=1)
    assert f"{SHOWN}.jsonl" in text and f"{SHOWN}9" in text
    assert not [line for line in text.split("\n") if line.startswith("2026-01-01T00:00:00Z")]


def test_local_files(chdb_path, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / f"{HOSTILE}\n.jsonl").write_bytes(LINE)
    (folder / f"{HOSTILE}\nbad.jsonl.gz").write_bytes(b"no gzip")
    assert SHOWN in printed("load", str(folder), code=1)
    assert SHOWN in printed("load", str(folder / f"{HOSTILE}\ngone.jsonl"), code=2)

"""xapi-elt check says of each line what loading and dbt make of it, and leaves nothing behind."""

import gzip
import io
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from loader.pipeline import Pipeline
from loader.preview import preview
from loader.settings import Settings
from loader.staging_sql import staging_sql
from tests.chaos.fuzz_lines import corpus
from tests.helpers.bombs import MOST_GROWTH_MB, many_values
from tests.helpers.compare import FAMILY_TABLES
from tests.helpers.oracle_json import room_to_recurse
from tests.helpers.oracle_lines import items_of
from tests.helpers.paths import CASES, ROOT
from tests.helpers.small_database import (
    ATTEMPTS,
    BAD_LINE,
    ONE_OF_EACH,
    TABLES_ONLY,
    SmallDatabase,
    statement,
)

XAPI_ELT = Path(sys.executable).with_name("xapi-elt")

# Where each row of a table comes from.
ROWS = """
select source_path as file, source_line as line, source_item as item, toString(event_id) as event_id
from xapi.{table}
"""
REJECTED = "select source_path, source_line, source_item, reason from xapi.rejected_statements"


def check(*arguments: object, code: int = 0, stdin: bytes = b"", folder: Path | None = None):
    """Run the command; what it printed."""
    command = [XAPI_ELT, "check", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=300, cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def lines_of(*targets: Path) -> list[dict]:
    """What `check --lines` prints of files."""
    with preview(map(str, targets), Settings.from_env(), io.BytesIO()) as found:
        return list(found.lines())


def assert_same_rows(database: SmallDatabase, fates: list[dict], paths: dict[str, str]) -> None:
    """The fates of lines are what the tables hold of these files, by `source_path` of each."""
    for table in FAMILY_TABLES.values():
        stored = {
            (paths[row["file"]], row["line"], row["item"], row["event_id"])
            for row in database.query(ROWS.format(table=table))
            if row["file"] in paths
        }
        said = {
            (fate["file"], fate["line"], fate["item"], fate["event_id"])
            for fate in fates
            if fate["becomes"] == table
        }
        assert said == stored, table
    rejected = {
        (paths[row["source_path"]], row["source_line"], row["source_item"], row["reason"])
        for row in database.query(REJECTED)
        if row["source_path"] in paths
    }
    assert rejected == {
        (fate["file"], fate["line"], fate["item"], fate["reason"])
        for fate in fates
        if fate["becomes"] == "rejected_statements"
    }


def test_the_sql_is_what_dbt_compiles(built_database):
    models = built_database.folder / "target/compiled/xapi_elt/dbt_project/models/staging"
    compiled = (models / "stg_xapi__statements.sql").read_text()
    assert staging_sql(Settings.from_env()).strip() == compiled.strip()


def test_a_line_becomes_what_the_tables_hold(built_database, tmp_path):
    paths = {}
    for number, attempt in enumerate(ATTEMPTS[:4]):
        file = tmp_path / f"{number}.jsonl"
        file.write_text("\n".join(attempt.lines))
        paths[f"lake/{attempt.key}"] = str(file)
    fates = lines_of(tmp_path)
    assert_same_rows(built_database, fates, paths)
    assert [fate["becomes"] for fate in fates if fate["file"].endswith("0.jsonl")] == [
        "video_events",
        "activity_attempt_events",
        "page_attempt_events",
        "part_attempt_events",
        "page_viewed_events",
        "other",
        "repeat",
        "rejected_statements",
    ]


@pytest.mark.long
@pytest.mark.skipif(not CASES.is_dir(), reason=f"no shared cases in {CASES}")
def test_every_case_becomes_what_loading_and_dbt_make_of_it(database, monkeypatch):
    fates = lines_of(CASES)
    with monkeypatch.context() as patch:
        patch.setenv("XAPI_CHDB_PATH", str(database.folder / "clickhouse"))
        with Pipeline.from_env() as pipeline:
            pipeline.load(CASES)
    database.dbt("run", *TABLES_ONLY)
    assert len(fates) > 50
    assert_same_rows(database, fates, {fate["file"]: fate["file"] for fate in fates})


def test_the_schema_of_statements_agrees_with_the_parser(tmp_path):
    schema = Draft202012Validator(json.loads((ROOT / "docs/schemas/statement.json").read_text()))
    texts = [one for one in corpus(random.Random(5), 600) if b"\n" not in one]
    (tmp_path / "lines.jsonl").write_bytes(b"\n".join(texts))
    plain = [fate for fate in lines_of(tmp_path) if not fate["item"] and "event_id" in fate]
    judged = 0
    for fate in plain:
        reason = fate.get("reason", "")
        # Of a member that is there twice the parser reads the first, json.loads the last.
        with room_to_recurse():
            [item] = items_of(texts[fate["line"] - 1])
        # A schema is about JSON, and does not know the time of the load.
        if not item.broken and reason != "not JSON" and "timestamp" not in reason:
            judged += 1
            assert schema.is_valid(item.value) == (not reason), (reason, item.value)
    assert judged > 300


def test_a_summary_has_counts_per_file_and_reasons_with_lines(tmp_path):
    good, bad = tmp_path / "good.jsonl.gz", tmp_path / "bad.jsonl"
    good.write_bytes(gzip.compress("\n".join([*ONE_OF_EACH, "", ONE_OF_EACH[0]]).encode()))
    bad.write_text("\n".join([BAD_LINE, statement(timestamp="24:00"), BAD_LINE]))
    done = check(good.name, folder=tmp_path)
    assert done.stdout.decode() == (
        "good.jsonl.gz: 1 activity_attempt_events, 1 page_attempt_events, 1 page_viewed_events, "
        "1 part_attempt_events, 1 video_events, 1 repeated, 1 other, 1 blank\n"
    )
    done = check("bad.jsonl", folder=tmp_path, code=1)
    assert done.stdout.decode() == (
        "bad.jsonl: 3 rejected\n"
        "rejected: no usable timestamp: bad.jsonl, line 2\n"
        "rejected: not JSON: bad.jsonl, lines 1, 3\n"
    )
    report = json.loads(check(tmp_path, "--json", code=1).stdout)
    assert [one["rejected"] for one in report["files"]] == [3, 0]
    assert report["rejected"][1]["lines"] == [1, 3]


def test_standard_input_is_read_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    body = gzip.compress("\n".join(ONE_OF_EACH[:2]).encode())
    done = check("-", "--lines", stdin=body, folder=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["file"], one["line"]) for one in found] == [("-", 1), ("-", 2)]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("xapi-check")]


def test_a_damaged_file_is_named_and_the_others_are_checked(tmp_path):
    (tmp_path / "a.jsonl").write_text(ONE_OF_EACH[0])
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(ONE_OF_EACH[0].encode())[:-20])
    done = check(tmp_path, code=1)
    assert b"a.jsonl: 1 video_events" in done.stdout
    assert b"b.jsonl.gz" in done.stderr and b"gunzip" in done.stderr


def test_files_that_are_no_json_lines_are_named_and_the_others_are_checked(tmp_path):
    (tmp_path / "a.jsonl").write_text("[" + ",\n".join(ONE_OF_EACH[:2]) + "]")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "nothing")
    (tmp_path / "c.jsonl").mkdir()
    (tmp_path / "d.jsonl").write_text(json.dumps(json.loads(ONE_OF_EACH[0]), indent=2))
    (tmp_path / "e.jsonl").write_text(ONE_OF_EACH[0])
    named = sorted(path.name for path in tmp_path.iterdir())
    for targets in ([tmp_path], named):
        report = json.loads(check(*targets, "--json", code=1, folder=tmp_path).stdout)
        files = {Path(one["file"]).name: one for one in report["files"]}
        assert files["e.jsonl"]["tables"] == {"video_events": 1} and not files["e.jsonl"]["error"]
        for name, reason in (
            ("a.jsonl", "jq -c"),
            ("b.jsonl", "no such file"),
            ("c.jsonl", "a folder"),
            ("d.jsonl", "jq -c"),
        ):
            assert reason in files[name]["error"] and not files[name]["lines"], name


def test_from_s3_an_array_over_several_lines_is_read_line_by_line(tmp_path):
    array = ["", "[" + ONE_OF_EACH[0] + ",", ONE_OF_EACH[1] + "]"]
    (tmp_path / "lines.jsonl").write_text("\n".join(array))
    assert [fate["becomes"] for fate in lines_of(tmp_path)] == [
        "blank",
        "video_events",
        "activity_attempt_events",
        "rejected_statements",
    ]


def test_an_ending_that_s3_does_not_load_is_warned_of(tmp_path):
    (tmp_path / "a.json").write_text(ONE_OF_EACH[0])
    done = check("a.json", folder=tmp_path)
    assert done.stdout == b"a.json: 1 video_events\n"
    assert done.stderr.endswith(
        b"a.json: from S3, only keys that end in .jsonl or .jsonl.gz are loaded\n"
    )


def test_a_wrong_call_is_refused(tmp_path):
    assert b"no such file" in check(tmp_path / "none.jsonl", code=2).stderr
    assert b"without --json" in check(tmp_path, "--lines", "--json", code=2).stderr


MEMORY = """
import io, sys
from loader.preview import preview
from loader.settings import Settings
from tests.helpers.bombs import peak
with preview(sys.argv[1:], Settings.from_env(), io.BytesIO()) as found:
    print(len(list(found.lines())), peak())
"""


def test_a_line_of_many_values_takes_little_memory(tmp_path):
    lines = many_values(20_000)
    (tmp_path / "bomb.jsonl").write_bytes(b"\n".join(lines))
    command = [sys.executable, "-c", MEMORY, tmp_path / "bomb.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    count, megabytes = map(int, done.stdout.split())
    assert count == 20_000 * 3 + 1_000 + 2_000
    assert megabytes < MOST_GROWTH_MB


def test_the_examples_have_one_statement_for_each_table():
    fates = lines_of(ROOT / "docs/examples/statements.jsonl")
    assert [fate["becomes"] for fate in fates] == [*FAMILY_TABLES.values(), "other"]

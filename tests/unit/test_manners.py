"""What commands say where a call cannot work: one line, with what to do."""

import gzip
import io
import subprocess
import sys

import pytest

from loader.aws.client import client
from loader.cli import inspect, output
from loader.cli.output import SafeConsole
from loader.errors import SettingsError
from loader.files import local_objects
from loader.objects import S3Object
from loader.status import Status
from tests.helpers.paths import ROOT

TABLE = {
    "name": "video_events",
    "missing_rows": 0,
    "waiting_lines": 0,
    "has_late_loads": False,
    "is_known": True,
}
STORE = TABLE | {"name": "int_xapi__statements", "missing_rows": 3}
REFRESH = "dbt run --full-refresh --select int_xapi__statements"


@pytest.mark.parametrize(
    ("key", "prefix"), [("", "s3://b/"), ("/", "s3://b/"), ("/a/", "s3://b/a/")]
)
def test_a_prefix_is_no_object_and_backfill_is_named(key, prefix):
    with pytest.raises(SettingsError, match=f"a prefix, not an object.*backfill {prefix}$"):
        S3Object.from_uri(f"s3://b{key}")


@pytest.mark.parametrize(
    "text", ['{\n "a": 1\n}', '[\n{"a": 1}\n]', '[{"a": 1},\n{"a": 2}]', "[{\n}]"]
)
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_json_over_several_lines_is_recognised(tmp_path, text, ending):
    file = tmp_path / f"a{ending}"
    file.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    for target in (file, tmp_path):
        with pytest.raises(SettingsError, match=r"accepted: JSON Lines.*jq -c"):
            local_objects(target)


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '[{"a": 1}, {"a": 2}]\n[]', "", "\n{}", "{bad\n{}", "[1,"]
)
def test_lines_of_json_and_bad_lines_are_loaded(tmp_path, text):
    (tmp_path / "a.jsonl").write_text(text + ("2]" if text == "[1," else ""))
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip file; a load says so")
    assert len(local_objects(tmp_path)) == 2


def test_a_missing_region_is_one_line(monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="AWS_REGION is not set, and sqs needs it"):
        client("sqs", read=1, attempts=1)


def test_an_old_python_is_refused_in_words():
    code = "import sys; sys.version_info = (3, 9, 1); import loader"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("xapi-elt needs Python 3.11 or newer, and this is 3.9; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ({}, "All is well: 7 lines are loaded"),
        ({"ledger": []}, "To do: nothing is loaded yet: xapi-elt load"),
        ({"tables": []}, "To do: 7 lines are loaded, and no tables are built yet: dbt run"),
        ({"unloaded": 2}, "To do: 2 objects failed in the last week and are not loaded"),
        ({"tables": [TABLE | {"waiting_lines": 5}]}, "To do: 5 lines wait for dbt: dbt run"),
        ({"tables": [TABLE | {"missing_rows": 3}]}, "To do: video_events lost 3 rows"),
        (
            {"tables": [TABLE | {"has_late_loads": True}]},
            "To do: loads that became visible late, or",
        ),
        ({"tables": [TABLE | {"is_known": False}]}, "To do: dbt's bookkeeping does not have"),
        (
            {"tables": [STORE]},
            f"To do: int_xapi__statements lost 3 rows since dbt last changed it: {REFRESH}",
        ),
        (
            {"tables": [STORE], "expired": {"loads": 1}},
            "To do: int_xapi__statements lost 3 rows since dbt last changed it: restore both",
        ),
        ({"not_allowed": ["x"], "tables": []}, "To do: this user may not see everything"),
    ],
)
def test_status_opens_with_whether_all_is_well(page, says):
    well = {"unloaded": 0, "ledger": [{"outcome": "committed", "lines": 7}], "tables": [TABLE]}
    assert Status(**well | {"errors": []} | page).headline.startswith(says)


def test_status_shows_whole_names_in_80_columns(monkeypatch):
    stream = io.StringIO()
    console = SafeConsole(file=stream, width=80, highlight=False, markup=False)
    monkeypatch.setattr(output, "console", console)
    monkeypatch.setattr(inspect, "console", console)
    names = ["activity_attempt_events", "int_xapi__statements", "rejected_statements"]
    counts = {"rows": 123_456_789, "bytes": 9_876_543_210, "waiting_loads": 10, "waiting_lines": 99}
    tables = [TABLE | counts | {"name": name} for name in names]
    inspect._print_status(Status(unloaded=0, ledger=[], errors=[], tables=tables), "here")
    table = [line for line in stream.getvalue().splitlines() if line.startswith(("│", "┏"))]
    assert all(any(name in line for line in table) for name in names)
    assert max(map(len, table)) <= 80

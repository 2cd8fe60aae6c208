"""The uploaders of docs/examples against the deployed stack: each line arrives once per mode."""

import subprocess
import sys
from shutil import which

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.small_database import ONE_OF_EACH

PROGRAMS = {
    "uploader.py": sys.executable,
    "uploader.mjs": which("node"),
    "uploader.exs": which("elixir"),
}
LINES = [*ONE_OF_EACH, '{"note": "\\"é🎓\\u0001 \\\\"}']
STORED = """
select key, groupArray(line) as lines
from (select key, line from {raw:Identifier}.statements order by key, source_line)
group by key
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_bundle_arrives_once_in_both_modes(stack, until, program, tmp_path):
    if not PROGRAMS[program]:
        pytest.skip(f"{program} needs a program that is not installed here")
    stack.deploy()
    (tmp_path / "lines.jsonl").write_text("\n".join(LINES))
    keys = []
    for mode in ("s3", "lambda"):
        done = subprocess.run(
            [PROGRAMS[program], ROOT / "docs" / "examples" / program, "lines.jsonl", "7", "video"],
            env=stack.environment | {"XAPI_ETL_MODE": mode, "LC_ALL": "C.UTF-8"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        keys.append(done.stdout.split()[0])
    until(lambda: len(stack.clickhouse.visible()) == 2)
    assert stack.clickhouse.visible() == dict.fromkeys(keys, len(LINES))
    assert {row["key"]: row["lines"] for row in stack.clickhouse.query(STORED)} == dict.fromkeys(
        keys, LINES
    )

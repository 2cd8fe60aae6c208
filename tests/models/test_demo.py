"""`make demo` in the words of the README: the whole pipeline, twice."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from loader.demo.sample import SamplePlan, summarise
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text()


def xapi_elt(*arguments: str, **settings: str) -> str:
    """Run a command with these settings and return what it printed."""
    done = subprocess.run(
        [Path(sys.executable).with_name("xapi-elt"), *arguments],
        env=os.environ | {"COLUMNS": "80"} | settings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers(output: str, first_cell: str) -> list[int]:
    """The numbers of the table row that begins with this cell."""
    row = next(line for line in output.splitlines() if line.startswith(f"│ {first_cell} "))
    return [int(number.replace(",", "")) for number in re.findall(r"[\d,]+", row)]


def test_the_demo_shows_what_the_generator_made_and_what_the_readme_says(chdb_path):
    made = summarise(SamplePlan())
    first = xapi_elt("demo")

    assert f"ClickHouse read {made.objects} objects in 1 INSERT: {made.lines:,} lines" in first
    events = sum(made.families.values()) - made.families["other"]
    everything = [made.lines, events, made.duplicate_lines, made.bad_lines, made.families["other"]]
    assert numbers(first, "all") == everything
    assert numbers(first, "video")[1] == made.families["video"]
    for reason, lines in made.reasons.items():
        assert numbers(first, reason)[0] == lines

    shown = README.partition("`make demo` prints these lines")[2].split("```\n")[1].splitlines()
    lines = first.splitlines()
    assert [line for line in lines if line in shown] == shown, "the demo prints other lines"

    second = xapi_elt("demo")
    assert f"{made.objects} objects were loaded before and were skipped" in second
    assert "There were no new objects, so nothing changed." in second
    assert numbers(second, "all") == everything

    assert not chdb_path.exists(), "the user's own database is not the demo's"
    status = xapi_elt("status", "--json", XAPI_CHDB_PATH=f"{chdb_path}-demo")
    page = json.loads(status)["operations"]
    assert {day["lines"] for day in page["Last seven days with loads"]} == {made.lines}
    assert {day["rejected"] for day in page["Last seven days with loads"]} == {made.bad_lines}
    assert sum(section["events"] for section in page["Largest sections"]) == events
    assert [row["statements"] for row in page["Other statements"]] == [made.families["other"]]
    assert {row["lag_seconds"] for row in page["Freshness"]} == {0}
    # The sample has one id that two different statements share.
    assert [row["events"] for row in page["Statement ids of several events"]] == [2]

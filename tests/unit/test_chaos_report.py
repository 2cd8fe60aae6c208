"""The matrix of the fault tests: what it adds up, and the command that repeats a failure."""

import json
import re
import shlex

import pytest

from tests.chaos.harness import Record
from tests.chaos.report import added_up, matrix


def played(place: str = "load", fault: str = "killed", **changes) -> Record:
    values = {"seed": "7", "rounds": 2, "faults": 3, "statements": 1000}
    return Record(place, fault, "embedded", **values | changes)


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """The cells of each row, by place and fault."""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return {(place, fault): rest for place, fault, *rest in cells[2:]}


def test_runs_of_a_fault_are_one_row_and_all_are_another():
    text = matrix([played(), played(faults=4, lost=1), played("commit")], "7", 61.4)
    assert rows(text) == {
        ("commit", "killed"): ["1", "2", "3", "1,000", "0", "0", "0", "0"],
        ("load", "killed"): ["2", "4", "7", "2,000", "1", "0", "0", "0"],
        ("all", ""): ["3", "6", "10", "3,000", "1", "0", "0", "0"],
    }
    assert "Seed 7, 61 s, 1 failed." in text


def test_what_was_not_played_counts_nowhere_and_is_named():
    text = matrix([played(), played("commit", skipped="no server")], "7", 1)
    assert rows(text)["all", ""][:3] == ["1", "2", "3"]
    assert "Not played: commit/killed: no server" in text


@pytest.mark.parametrize("fault", ["killed", "a statement's answer (lost)", "503, 10 %"])
def test_the_command_of_a_failure_chooses_this_scenario_alone(fault):
    text = matrix([played(fault=fault, wrong=1)], "7", 1)
    [command] = re.findall(r"^Failed: `(.+)`$", text, re.MULTILINE)
    words = shlex.split(command)
    pattern = words[words.index("--only") + 1]
    assert re.match(pattern, f"load/{fault}")
    assert not re.match(pattern, f"load/{fault} again")
    assert words[words.index("--seed") + 1] == "7"
    assert words[words.index("--rounds") + 1] == "2"


def test_reports_of_several_runs_add_up(tmp_path):
    paths = []
    for seed, seconds in (("7", 10), ("8", 20.4)):
        report = {"seed": seed, "seconds": seconds, "runs": [played(seed=seed).as_dict()]}
        paths.append(tmp_path / f"{seed}.json")
        paths[-1].write_text(json.dumps(report))
    text = added_up(paths)
    assert rows(text)["load", "killed"] == ["2", "4", "6", "2,000", "0", "0", "0", "0"]
    assert "Seed 7, 8, 30 s, 0 failed." in text

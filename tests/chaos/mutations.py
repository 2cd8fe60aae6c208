"""Do the tests see a missing protection? Each mutation removes one from a copy of the project
(the files `protections_…`). Then a scenario of the fault injection must fail, and
without any fault the copy must still be right; or one of the named tests must fail.

    python -m tests.chaos.mutations [--only NAME] [--runs 12]
"""

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.chaos.harness import Record, Yard, run_scenario
from tests.chaos.protections import Mutation, changed_texts
from tests.chaos.protections_loader import LOADER
from tests.chaos.protections_tables import TABLES
from tests.chaos.protections_together import TOGETHER
from tests.chaos.run import end_orderly, scenarios
from tests.chaos.world import AWS
from tests.helpers.paths import ROOT
from tests.helpers.small_database import build, build_empty

COPIED = (
    *("loader", "macros", "dbt_project", "dbt_project.yml", "dbt", "lambda", "profiles.yml"),
    *("tests", "docs", "pyproject.toml"),
)
MUTATIONS = (*LOADER, *TABLES, *TOGETHER)

# What a test says that failed because the copy is broken, and not because a protection is missing.
BROKEN = re.compile(
    "SyntaxError|IndentationError|NameError|ImportError|ModuleNotFoundError|is undefined|"
    "unknown tag|expected token|SYNTAX_ERROR|UNKNOWN_IDENTIFIER|UNKNOWN_FUNCTION"
)

# Seconds for the tests of a mutation.
PATIENCE = 1200


@dataclass
class Finding:
    """What became of a mutation.

    Attributes:
        undisturbed: whether the copy is right when nothing fails; None if that was not tried.
        scenario: the scenario or the test that failed; '' if none did.
        runs: how many runs it took.
        found: what that run found.
    """

    mutation: str
    undisturbed: bool | None
    scenario: str = ""
    runs: int = 0
    seed: str = ""
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    found: str = ""


def mutate(mutation: Mutation, folder: Path) -> Path:
    """A copy of the project without one protection.

    Raises:
        LookupError: the text to change is not there once: the mutation is out of date.
    """
    folder.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        leave_out = shutil.ignore_patterns("__pycache__", "target", "logs")
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=leave_out)
        else:
            shutil.copy(source, folder / name)
    for file, text in changed_texts(mutation).items():
        (folder / file).write_text(text)
    return folder


def build_databases(folder: Path) -> None:
    """Build, with the whole code, the databases that many tests of the models begin with."""
    shutil.rmtree(folder, ignore_errors=True)
    os.environ.update(AWS)
    for name, make in (("empty_models", build_empty), ("small_database", build)):
        make(folder / name)


def try_out(mutation: Mutation, folder: Path, runs: int, made: Path) -> Finding:
    """Play scenarios against a mutated copy, or run tests in it, until one fails.

    Args:
        mutation: what to remove.
        folder: where the copy and its worlds go.
        runs: how many scenarios at most.
        made: the databases of `build_databases`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    project = mutate(mutation, folder / "project")
    if mutation.tests:
        return _run_tests(mutation, project, made)
    known = {one.name: one for one in scenarios()}
    yard = Yard(folder / "worlds", project)
    try:
        calm = run_scenario(yard, known["nothing/no fault"], "1")
        finding = Finding(mutation.name, calm.ok)
        for number in range(runs):
            chosen = known[mutation.scenarios[number % len(mutation.scenarios)]]
            record = run_scenario(yard, chosen, f"1.{number}")
            finding.runs += 1
            if not record.ok:
                _note(finding, record, chosen.name)
                break
        return finding
    finally:
        yard.close()


def _run_tests(mutation: Mutation, project: Path, made: Path) -> Finding:
    """Run the mutation's tests in the mutated copy until one fails. A test whose fixture fails, or
    that fails because the copy is broken, notices nothing."""
    finding, report = Finding(mutation.name, undisturbed=None, runs=1), project / "tests.xml"
    options = ("-vv", "-x", "-p", "no:cacheprovider", f"--junitxml={report}")
    command = [sys.executable, "-m", "pytest", *options, *mutation.tests]
    about = {"cwd": project, "env": os.environ | {"XAPI_TEST_MADE": str(made)}}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **about)
    except subprocess.TimeoutExpired:
        finding.found = f"the tests did not end in {PATIENCE} s"
        return finding
    finding.found = done.stdout[-2000:] + done.stderr[-500:]
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        failure = case.find("failure")
        if failure is not None:
            text = failure.get("message", "") + (failure.text or "")
            finding.found = text[-2000:]
            if done.returncode == 1 and not BROKEN.search(text):
                finding.scenario = f"{case.get('classname')}::{case.get('name')}"
                finding.found = _reason(failure)
    return finding


def _reason(failure: ElementTree.Element) -> str:
    """The first line of an assertion's text, and the last ones."""
    said = [line[1:].strip() for line in (failure.text or "").splitlines() if line[:2] == "E "]
    said = [f"{line[:150]} … {line[-250:]}" if len(line) > 400 else line for line in said if line]
    return " … ".join(dict.fromkeys((*said[:1], *said[-3:])))


def _note(finding: Finding, record: Record, name: str) -> None:
    finding.scenario, finding.seed = name, record.seed
    finding.lost, finding.doubled, finding.wrong = record.lost, record.doubled, record.wrong
    words = [*record.notes, record.error.strip().rpartition("\n")[2]]
    finding.found = next((word for word in words if word), "")[:200]


def table(findings: list[Finding]) -> str:
    """The findings as a Markdown table."""
    rows = [
        "| protection removed | calm | noticed by | runs | lost | doubled | wrong |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for one in findings:
        calm = {True: "yes", False: "no", None: ""}[one.undisturbed]
        where = one.scenario.removeprefix("tests.") or "NOT NOTICED"
        rows.append(
            f"| {one.mutation} | {calm} | {where} | {one.runs} | {one.lost} | {one.doubled} "
            f"| {one.wrong} |"
        )
    return "\n".join(rows) + "\n"


def write(report: Path, findings: list[Finding]) -> None:
    """Write the findings as JSON, and as a table beside it."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps([asdict(finding) for finding in findings], indent=1))
    report.with_suffix(".md").write_text(table(findings))


def main() -> int:
    """Try out the mutations; 1 if one was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names (a regular expression), e.g. gc|dbt")
    parser.add_argument("--runs", type=int, default=12, help="runs of each at most")
    parser.add_argument("--folder", type=Path, default=Path("build/mutations"))
    parser.add_argument("--report", type=Path, default=Path("build/mutations.json"))
    options = parser.parse_args()
    end_orderly()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    findings, folder = [], options.folder.resolve()
    chosen = [one for one in MUTATIONS if re.match(options.only, one.name)]
    if any(test.startswith("tests/models") for one in chosen for test in one.tests):
        build_databases(folder / "made")
    for mutation in chosen:
        started, place = time.monotonic(), folder / mutation.name.replace(" ", "_")
        findings.append(finding := try_out(mutation, place, options.runs, folder / "made"))
        print(f"{asdict(finding)} {time.monotonic() - started:.0f} s", flush=True)
        # After each: what was tried is known, whatever ends the run.
        write(options.report, findings)
    print(table(findings))
    return 0 if findings and all(finding.scenario for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())

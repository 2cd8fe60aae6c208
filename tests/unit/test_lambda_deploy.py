"""What the deployment keeps of a stack, and what it refuses before anything is uploaded."""

import deploy
import pytest
import yaml
from console import DeployError
from stack import TEMPLATE, TRANSFORM, check_deployable, stack_parameters

from tests.helpers.lambda_template import TemplateLoader


def test_update_keeps_the_parameters_that_are_not_given():
    """Those the template no longer has are dropped."""
    stack = {"Parameters": [{"ParameterKey": "ClickHouseHost"}, {"ParameterKey": "Gone"}]}
    known = {"ClickHouseHost", "BatchSize"}
    assert stack_parameters(known, stack, {"BatchSize": "200"}) == [
        {"ParameterKey": "BatchSize", "ParameterValue": "200"},
        {"ParameterKey": "ClickHouseHost", "UsePreviousValue": True},
    ]


def test_unknown_parameter_is_refused_with_the_known_ones():
    """Before anything is uploaded."""
    with pytest.raises(DeployError, match="unknown parameter Batch; accepted: BatchSize"):
        stack_parameters({"BatchSize"}, None, {"Batch": "1"})


def test_environment_of_a_stack_never_changes():
    """`--env` forgotten or mistaken must not touch production."""
    stack = {
        "StackStatus": "CREATE_COMPLETE",
        "Parameters": [{"ParameterKey": "Environment", "ParameterValue": "prod"}],
    }
    with pytest.raises(DeployError, match="is prod, not dev"):
        check_deployable(stack, "xapi-elt-prod", "dev")


def test_stack_name_must_fit_into_a_bucket_name():
    """S3 would say so only after half the stack is there."""
    with pytest.raises(DeployError, match="at most 35 characters"):
        check_deployable(None, "Upper", None)


def test_the_stack_of_dbt_takes_parameters_that_both_templates_have():
    """Another name would stop each deployment of it."""
    for path in (TEMPLATE, TRANSFORM):
        assert (
            set(deploy.SHARED) <= yaml.load(path.read_text(), TemplateLoader)["Parameters"].keys()
        )


def test_examples_in_the_help_parse():
    """Help that cannot be typed is no help."""
    lines = [line for line in deploy.EXAMPLES.splitlines() if "lambda/deploy.sh" in line]
    commands = [deploy.parse(line.split(" >")[0].split()[1:]).command for line in lines]
    assert commands == ["deploy", "deploy", "update", "transform", "outputs", "outputs"]


def test_outputs_are_settings_for_a_shell(capsys):
    """Of those commands that an operator runs beside the stack."""
    outputs = {"BucketName": "b", "QueueUrl": "https://q/1?a=b&c", "FunctionName": "xapi-elt-prod"}
    stack = {
        "StackName": "xapi-elt-prod",
        "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
        "Parameters": [{"ParameterKey": "Environment", "ParameterValue": "prod"}],
    }
    deploy.print_exports(stack)
    assert capsys.readouterr().out.splitlines() == [
        "export S3_XAPI_BUCKET_NAME=b",
        "export XAPI_SQS_QUEUE_URL='https://q/1?a=b&c'",
        "export XAPI_LAMBDA_FUNCTION_NAME=xapi-elt-prod",
        "export XAPI_STACK=xapi-elt-prod",
        "export XAPI_ENVIRONMENT=prod",
    ]

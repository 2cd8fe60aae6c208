"""The stack of lambda/transform.yaml, as far as the local AWS goes: it creates the resources, knows
the schedule and the task, and starts no container."""

import json

from tests.e2e.test_operation import deploy
from tests.helpers.ministack import REGION

SECRET = f"arn:aws:secretsmanager:{REGION}:000000000000:secret:dbt-AbCdEf"


def test_the_second_stack_schedules_the_task_with_the_settings_of_the_first(stack):
    stack.deploy()
    arguments = ("--env", "dev", "Image=xapi-elt:1", "SubnetIds=subnet-1,subnet-2")
    more = ("SecurityGroupIds=sg-1", f"PasswordSecretArn={SECRET}:password::", "EveryMinutes=7")
    assert "TaskDefinition" in deploy(stack, "transform", *arguments, *more, "--dry-run")
    outputs = json.loads(
        deploy(stack, "transform", *arguments, *more, "--json").partition("\n}")[0] + "}"
    )
    events, ecs = stack.aws.client("events"), stack.aws.client("ecs")
    rules = events.list_rules()["Rules"]
    [rule] = [one for one in rules if one.get("ScheduleExpression") == "rate(7 minutes)"]
    [target] = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    about = target["EcsParameters"]
    assert about["TaskDefinitionArn"] == outputs["TaskDefinitionArn"]
    task = ecs.describe_task_definition(taskDefinition=about["TaskDefinitionArn"])
    [container] = task["taskDefinition"]["containerDefinitions"]
    assert container["command"] == ["transform", "--json"]
    variables = {one["name"]: one["value"] for one in container["environment"]}
    assert variables["CLICKHOUSE_PORT"] == str(stack.clickhouse.port)
    assert variables["XAPI_STACK"] == "xapi-elt-dev"
    roles = stack.aws.client("iam")
    name = task["taskDefinition"]["executionRoleArn"].rpartition("/")[2]
    policy = roles.get_role_policy(RoleName=name, PolicyName="read-password")["PolicyDocument"]
    assert SECRET in json.dumps(policy) and "password::" not in json.dumps(policy)
    assert "nothing to change" in deploy(stack, "transform", "--env", "dev")
    assert deploy(stack, "delete", "--stack-name", "xapi-elt-dev-transform", "--yes")

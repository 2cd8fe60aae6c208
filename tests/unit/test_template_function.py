"""What cfn-lint does not see in lambda/template.yaml: the queue, the function and the roles."""

import json
import re

import pytest
import yaml

from loader.settings import Settings
from tests.helpers.lambda_template import TEMPLATE, TRANSFORM, TemplateLoader, branches, of_type

# Design, section 9, and what only a deployed function has.
KNOWN_ENVIRONMENT = {
    "CLICKHOUSE_CLUSTER",
    "CLICKHOUSE_DATABASE",
    "CLICKHOUSE_HOST",
    "CLICKHOUSE_PASSWORD_SECRET_ARN",
    "CLICKHOUSE_PORT",
    "CLICKHOUSE_SECURE",
    "CLICKHOUSE_USER",
    "S3_XAPI_BUCKET_NAME",
    "XAPI_ALLOWED_BUCKETS",
    "XAPI_ENVIRONMENT",
    "XAPI_KEY_PREFIX",
    "XAPI_LOAD_MEMORY_MB",
    "XAPI_LOG_LEVEL",
    "XAPI_S3_COLLECTION",
    "XAPI_S3_EXTERNAL_ID",
    "XAPI_S3_ROLE_ARN",
    "XAPI_SQS_QUEUE_URL",
    "XAPI_STACK",
    "XAPI_TARGET",
}


def statements(role):
    """All policy statements a role carries itself."""
    for policy in role.get("Policies", []):
        yield from branches(policy["PolicyDocument"]["Statement"])


# ---------------------------------------------------------------- queue and function


def test_visibility_timeout_is_six_function_timeouts_and_the_window(template):
    """Less, and SQS hands out a message that is still being loaded."""
    timeouts = template["Parameters"]["FunctionTimeout"]["AllowedValues"]
    window = template["Parameters"]["BatchWindowSeconds"]["MaxValue"]
    visibility = template["Mappings"]["VisibilityTimeout"]
    assert {str(t): {"Seconds": 6 * t + window} for t in timeouts} == visibility


def test_function_and_queue_use_the_same_timeout_parameter(resources):
    """The mapping only helps when both sides read it."""
    assert resources["Function"]["Properties"]["Timeout"] == {"Ref": "FunctionTimeout"}
    assert resources["Queue"]["Properties"]["VisibilityTimeout"] == {
        "Fn::FindInMap": ["VisibilityTimeout", {"Ref": "FunctionTimeout"}, "Seconds"]
    }


def test_large_batches_always_have_a_window(template):
    """Lambda refuses more than ten messages a batch without one."""
    parameters = template["Parameters"]
    assert parameters["BatchSize"]["MaxValue"] > 10
    assert parameters["BatchWindowSeconds"]["MinValue"] >= 1


def test_batches_stay_below_the_path_limit_of_s3(template):
    """`s3_path_filter_limit`: beyond it, s3() lists the bucket."""
    assert template["Parameters"]["BatchSize"]["MaxValue"] <= 1000


def test_failed_messages_return_alone(resources):
    """Without it, one bad object makes its whole batch fail."""
    mapping = resources["EventSourceMapping"]["Properties"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_dead_letters_outlive_the_queue(resources):
    """A message keeps its age when it moves, and would soon be gone."""
    queue, dead = resources["Queue"]["Properties"], resources["DeadLetterQueue"]["Properties"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": "DeadLetterQueue.Arn"}
    assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]


def test_queues_are_encrypted(resources):
    """By SQS, or by a customer's key."""
    for queue in of_type(resources, "AWS::SQS::Queue").values():
        assert branches(queue["SqsManagedSseEnabled"]) == [True]
        assert branches(queue["KmsMasterKeyId"]) == [{"Ref": "KmsKeyArn"}]


def test_only_the_bucket_or_the_rule_may_send(resources):
    """Anyone else could name objects to load."""
    policy = resources["QueuePolicy"]["Properties"]["PolicyDocument"]
    allowed = [one for one in branches(policy["Statement"]) if one["Effect"] == "Allow"]
    assert len(allowed) == 2
    for statement in allowed:
        assert statement["Action"] == "sqs:SendMessage"
        assert "Service" in statement["Principal"]
        assert "aws:SourceArn" in statement["Condition"]["ArnEquals"]


def test_environment_names_are_known(resources):
    """A misspelt name would be a setting that is never read."""
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert set(variables) == KNOWN_ENVIRONMENT


def environment(template, resources, reads_with: str) -> dict[str, str]:
    """The function's variables with the defaults of the parameters."""
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    defaults = {name: p.get("Default", "x") for name, p in template["Parameters"].items()}
    defaults["Queue"] = "https://sqs.eu-central-1.amazonaws.com/123456789012/xapi-elt"
    found = {"XAPI_TARGET": "server"}
    for name, value in variables.items():
        if "Fn::If" in value and value["Fn::If"][0] == "ReadWithRole":
            value = value["Fn::If"][1 if reads_with == "role" else 2]
        if value == {"Fn::GetAtt": "ClickHouseRole.Arn"}:
            found[name] = "arn:aws:iam::123456789012:role/x"
        elif value == {"Ref": "Queue"}:
            found[name] = "https://sqs.us-east-1.amazonaws.com/123456789012/x"
        elif value != {"Ref": "AWS::NoValue"} and name != "XAPI_TARGET":
            found[name] = str(defaults.get(value.get("Ref"), "x"))
    return found


def test_loader_accepts_the_environment_of_the_function(template, resources):
    """And the template's defaults are those of the loader."""
    settings = Settings.from_env(environment(template, resources, "role"))
    assert settings.s3_role_arn
    settings = Settings.from_env(environment(template, resources, "collection"))
    assert not settings.s3_role_arn
    assert (settings.key_prefix, settings.load_memory_mb) == ("section/", Settings.load_memory_mb)
    assert (settings.port, settings.secure) == (8443, True)
    assert (settings.database, settings.s3_collection) == (
        Settings.database,
        Settings.s3_collection,
    )


def test_password_reaches_the_function_only_as_an_arn(resources):
    """Everyone who may see a function sees its environment."""
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert {"Ref": "ClickHousePassword"} not in variables.values()


def test_handler_is_the_file_in_the_package(resources):
    """build.py puts handler.py at the root of the zip."""
    function = resources["Function"]["Properties"]
    assert function["Handler"] == "handler.lambda_handler"
    assert function["Runtime"] == "python3.13"


# ---------------------------------------------------------------- permissions


def test_roles_name_their_resources(resources):
    """No permission reaches beyond this stack."""
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        for statement in statements(role):
            for resource in branches(statement["Resource"]):
                text = json.dumps(resource)
                # The objects of a bucket, if their keys begin with the prefix.
                assert "*" not in text.replace('/${KeyPrefix}*"', '"'), (name, resource)
            assert "*" not in json.dumps(statement["Action"]), (name, statement["Action"])


def test_function_cannot_read_statements(resources):
    """ClickHouse reads them; the function only knows their names."""
    actions = [
        a
        for s in statements(resources["FunctionRole"]["Properties"])
        for a in branches(s["Action"])
    ]
    assert not [a for a in actions if a.startswith("s3:")]


def test_clickhouse_may_only_read(resources):
    """The bucket is the source of every table."""
    role = resources["ClickHouseRole"]["Properties"]
    actions = {a for s in statements(role) for a in branches(s["Action"])}
    assert actions == {
        *("s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:GetBucketLocation"),
        "kms:Decrypt",
    }


def test_clickhouse_reads_and_lists_only_below_the_prefix(resources):
    """A bucket may hold more than statements."""
    found = {s["Sid"]: s for s in statements(resources["ClickHouseRole"]["Properties"])}
    objects = [resource["Fn::Sub"] for resource in branches(found["ReadObjects"]["Resource"])]
    assert len(objects) == 2
    assert all(resource.endswith("/${KeyPrefix}*") for resource in objects)
    assert found["ListObjects"]["Action"] == "s3:ListBucket"
    assert found["ListObjects"]["Condition"] == {
        "StringLikeIfExists": {"s3:prefix": {"Fn::Sub": "${KeyPrefix}*"}}
    }


def test_the_function_knows_the_prefix_and_the_stack(resources):
    """It refuses other keys, and its metrics are told from those of another stack."""
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["XAPI_KEY_PREFIX"] == {"Ref": "KeyPrefix"}
    assert variables["XAPI_STACK"] == {"Ref": "AWS::StackName"}


def test_keys_of_kms_are_used_through_their_services_only(resources):
    """The same key may protect other things."""
    via = {}
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        for statement in statements(role):
            if statement["Action"] == "kms:Decrypt":
                services = statement["Condition"]["StringEquals"]["kms:ViaService"]
                via[name] = {service["Fn::Sub"].split(".")[0] for service in branches(services)}
    assert via == {"FunctionRole": {"sqs", "secretsmanager"}, "ClickHouseRole": {"s3"}}


def test_queues_demand_tls(resources):
    """Messages name objects, and could be read and changed on the way."""
    denied = {}
    for policy in of_type(resources, "AWS::SQS::QueuePolicy").values():
        for statement in branches(policy["PolicyDocument"]["Statement"]):
            if statement["Effect"] == "Deny":
                assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
                assert (statement["Principal"], statement["Action"]) == ("*", "sqs:*")
                [queue] = policy["Queues"]
                denied[queue["Ref"]] = statement["Resource"]
    assert denied == {
        name: {"Fn::GetAtt": f"{name}.Arn"} for name in of_type(resources, "AWS::SQS::Queue")
    }


@pytest.mark.parametrize("path", [TEMPLATE, TRANSFORM], ids=lambda path: path.name)
def test_every_log_can_have_a_key_of_its_own(path):
    """The function's names objects and learners' sections, that of dbt may quote statements."""
    template = yaml.load(path.read_text(), TemplateLoader)
    assert [
        branches(group["KmsKeyId"])
        for group in of_type(template["Resources"], "AWS::Logs::LogGroup").values()
    ] == [[{"Ref": "LogKmsKeyArn"}]]
    assert template["Conditions"]["UseLogKmsKey"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "LogKmsKeyArn"}, ""]}]
    }


def test_the_log_is_kept_as_long_as_the_parameter_or_else_the_environment_says(resources):
    given, by_environment = branches(resources["LogGroup"]["Properties"]["RetentionInDays"])
    assert given == {"Ref": "LogRetentionDays"}
    assert by_environment["Fn::FindInMap"][2] == "LogRetentionDays"


def test_a_whole_account_may_read_only_with_an_external_id(template, resources):
    """Each identity of it could read the statements otherwise."""
    principal = template["Parameters"]["ClickHouseIamPrincipal"]["AllowedPattern"]
    assert re.fullmatch(principal, "arn:aws:iam::123456789012:role/clickhouse")
    assert not re.fullmatch(principal, "arn:aws:iam::123456789012:root")
    rule = template["Rules"]["AccountWithExternalId"]
    assert "ClickHouseIamAccount" in json.dumps(rule["RuleCondition"])
    required = {"Fn::Not": [{"Fn::Equals": [{"Ref": "ClickHouseExternalId"}, ""]}]}
    assert required in [assertion["Assert"] for assertion in rule["Assertions"]]
    [trust] = resources["ClickHouseRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert branches(trust["Condition"]) == [
        {"StringEquals": {"sts:ExternalId": {"Ref": "ClickHouseExternalId"}}}
    ]

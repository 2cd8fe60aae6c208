"""What cfn-lint does not see in lambda/template.yaml, and the package it deploys."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import build
import deploy
import pytest
import yaml
from console import DeployError
from stack import check_deployable, stack_parameters

from loader.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "lambda" / "template.yaml"

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
    "XAPI_LOG_LEVEL",
    "XAPI_S3_COLLECTION",
    "XAPI_SQS_QUEUE_URL",
    "XAPI_TARGET",
}


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which become the long ones."""


def short_form(loader, tag, node):
    """`!Ref X` -> {"Ref": X}, `!Sub X` -> {"Fn::Sub": X}."""
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


TemplateLoader.add_multi_constructor("!", short_form)


@pytest.fixture(scope="module")
def template():
    """The whole template, parsed once."""
    return yaml.load(TEMPLATE.read_text(), TemplateLoader)


@pytest.fixture(scope="module")
def resources(template):
    """Its resources by logical name."""
    return template["Resources"]


def of_type(resources, kind):
    """Properties of all resources of one type."""
    return {name: r["Properties"] for name, r in resources.items() if r["Type"] == kind}


def branches(value):
    """All that a value can be: both sides of every Fn::If, in lists flattened."""
    if isinstance(value, dict) and "Fn::If" in value:
        return [b for side in value["Fn::If"][1:] for b in branches(side)]
    if isinstance(value, list):
        return [b for item in value for b in branches(item)]
    return [] if value == {"Ref": "AWS::NoValue"} else [value]


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
    """By SQS, or by the key of one's own."""
    for queue in of_type(resources, "AWS::SQS::Queue").values():
        assert branches(queue["SqsManagedSseEnabled"]) == [True]
        assert branches(queue["KmsMasterKeyId"]) == [{"Ref": "KmsKeyArn"}]


def test_only_the_bucket_or_the_rule_may_send(resources):
    """Anyone else could name objects to load."""
    policy = resources["QueuePolicy"]["Properties"]["PolicyDocument"]
    for statement in branches(policy["Statement"]):
        assert statement["Action"] == "sqs:SendMessage"
        assert "Service" in statement["Principal"]
        assert "aws:SourceArn" in statement["Condition"]["ArnEquals"]


def test_environment_names_are_known(resources):
    """A misspelt name would be a setting nobody reads."""
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert set(variables) == KNOWN_ENVIRONMENT


def test_loader_accepts_the_environment_of_the_function(template, resources):
    """And the template's defaults are those of the loader."""
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    defaults = {name: p.get("Default", "x") for name, p in template["Parameters"].items()}
    environment = {
        name: str(defaults.get(value.get("Ref"), "x"))
        for name, value in variables.items()
        if name != "XAPI_TARGET"
    }
    settings = Settings.from_env(environment | {"XAPI_TARGET": "server"})
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
                # "/*" after a bucket's name: its objects.
                assert "*" not in text.replace('/*"', '"'), (name, resource)
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
    assert actions == {"s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation", "kms:Decrypt"}


# ---------------------------------------------------------------- statements in S3


def test_bucket_is_private_encrypted_and_tls_only(resources):
    """Statements are about people."""
    bucket = resources["StatementBucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    rules = branches(bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"])
    defaults = [rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules]
    assert sorted(defaults) == ["AES256", "aws:kms"]
    [deny] = resources["StatementBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert deny["Effect"] == "Deny"
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_statements_outlive_the_stack(resources):
    """Deleting the pipeline must not delete what it was fed with."""
    for name in ("StatementBucket", "StatementBucketPolicy"):
        assert resources[name]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resources[name]["UpdateReplacePolicy"] == "Retain"


def test_unfinished_uploads_are_removed(resources):
    """They cost money and show up in no listing."""
    rules = resources["StatementBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert [r["Status"] for r in rules if "AbortIncompleteMultipartUpload" in r] == ["Enabled"]


def test_both_routes_bring_plain_and_gzip_objects(resources):
    """A suffix forgotten on one route is an object never loaded."""
    notifications = resources["StatementBucket"]["Properties"]["NotificationConfiguration"]
    [direct] = [b for b in branches(notifications) if "QueueConfigurations" in b]
    rules = [c["Filter"]["S3Key"]["Rules"] for c in direct["QueueConfigurations"]]
    pattern = resources["ObjectCreatedRule"]["Properties"]["EventPattern"]
    suffixes = {".jsonl", ".jsonl.gz"}
    assert {r["Value"] for rule in rules for r in rule if r["Name"] == "suffix"} == suffixes
    assert [r["Value"] for rule in rules for r in rule if r["Name"] == "prefix"] == [
        {"Ref": "KeyPrefix"}
    ] * 2
    assert {key["wildcard"]["Fn::Sub"] for key in pattern["detail"]["object"]["key"]} == {
        "${KeyPrefix}*" + suffix for suffix in suffixes
    }


# ---------------------------------------------------------------- alarms and dashboard


def test_alarms_notify_the_topic(resources):
    """An alarm without an action is only seen by those who look."""
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    assert len(alarms) == 5
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}], name
        assert alarm["AlarmDescription"], name


def test_alarms_look_back_one_day_at_most(template):
    """CloudWatch refuses more with one-minute periods."""
    no_loads = template["Resources"]["NoLoadsAlarm"]["Properties"]
    assert no_loads["Period"] * template["Parameters"]["NoLoadsMinutes"]["MaxValue"] <= 86_400


def test_dashboard_is_json(resources):
    """CloudFormation only notices while deploying."""
    body = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert len(json.loads(body)["widgets"]) == 8


def test_metrics_have_the_names_the_handler_writes(resources):
    """A misspelt metric is an empty graph."""
    body = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert set(re.findall(r'"XapiElt", "(\w+)", "Environment"', body)) == {
        "CommitLag",
        "LoadDuration",
        "MessagesRejected",
        "ObjectsLoaded",
        "RowsLoaded",
    }


# ---------------------------------------------------------------- the template as a whole


def test_every_parameter_is_described_used_and_in_a_group(template):
    """The console shows the groups and the descriptions."""
    parameters = template["Parameters"]
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    body = json.dumps({k: template[k] for k in ("Conditions", "Resources", "Outputs")})
    assert sorted(p for group in groups for p in group["Parameters"]) == sorted(parameters)
    for name, parameter in parameters.items():
        assert parameter["Description"].endswith("."), name
        assert f'"{name}"' in body or f"${{{name}}}" in body, name


def test_every_condition_and_mapping_is_used(template):
    """What is left over only misleads."""
    body = json.dumps(template["Resources"]) + json.dumps(template["Outputs"])
    everything = body + json.dumps(template["Conditions"])
    for name in (*template["Conditions"], *template["Mappings"]):
        assert f'"{name}"' in body or everything.count(f'"{name}"') > 1, name


def test_every_output_is_described(template):
    """They are what an operator sees first."""
    assert all(output["Description"].endswith(".") for output in template["Outputs"].values())


def test_template_fits_into_one_request():
    """A larger one would have to be uploaded first."""
    assert len(TEMPLATE.read_bytes()) <= 51_200


def test_cfn_lint_is_content():
    """Types, properties, references and cycles."""
    command = Path(sys.executable).with_name("cfn-lint")
    if not command.exists() and not shutil.which("cfn-lint"):
        pytest.skip("cfn-lint is not installed")
    linter = command if command.exists() else "cfn-lint"
    done = subprocess.run([linter, TEMPLATE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# ---------------------------------------------------------------- the package


@pytest.fixture
def project(tmp_path):
    """A project with a handler, modules it uses, and one it does not."""
    files = {
        "lambda/handler.py": "import json\nimport boto3\nfrom loader import load\n",
        "loader/__init__.py": "",
        "loader/load.py": "from .keys import decode\n\ndef later():\n    import chdb\n",
        "loader/keys.py": "from urllib.parse import unquote_plus as decode\n",
        "loader/cli.py": "import typer\n",
        "loader/sql/loads.sql": "select 1",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def package(project):
    """The zip of that project."""
    return build.build(project / "lambda/handler.py", project / "build/out.zip", project)


def test_package_holds_the_handler_and_what_it_imports(project):
    """And not the CLI, whose libraries Lambda lacks."""
    contents = build.collect(project / "lambda/handler.py", project)
    assert sorted(contents.files) == [
        "handler.py",
        "loader/__init__.py",
        "loader/keys.py",
        "loader/load.py",
        "loader/sql/loads.sql",
    ]
    assert contents.left_out == {"chdb"}


def test_same_sources_give_the_same_bytes(project):
    """Otherwise every deployment would change the function."""
    first = package(project).read_bytes()
    (project / "loader/keys.py").touch()
    assert package(project).read_bytes() == first


def test_package_refuses_libraries_lambda_lacks(project):
    """Better now than at the first cold start."""
    (project / "loader/keys.py").write_text("import numpy\n")
    with pytest.raises(build.BuildError, match=r"keys\.py: imports numpy"):
        package(project)


def test_package_refuses_compiled_files(project):
    """They would run on one processor only."""
    (project / "loader/sql/fast.sql").write_bytes(b"\x7fELF\0\0")
    with pytest.raises(build.BuildError, match=r"fast\.sql: only text"):
        package(project)


def test_package_refuses_to_grow_over_a_megabyte(project):
    """Nothing in it should be large; a cold start reads it all."""
    (project / "loader/sql/big.sql").write_text("-" * 1_100_000)
    with pytest.raises(build.BuildError, match="more than 1,048,576"):
        package(project)
    assert not (project / "build/out.zip").exists()


# ---------------------------------------------------------------- deploying


def test_update_keeps_the_parameters_nobody_names():
    """Those the template no longer has are dropped."""
    stack = {"Parameters": [{"ParameterKey": "ClickHouseHost"}, {"ParameterKey": "Gone"}]}
    known = {"ClickHouseHost", "BatchSize"}
    assert stack_parameters(known, stack, {"BatchSize": "200"}) == [
        {"ParameterKey": "BatchSize", "ParameterValue": "200"},
        {"ParameterKey": "ClickHouseHost", "UsePreviousValue": True},
    ]


def test_unknown_parameter_is_refused_with_the_known_ones():
    """Before anything is uploaded."""
    with pytest.raises(DeployError, match="unknown parameter Batch; known are BatchSize"):
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


def test_examples_in_the_help_parse():
    """Help that cannot be typed is no help."""
    lines = [line for line in deploy.EXAMPLES.splitlines() if "lambda/deploy.sh" in line]
    commands = [deploy.parse(line.split()[1:]).command for line in lines]
    assert commands == ["deploy", "deploy", "update", "outputs"]

"""What cfn-lint does not see in lambda/template.yaml: the bucket, the alarms and the whole."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from loader.bulk import resumable
from loader.log import UNITS, Metrics
from loader.objects import check_prefix
from tests.helpers.lambda_template import TEMPLATE, TRANSFORM, branches, of_type

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


@pytest.mark.parametrize(
    ("prefix", "is_accepted"),
    [
        *(("section/", True), ("lake/2025.v1/section_a-b/", True)),
        *(("section", False), ("section/21", False), ("", False), ("/", False)),
        *(("/section/", False), ("a//b/", False), ("year=2025/", False), ("a b/", False)),
        *(("a*/", False), ("a+b/", False), ("\u00e9/", False), ("section/\n", False)),
    ],
)
def test_the_prefix_is_a_folder_that_every_filter_takes_literally(template, prefix, is_accepted):
    """S3's filter compares encoded keys: one with '=' matches nothing, and no message arrives."""
    parameter = template["Parameters"]["KeyPrefix"]
    assert bool(re.fullmatch(parameter["AllowedPattern"], prefix)) == is_accepted
    assert not is_accepted or quote(prefix) == prefix
    assert "/ at its end" in parameter["ConstraintDescription"]


@pytest.mark.parametrize("more", ["", "2", "21/", "21/video/2025"])
def test_a_bulk_load_lists_only_what_the_role_may_list(template, more):
    """It lists the folder of its prefix, so a KeyPrefix without '/' at its end would be outside."""
    prefix = template["Parameters"]["KeyPrefix"]["Default"]
    check_prefix(prefix + more, prefix)
    listed = resumable.listed_pattern("lake", prefix + more)
    assert listed.startswith(f"lake/{prefix}")


# ---------------------------------------------------------------- alarms and dashboard


def test_alarms_notify_the_topic(resources):
    """An alarm without an action is only seen by those who look."""
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    assert len(alarms) == 8
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}], name
        assert alarm["AlarmDescription"], name


def test_alarms_look_back_one_day_at_most(template):
    """CloudWatch refuses more with one-minute periods."""
    no_loads = template["Resources"]["NoLoadsAlarm"]["Properties"]
    assert no_loads["Period"] * template["Parameters"]["NoLoadsMinutes"]["MaxValue"] <= 86_400


def dashboard(resources, with_all: bool = True) -> str:
    """The dashboard's JSON, with or without the alarms that a stack may not have."""
    text, optional = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for name, choice in optional.items():
        _, there, absent = choice["Fn::If"]
        text = text.replace(f"${{{name}}}", there["Fn::Sub"] if with_all else absent)
    return text


@pytest.mark.parametrize("with_all", [True, False])
def test_dashboard_is_json(resources, with_all):
    """CloudFormation only notices while deploying."""
    assert len(json.loads(dashboard(resources, with_all))["widgets"]) == 11


def test_dashboard_shows_all_alarms(resources):
    """One that is not shown is missed by those who look."""
    [widget] = [w for w in json.loads(dashboard(resources))["widgets"] if w["type"] == "alarm"]
    shown = {re.fullmatch(r"\${(\w+)\.Arn}", arn)[1] for arn in widget["properties"]["alarms"]}
    assert shown == set(of_type(resources, "AWS::CloudWatch::Alarm"))


def test_alarms_of_the_tables_have_metrics_that_dbt_runs_write(resources):
    """A misspelt metric never alarms."""
    found = re.findall(r"'MetricName': '(\w+)'", str(of_type(resources, "AWS::CloudWatch::Alarm")))
    theirs = {"TableLag", "TransformFailures", "RejectedShare"}
    assert theirs <= set(found)
    assert theirs <= set(UNITS)


# The dimensions of the metrics, in the dashboard's JSON.
METRIC = r'"XapiElt", "(\w+)", "Environment", "\${Environment}", "Stack", "\${AWS::StackName}"'


def test_metrics_are_those_of_this_stack(resources):
    """Two stacks of one environment would hide each other: one that loads, one that does not."""
    body = dashboard(resources)
    assert len(re.findall(METRIC, body)) == body.count('"XapiElt"') > 0
    written = next(Metrics("prod", "xapi-elt-prod", values={"RowsLoaded": [1]}).lines())
    assert written["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Environment", "Stack"]]
    assert (written["Environment"], written["Stack"]) == ("prod", "xapi-elt-prod")
    alarm = resources["NoLoadsAlarm"]["Properties"]["Dimensions"]
    assert {one["Name"]: one["Value"]["Ref"] for one in alarm} == {
        "Environment": "Environment",
        "Stack": "AWS::StackName",
    }


def test_the_bucket_keeps_what_was_overwritten_for_a_while(template, resources):
    """A statement that was overwritten before it was loaded can be restored; not for ever."""
    bucket = resources["StatementBucket"]["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": {"Ref": "BucketVersioning"}}
    assert template["Parameters"]["BucketVersioning"]["Default"] == "Enabled"
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert [
        r["NoncurrentVersionExpiration"] for r in rules if r["Id"] == "remove-old-versions"
    ] == [{"NoncurrentDays": 30}]


def test_metrics_have_the_names_the_handler_writes(resources):
    """A misspelt metric is an empty graph."""
    body = dashboard(resources)
    assert set(re.findall(METRIC, body)) == {
        "CommitLag",
        "LoadDuration",
        "MessagesRejected",
        "ObjectsLoaded",
        "RejectedShare",
        "RowsLoaded",
        "TableLag",
        "TransformDuration",
        "TransformFailures",
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


@pytest.mark.parametrize("template", [TEMPLATE, TRANSFORM], ids=lambda path: path.name)
def test_cfn_lint_is_content(template):
    """Types, properties, references and cycles."""
    command = Path(sys.executable).with_name("cfn-lint")
    if not command.exists() and not shutil.which("cfn-lint"):
        pytest.skip("cfn-lint is not installed")
    linter = command if command.exists() else "cfn-lint"
    done = subprocess.run([linter, template], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

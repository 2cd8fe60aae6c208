"""docs/deploy.md: each command is one that `make e2e` runs, or says why not; the policy of who
deploys has what the templates' resources need."""

import json
import re
from fnmatch import fnmatchcase

import pytest
import yaml

from tests.helpers.deploy_page import PAGE, commands
from tests.helpers.doc_blocks import blocks
from tests.helpers.lambda_template import TEMPLATE, TemplateLoader
from tests.helpers.paths import ROOT

POLICY = json.loads((ROOT / "docs" / "deploy" / "deployer-policy.json").read_text())
TEMPLATES = sorted(TEMPLATE.parent.glob("*.yaml"))

# Programs that the replay has.
PROGRAMS = {
    *("xapi-elt", "lambda/deploy.sh", "export", "read", "echo", ".", "for"),
}

TAGS = {
    "s3": ("PutBucketTagging",),
    "sqs": ("TagQueue", "UntagQueue"),
    "iam": ("TagRole", "UntagRole"),
}

# What CloudFormation calls, with the deployer's rights, for a resource of each type: to create,
# change, read and delete it (AWS's registry of resource types), for the properties used here.
NEEDED = {
    "AWS::S3::Bucket": (
        "s3:CreateBucket s3:DeleteBucket s3:PutEncryptionConfiguration "
        "s3:PutBucketPublicAccessBlock s3:PutBucketOwnershipControls "
        "s3:PutLifecycleConfiguration s3:PutBucketVersioning s3:PutBucketNotification"
    ),
    "AWS::S3::BucketPolicy": "s3:PutBucketPolicy s3:GetBucketPolicy s3:DeleteBucketPolicy",
    "AWS::Events::Rule": (
        "events:PutRule events:DescribeRule events:DeleteRule events:PutTargets "
        "events:ListTargetsByRule events:RemoveTargets"
    ),
    "AWS::SQS::Queue": (
        "sqs:CreateQueue sqs:GetQueueUrl sqs:GetQueueAttributes sqs:ListQueueTags "
        "sqs:SetQueueAttributes sqs:DeleteQueue"
    ),
    "AWS::SQS::QueuePolicy": "sqs:SetQueueAttributes sqs:GetQueueAttributes",
    "AWS::Lambda::Function": (
        "lambda:CreateFunction lambda:GetFunction lambda:UpdateFunctionCode "
        "lambda:UpdateFunctionConfiguration lambda:DeleteFunction iam:PassRole s3:GetObject "
        "ec2:DescribeSecurityGroups ec2:DescribeSubnets ec2:DescribeVpcs"
    ),
    "AWS::Lambda::EventSourceMapping": (
        "lambda:CreateEventSourceMapping lambda:GetEventSourceMapping "
        "lambda:UpdateEventSourceMapping lambda:DeleteEventSourceMapping"
    ),
    "AWS::IAM::Role": (
        "iam:CreateRole iam:GetRole iam:UpdateRole iam:DeleteRole iam:PutRolePolicy "
        "iam:GetRolePolicy iam:DeleteRolePolicy iam:ListRolePolicies iam:AttachRolePolicy "
        "iam:DetachRolePolicy iam:ListAttachedRolePolicies iam:UpdateAssumeRolePolicy"
    ),
    "AWS::Logs::LogGroup": (
        "logs:CreateLogGroup logs:PutRetentionPolicy logs:DescribeLogGroups logs:DeleteLogGroup"
    ),
    "AWS::SecretsManager::Secret": (
        "secretsmanager:CreateSecret secretsmanager:DescribeSecret secretsmanager:UpdateSecret "
        "secretsmanager:DeleteSecret"
    ),
    "AWS::SNS::Topic": (
        "sns:CreateTopic sns:GetTopicAttributes sns:SetTopicAttributes sns:DeleteTopic "
        "sns:ListSubscriptionsByTopic"
    ),
    "AWS::SNS::TopicPolicy": "sns:SetTopicAttributes sns:GetTopicAttributes",
    "AWS::ECS::Cluster": (
        "ecs:CreateCluster ecs:DescribeClusters ecs:UpdateCluster ecs:DeleteCluster "
        "iam:CreateServiceLinkedRole"
    ),
    "AWS::ECS::TaskDefinition": (
        "ecs:RegisterTaskDefinition ecs:DescribeTaskDefinition ecs:DeregisterTaskDefinition "
        "iam:PassRole"
    ),
    "AWS::SNS::Subscription": "sns:Subscribe sns:GetSubscriptionAttributes sns:Unsubscribe",
    "AWS::CloudWatch::Alarm": (
        "cloudwatch:PutMetricAlarm cloudwatch:DescribeAlarms cloudwatch:DeleteAlarms"
    ),
    "AWS::CloudWatch::Dashboard": (
        "cloudwatch:PutDashboard cloudwatch:GetDashboard cloudwatch:DeleteDashboards"
    ),
}

# boto3's calls whose right has another name, or that need one more.
CALLED = {
    "validate_template": "cloudformation:ValidateTemplate",
    "get_caller_identity": "sts:GetCallerIdentity",
    "head_bucket": "s3:ListBucket",
    "put_public_access_block": "s3:PutBucketPublicAccessBlock",
    "put_object": "s3:PutObject",
    "create_bucket": "s3:CreateBucket",
}


def allowed(action: str) -> bool:
    """Whether a statement of the policy allows an action."""
    for statement in POLICY["Statement"]:
        actions = statement["Action"]
        names = actions if isinstance(actions, list) else [actions]
        if any(fnmatchcase(action, name) for name in names):
            return True
    return False


def test_every_command_is_run_or_says_why_not():
    found = commands()
    assert len(found) >= 25
    for command in found:
        words = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command.text).split()
        assert command.skipped or words[0] in PROGRAMS, command.text
    skipped = {command.text.split()[0] for command in found if command.skipped}
    assert skipped == {"make", "clickhouse", "lambda/deploy.sh"}
    assert sum(command.is_endless for command in found) == 1
    # Most of the page is run.
    assert sum(bool(command.skipped) for command in found) <= 3


def test_prose_has_no_command_that_would_not_be_run():
    """A block without a language is output, so it has no commands."""
    for block in blocks(PAGE):
        if block.language not in ("sh", "sql"):
            assert not re.search(r"^(xapi-elt|lambda/|dbt|aws|export) ", block.text, re.M)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_who_deploys_may_do_what_the_resources_need(template):
    resources = yaml.load(template.read_text(), TemplateLoader)["Resources"]
    kinds = {resource["Type"] for resource in resources.values()}
    assert kinds <= NEEDED.keys()
    needed = {action for kind in kinds for action in NEEDED[kind].split()}
    # deploy.py gives the stack a tag, which CloudFormation gives to each resource.
    services = {action.partition(":")[0] for action in needed} - {"ec2"}
    for service in services:
        names = TAGS.get(service, ("TagResource", "UntagResource"))
        needed |= {f"{service}:{name}" for name in names}
    assert {action for action in needed if not allowed(action)} == set()


def test_who_deploys_may_do_what_deploy_sh_calls():
    text = "\n".join(path.read_text() for path in (ROOT / "lambda").glob("*.py"))
    calls = set(re.findall(r"(?:cfn|s3|\w+\(\"sts\"\))\.([a-z_]+)\(", text))
    calls -= {"get_paginator"}
    actions = {
        CALLED.get(call, "cloudformation:" + call.title().replace("_", "")) for call in calls
    }
    assert {"cloudformation:CreateChangeSet", "s3:PutObject"} <= actions
    assert {action for action in actions if not allowed(action)} == set()


def test_the_policy_names_resources_wherever_aws_has_them():
    wide = [one["Sid"] for one in POLICY["Statement"] if one["Resource"] == "*"]
    assert wide == ["WhoAmI", "EventSourceMapping", "WithoutResources"]
    assert not any(action == "*" for one in POLICY["Statement"] for action in one["Action"])
    [passes] = [one for one in POLICY["Statement"] if one["Action"] == "iam:PassRole"]
    assert "iam:PassedToService" in passes["Condition"]["StringEquals"]
    # The limit of a managed policy, without white space.
    assert len(json.dumps(POLICY, separators=(",", ":"))) <= 6144

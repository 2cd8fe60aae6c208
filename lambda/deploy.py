"""Deploy the pipeline: package the function, create or update its stack, show what came out.

Needs boto3 and AWS credentials, not the AWS CLI. AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL and
the other AWS_* settings work as they do everywhere.
"""

import argparse
import getpass
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import build
from botocore.exceptions import BotoCoreError, ClientError

TEMPLATE = Path(__file__).resolve().parent / "template.yaml"

EXAMPLES = """
examples:
  lambda/deploy.sh deploy --env prod ClickHouseHost=ch.example.org ClickHousePassword=-
  lambda/deploy.sh deploy --env prod --dry-run BatchSize=200
  lambda/deploy.sh update --env prod
  lambda/deploy.sh outputs --env prod --json

KEY=VALUE sets a parameter of lambda/template.yaml; the value '-' is asked for (or read from
standard input), so that a password stays out of the shell's history. What is not set keeps the
value of the deployed stack, or the template's default.
"""


class DeployError(Exception):
    """The command cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    """Progress goes to standard error: standard output is for the outputs."""
    print(text, file=sys.stderr, flush=True)


def table(rows: list[tuple[str, ...]]) -> str:
    """Left-aligned columns, two spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


# ---------------------------------------------------------------- the package


@dataclass(frozen=True)
class Package:
    """The function's zip, and where the template looks for it."""

    path: Path
    bucket: str
    key: str
    account: str

    @classmethod
    def build(cls, session: boto3.Session, options: argparse.Namespace) -> "Package":
        """Build the zip, or take the one given."""
        path = options.zip or build.build()
        account = session.client("sts").get_caller_identity()["Account"]
        bucket = options.code_bucket or f"xapi-elt-code-{account}-{session.region_name}"
        # Named by content: new code is a new key, so CloudFormation sees that it changed.
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(path, bucket, f"xapi-elt/{digest[:32]}.zip", account)


def make_code_bucket(s3, bucket: str, account: str) -> None:
    """Create the bucket for packages, closed to the public, unless it is there."""
    try:
        # Owned by this account: its name can be guessed, and someone else could wait there.
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        return
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise DeployError(f"code bucket {bucket}: {error}") from error
    say(f"creating bucket {bucket} for packages")
    arguments = {"Bucket": bucket}
    if s3.meta.region_name != "us-east-1":  # the one region that must not be named
        arguments["CreateBucketConfiguration"] = {"LocationConstraint": s3.meta.region_name}
    s3.create_bucket(**arguments)
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )


def upload(s3, package: Package) -> None:
    """Put the package where the template looks for it."""
    make_code_bucket(s3, package.bucket, package.account)
    s3.put_object(
        Bucket=package.bucket,
        Key=package.key,
        Body=package.path.read_bytes(),
        ExpectedBucketOwner=package.account,
    )
    size = package.path.stat().st_size
    say(f"uploaded s3://{package.bucket}/{package.key} ({size:,} bytes)")


# ---------------------------------------------------------------- the stack


def describe(cfn, name: str) -> dict | None:
    """The stack as CloudFormation knows it; None if it is not there, or never got further than
    a change set."""
    try:
        stack = cfn.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return None
        raise
    return None if stack["StackStatus"] == "REVIEW_IN_PROGRESS" else stack


def existing(cfn, name: str) -> dict:
    """The stack, which must be there."""
    stack = describe(cfn, name)
    if stack is None:
        raise DeployError(f"stack {name} does not exist in {cfn.meta.region_name}")
    return stack


def check_deployable(stack: dict | None, name: str, env: str | None) -> None:
    """Refuse what would fail half-way, or turn one environment into another."""
    # The statement bucket is called <stack>-<account>-<region> and may have 63 characters.
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,34}", name):
        raise DeployError(
            f"stack name {name}: lower case, digits and '-', at most 35 characters "
            "(the bucket is named after it)"
        )
    if stack is None:
        return
    status = stack["StackStatus"]
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"):
        raise DeployError(f"stack {name} is {status}: run `lambda/deploy.sh delete` first")
    if status.endswith("_IN_PROGRESS"):
        raise DeployError(f"stack {name} is {status}: another deployment is running")
    deployed = {p["ParameterKey"]: p.get("ParameterValue") for p in stack.get("Parameters", [])}
    if env and env != deployed.get("Environment", env):
        raise DeployError(f"stack {name} is {deployed['Environment']}, not {env}")


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """KEY=VALUE arguments; the value '-' is asked for."""
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise DeployError(f"{pair}: expected KEY=VALUE")
        if value == "-":
            asked = getpass.getpass(f"{key}: ") if sys.stdin.isatty() else sys.stdin.readline()
            value = asked.rstrip("\n")
        overrides[key] = value
    return overrides


def stack_parameters(known: set[str], stack: dict | None, given: dict[str, str]) -> list[dict]:
    """What create_change_set gets: given values, and for the others those of the stack."""
    if unknown := sorted(set(given) - known):
        raise DeployError(
            f"unknown parameter {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    # An older template may have had parameters that are gone.
    kept = {p["ParameterKey"] for p in (stack or {}).get("Parameters", [])} & known - set(given)
    return [
        *({"ParameterKey": key, "ParameterValue": value} for key, value in given.items()),
        *({"ParameterKey": key, "UsePreviousValue": True} for key in sorted(kept)),
    ]


def pauses() -> Iterator[float]:
    """Short waits first (a local endpoint is fast), then five seconds; half an hour in all."""
    waited, pause = 0.0, 0.2
    while waited < 1800:
        yield pause
        waited, pause = waited + pause, min(pause * 1.5, 5)


def make_change_set(cfn, name: str, parameters: list[dict], create: bool) -> dict | None:
    """A change set ready to be run, or None when there is nothing to change."""
    made = cfn.create_change_set(
        StackName=name,
        ChangeSetName=f"deploy-{time.time_ns()}",
        ChangeSetType="CREATE" if create else "UPDATE",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
        Tags=[{"Key": "project", "Value": "xapi-elt"}],
    )
    for pause in pauses():
        change_set = cfn.describe_change_set(ChangeSetName=made["Id"], StackName=name)
        if change_set["Status"] == "CREATE_COMPLETE":
            return change_set
        if change_set["Status"] == "FAILED":
            reason = explain(cfn, change_set.get("StatusReason", ""), ChangeSetName=made["Id"])
            drop_change_set(cfn, change_set, create)
            if "didn't contain changes" in reason or "No updates" in reason:
                return None
            raise DeployError(f"stack {name}: {reason}")
        time.sleep(pause)
    raise DeployError(f"stack {name}: the change set is not ready after half an hour")


def explain(cfn, reason: str, **operation: str) -> str:
    """The reason CloudFormation gives, with the validation errors it only points to."""
    if "DescribeEvents" not in reason:
        return reason
    failed = cfn.describe_events(**operation, Filters={"FailedEvents": True})["OperationEvents"]
    found = [
        f"{event.get('LogicalResourceId', '')}: {event['ValidationStatusReason']}"
        for event in failed
        if event.get("ValidationStatusReason")
    ]
    return "\n    ".join(found) or reason


def drop_change_set(cfn, change_set: dict, created: bool) -> None:
    """Leave nothing of a change set that will not run, not even the empty stack it stands for."""
    cfn.delete_change_set(ChangeSetName=change_set["ChangeSetId"])
    if created:
        cfn.delete_stack(StackName=change_set["StackId"])


def changes_in(change_set: dict) -> str:
    """What a change set would do, one line per resource."""
    rows = [("ACTION", "RESOURCE", "TYPE", "REPLACED")]
    for change in change_set["Changes"]:
        resource = change["ResourceChange"]
        rows.append(
            (
                resource["Action"],
                resource["LogicalResourceId"],
                resource["ResourceType"],
                resource.get("Replacement", ""),
            )
        )
    return table(rows)


def events(cfn, stack_id: str) -> list[dict]:
    """All events of the stack, oldest first."""
    pages = cfn.get_paginator("describe_stack_events").paginate(StackName=stack_id)
    return [event for page in pages for event in page["StackEvents"]][::-1]


def follow(cfn, stack_id: str, seen: set[str]) -> dict:
    """Print events until the stack rests, and return it; fail with the reasons it gives."""
    failures = []
    for pause in pauses():
        stack = cfn.describe_stacks(StackName=stack_id)["Stacks"][0]
        for event in events(cfn, stack_id):
            if event["EventId"] in seen:
                continue
            seen.add(event["EventId"])
            status = event["ResourceStatus"]
            reason = explain(cfn, event.get("ResourceStatusReason", ""), StackName=stack_id)
            line = f"{status:28} {event['LogicalResourceId']}  {reason}".rstrip()
            say(line)
            if status.endswith("_FAILED") and "cancelled" not in reason:
                failures.append(line)
        status = stack["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"):
                return stack
            reasons = "\n".join(f"  {line}" for line in failures) or stack.get("StackStatusReason")
            raise DeployError(f"stack {stack['StackName']} is {status}:\n{reasons}")
        time.sleep(pause)
    raise DeployError(f"stack {stack_id} is still busy after half an hour")


def print_outputs(stack: dict, as_json: bool) -> None:
    """The outputs, for people or for programs."""
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}
    if as_json:
        print(json.dumps(outputs, indent=2))
    elif outputs:
        print(table([("OUTPUT", "VALUE"), *sorted(outputs.items())]))


# ---------------------------------------------------------------- the commands


def package_command(session: boto3.Session, options: argparse.Namespace) -> None:
    """Build and upload the function's zip."""
    package = Package.build(session, options)
    if options.dry_run:
        say(f"would upload {package.path}")
    else:
        upload(session.client("s3"), package)
    print(table([("CodeBucket", package.bucket), ("CodeKey", package.key)]))


def deploy_command(session: boto3.Session, options: argparse.Namespace) -> None:
    """Package, then create the stack or update it."""
    cfn = session.client("cloudformation")
    name = options.stack_name
    stack = existing(cfn, name) if options.command == "update" else describe(cfn, name)
    check_deployable(stack, name, options.env)

    given = parse_overrides(options.parameters)
    if fixed := sorted({"Environment", "CodeBucket", "CodeKey"} & set(given)):
        raise DeployError(f"{', '.join(fixed)}: use --env, --code-bucket, --zip")
    package = Package.build(session, options)
    given |= {"CodeBucket": package.bucket, "CodeKey": package.key}
    if options.env or not stack:
        given["Environment"] = options.env or "dev"
    known = cfn.validate_template(TemplateBody=TEMPLATE.read_text())["Parameters"]
    parameters = stack_parameters({p["ParameterKey"] for p in known}, stack, given)

    change_set = make_change_set(cfn, name, parameters, create=not stack)
    if change_set is None:
        say(f"stack {name}: nothing to change")
    elif options.dry_run:
        drop_change_set(cfn, change_set, created=not stack)
        print(changes_in(change_set))
        return
    else:
        say(changes_in(change_set))
        upload(session.client("s3"), package)
        seen = {event["EventId"] for event in events(cfn, change_set["StackId"])}
        cfn.execute_change_set(ChangeSetName=change_set["ChangeSetId"])
        follow(cfn, change_set["StackId"], seen)
    print_outputs(describe(cfn, name), options.json)


def delete_command(session: boto3.Session, options: argparse.Namespace) -> None:
    """Delete the stack; the statements stay in their bucket."""
    cfn = session.client("cloudformation")
    stack = existing(cfn, options.stack_name)
    resources = cfn.describe_stack_resources(StackName=stack["StackId"])["StackResources"]
    buckets = [
        r["PhysicalResourceId"]
        for r in resources
        if r["ResourceType"] == "AWS::S3::Bucket" and r.get("PhysicalResourceId")
    ]
    say(f"deletes stack {options.stack_name}: {len(resources)} resources, queued messages and logs")
    for bucket in buckets:
        say(f"keeps bucket {bucket} and all statements in it")
    if options.dry_run:
        return
    if not options.yes:
        if not sys.stdin.isatty():
            raise DeployError("not asked, not deleted: add --yes")
        if input(f"type {options.stack_name} to go on: ") != options.stack_name:
            raise DeployError("not deleted")
    seen = {event["EventId"] for event in events(cfn, stack["StackId"])}
    cfn.delete_stack(StackName=stack["StackId"])
    follow(cfn, stack["StackId"], seen)
    for bucket in buckets:
        say(f"kept {bucket}; a new stack reads it with ExistingBucketName={bucket}")


def outputs_command(session: boto3.Session, options: argparse.Namespace) -> None:
    """Show the outputs of the deployed stack."""
    cfn = session.client("cloudformation")
    print_outputs(existing(cfn, options.stack_name), options.json)


COMMANDS = {
    "package": package_command,
    "deploy": deploy_command,
    "update": deploy_command,
    "delete": delete_command,
    "outputs": outputs_command,
}

HELP = """\
package   build the function's zip and upload it
deploy    package, then create the stack, or update it if it is there
update    the same for a stack that must be there: new code and template, parameters kept
delete    delete the stack; the bucket with the statements stays
outputs   show what the stack made: bucket, queue, function, role
"""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="lambda/deploy.sh",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="|".join(COMMANDS))
    parser.add_argument("parameters", nargs="*", metavar="KEY=VALUE", help="template parameters")
    parser.add_argument("--env", choices=["dev", "staging", "prod"], help="default: dev")
    parser.add_argument("--stack-name", help="default: xapi-elt-<env>")
    parser.add_argument("--region", help="default: AWS_REGION or the profile's")
    parser.add_argument("--code-bucket", help="default: xapi-elt-code-<account>-<region>, created")
    parser.add_argument("--zip", type=Path, help="a package built elsewhere; default: build it")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would change, change nothing"
    )
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    parser.add_argument("--json", action="store_true", help="outputs as JSON")
    options = parser.parse_intermixed_args(arguments)
    options.stack_name = options.stack_name or f"xapi-elt-{options.env or 'dev'}"
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when all that was asked is done."""
    options = parse(arguments)
    try:
        session = boto3.Session(region_name=options.region or os.environ.get("AWS_REGION"))
        if session.region_name is None:
            raise DeployError("no region: set AWS_REGION or --region")
        COMMANDS[options.command](session, options)
    except (DeployError, build.BuildError, ClientError, BotoCoreError, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Deploy the pipeline: package the function, create or update its stacks, print their outputs.

Needs boto3 and AWS credentials, not the AWS CLI. AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL and
the other AWS_* settings work as usual.
"""

import argparse
import getpass
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import make_zip
from botocore.exceptions import BotoCoreError, ClientError
from console import DeployError, say, table
from package import Package, upload
from stack import (
    TEMPLATE,
    TRANSFORM,
    changes_in,
    check_deployable,
    describe,
    drop_change_set,
    events,
    existing,
    follow,
    make_change_set,
    stack_parameters,
)

EXAMPLES = """
examples:
  lambda/deploy.sh deploy --env prod ClickHouseHost=ch.example.org ClickHousePassword=-
  lambda/deploy.sh deploy --env prod --dry-run BatchSize=200
  lambda/deploy.sh update --env prod
  lambda/deploy.sh transform --env prod Image=… SubnetIds=… SecurityGroupIds=… PasswordSecretArn=…
  lambda/deploy.sh outputs --env prod --json
  lambda/deploy.sh outputs --env prod --export > prod.env && . ./prod.env

KEY=VALUE sets a parameter of lambda/template.yaml, or of lambda/transform.yaml. For the value '-',
the command prompts (or reads standard input), so that a password is not in the shell's history.
Other parameters keep the value of the deployed stack, or have the template's default.
"""


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """Parse KEY=VALUE arguments; prompt for the value '-'."""
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise DeployError(f"{pair}: expected KEY=VALUE")
        if value == "-":
            line = getpass.getpass(f"{key}: ") if sys.stdin.isatty() else sys.stdin.readline()
            value = line.rstrip("\n")
        overrides[key] = value
    return overrides


def print_outputs(stack: dict, as_json: bool) -> None:
    """Print the stack's outputs as a table or as JSON."""
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}
    if as_json:
        print(json.dumps(outputs, indent=2))
    elif outputs:
        print(table([("OUTPUT", "VALUE"), *sorted(outputs.items())]))


# The settings of xapi-elt that are outputs of the stack.
EXPORTS = {
    "S3_XAPI_BUCKET_NAME": "BucketName",
    "XAPI_SQS_QUEUE_URL": "QueueUrl",
    "XAPI_LAMBDA_FUNCTION_NAME": "FunctionName",
}


def print_exports(stack: dict) -> None:
    """Print the stack's outputs as the settings of commands, for a shell."""
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    parameters = {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}
    settings = {name: outputs[output] for name, output in EXPORTS.items()}
    settings |= {"XAPI_STACK": stack["StackName"], "XAPI_ENVIRONMENT": parameters["Environment"]}
    for name, value in settings.items():
        print(f"export {name}={shlex.quote(value)}")


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
    change(
        cfn, name, TEMPLATE, stack, given, options, lambda: upload(session.client("s3"), package)
    )


# Parameters of the transform stack that are those of the pipeline's unless they are given.
SHARED = (
    *("ClickHouseHost", "ClickHousePort", "ClickHouseSecure"),
    *("ClickHouseDatabase", "ClickHouseCluster", "LogKmsKeyArn"),
)


def transform_command(session: boto3.Session, options: argparse.Namespace) -> None:
    """Create or update the stack that runs dbt for a deployed stack."""
    cfn = session.client("cloudformation")
    pipeline = existing(cfn, options.stack_name)
    of_pipeline = {p["ParameterKey"]: p["ParameterValue"] for p in pipeline["Parameters"]}
    name = f"{options.stack_name}-transform"
    stack = describe(cfn, name)
    check_deployable(stack, name, None)
    # A pipeline that is deployed from an older template has not all of them.
    given = {} if stack else {key: of_pipeline[key] for key in SHARED if key in of_pipeline}
    given |= parse_overrides(options.parameters)
    given |= {"PipelineStack": options.stack_name, "Environment": of_pipeline["Environment"]}
    change(cfn, name, TRANSFORM, stack, given, options, lambda: None)


def change(
    cfn,
    name: str,
    template: Path,
    stack: dict | None,
    given: dict[str, str],
    options: argparse.Namespace,
    prepare: Callable[[], None],
) -> None:
    """Create a stack or update it, and print its outputs.

    Args:
        cfn: client of CloudFormation.
        name: the stack's name.
        template: its template.
        stack: the deployed stack; None if there is none.
        given: parameters that do not keep their value.
        options: options of the command.
        prepare: called before something is changed.
    """
    known = cfn.validate_template(TemplateBody=template.read_text())["Parameters"]
    parameters = stack_parameters({p["ParameterKey"] for p in known}, stack, given)
    change_set = make_change_set(cfn, name, template, parameters, create=not stack)
    if change_set is None:
        say(f"stack {name}: nothing to change")
    elif options.dry_run:
        drop_change_set(cfn, change_set, created=not stack)
        print(changes_in(change_set))
        return
    else:
        say(changes_in(change_set))
        prepare()
        seen = {event["EventId"] for event in events(cfn, change_set["StackId"])}
        cfn.execute_change_set(ChangeSetName=change_set["ChangeSetId"])
        follow(cfn, change_set["StackId"], seen)
    print_outputs(describe(cfn, name), options.json)


def delete_command(session: boto3.Session, options: argparse.Namespace) -> None:
    """Delete the stack; the statements remain in their bucket."""
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
            raise DeployError("not deleted, because this is not a terminal: add --yes")
        if input(f"type {options.stack_name} to continue: ") != options.stack_name:
            raise DeployError("not deleted")
    seen = {event["EventId"] for event in events(cfn, stack["StackId"])}
    cfn.delete_stack(StackName=stack["StackId"])
    follow(cfn, stack["StackId"], seen)
    for bucket in buckets:
        say(f"kept {bucket}; a new stack reads it with ExistingBucketName={bucket}")


def outputs_command(session: boto3.Session, options: argparse.Namespace) -> None:
    """Show the outputs of the deployed stack."""
    stack = existing(session.client("cloudformation"), options.stack_name)
    if options.export:
        print_exports(stack)
    else:
        print_outputs(stack, options.json)


COMMANDS = {
    "package": package_command,
    "deploy": deploy_command,
    "update": deploy_command,
    "transform": transform_command,
    "delete": delete_command,
    "outputs": outputs_command,
}

HELP = """\
package   build the function's zip and upload it
deploy    package, then create the stack, or update it if it exists
update    the same for an existing stack: new code and template, the same parameters
transform create or update a second stack, <stack>-transform, that runs dbt on a schedule
delete    delete the stack; the bucket with the statements remains
outputs   show the stack's outputs: bucket, queue, function, role
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
    parser.add_argument("--export", action="store_true", help="outputs as settings, for a shell")
    options = parser.parse_intermixed_args(arguments)
    options.stack_name = options.stack_name or f"xapi-elt-{options.env or 'dev'}"
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code: 0 if it succeeded."""
    options = parse(arguments)
    try:
        session = boto3.Session(region_name=options.region or os.environ.get("AWS_REGION"))
        if session.region_name is None:
            raise DeployError("no region: set AWS_REGION or --region")
        COMMANDS[options.command](session, options)
    except (DeployError, make_zip.BuildError, ClientError, BotoCoreError, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

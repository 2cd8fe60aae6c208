"""Query and change the stack in CloudFormation, and follow the changes."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import ClientError
from console import DeployError, say, table

TEMPLATE = Path(__file__).resolve().parent / "template.yaml"
TRANSFORM = TEMPLATE.with_name("transform.yaml")


def describe(cfn, name: str) -> dict | None:
    """CloudFormation's description of the stack; None if it does not exist, or if it has only a
    change set so far."""
    try:
        stack = cfn.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return None
        raise
    return None if stack["StackStatus"] == "REVIEW_IN_PROGRESS" else stack


def existing(cfn, name: str) -> dict:
    """CloudFormation's description of the stack.

    Raises:
        DeployError: it does not exist.
    """
    stack = describe(cfn, name)
    if stack is None:
        raise DeployError(f"stack {name} does not exist in {cfn.meta.region_name}")
    return stack


def check_deployable(stack: dict | None, name: str, env: str | None) -> None:
    """Refuse a deployment that would fail later, or change the stack's environment."""
    # The statement bucket's name is <stack>-<account>-<region>, at most 63 characters.
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


def stack_parameters(known: set[str], stack: dict | None, given: dict[str, str]) -> list[dict]:
    """The parameters for create_change_set: the given values, else those of the stack."""
    if unknown := sorted(set(given) - known):
        raise DeployError(
            f"unknown parameter {', '.join(unknown)}; accepted: {', '.join(sorted(known))}"
        )
    # Parameters of an older template that this one does not have are left out.
    kept = {p["ParameterKey"] for p in (stack or {}).get("Parameters", [])} & known - set(given)
    return [
        *({"ParameterKey": key, "ParameterValue": value} for key, value in given.items()),
        *({"ParameterKey": key, "UsePreviousValue": True} for key in sorted(kept)),
    ]


def pauses() -> Iterator[float]:
    """Seconds to wait between requests: short at first, for local endpoints, then five; half an
    hour in total."""
    waited, pause = 0.0, 0.2
    while waited < 1800:
        yield pause
        waited, pause = waited + pause, min(pause * 1.5, 5)


def make_change_set(
    cfn, name: str, template: Path, parameters: list[dict], create: bool
) -> dict | None:
    """Create a change set and wait until it can be executed; None if nothing would change."""
    created = cfn.create_change_set(
        StackName=name,
        ChangeSetName=f"deploy-{time.time_ns()}",
        ChangeSetType="CREATE" if create else "UPDATE",
        TemplateBody=template.read_text(),
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
        Tags=[{"Key": "project", "Value": "xapi-elt"}],
    )
    for pause in pauses():
        change_set = cfn.describe_change_set(ChangeSetName=created["Id"], StackName=name)
        if change_set["Status"] == "CREATE_COMPLETE":
            return change_set
        if change_set["Status"] == "FAILED":
            reason = explain(cfn, change_set.get("StatusReason", ""), ChangeSetName=created["Id"])
            drop_change_set(cfn, change_set, create)
            if "didn't contain changes" in reason or "No updates" in reason:
                return None
            raise DeployError(f"stack {name}: {reason}")
        time.sleep(pause)
    raise DeployError(f"stack {name}: the change set is not ready after half an hour")


def explain(cfn, reason: str, **operation: str) -> str:
    """CloudFormation's reason; if it only refers to validation errors, those errors."""
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
    """Delete a change set that will not be executed, and the empty stack that it created."""
    cfn.delete_change_set(ChangeSetName=change_set["ChangeSetId"])
    if created:
        cfn.delete_stack(StackName=change_set["StackId"])


def changes_in(change_set: dict) -> str:
    """Format the changes of a change set, one line per resource."""
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
    """All events of a stack, oldest first."""
    pages = cfn.get_paginator("describe_stack_events").paginate(StackName=stack_id)
    return [event for page in pages for event in page["StackEvents"]][::-1]


def follow(cfn, stack_id: str, seen: set[str]) -> dict:
    """Print a stack's new events until no change is in progress; return its description.

    Raises:
        DeployError: the change failed; the text has the reasons.
    """
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

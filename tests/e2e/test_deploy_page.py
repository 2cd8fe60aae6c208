"""docs/deploy.md, run as it is written, in its order, against a local AWS and a stand-in for the
server. Only the values of the reader (the block below "Your values") are those of the test."""

import os
import time

from tests.e2e.stage import PATIENCE
from tests.helpers.deploy_page import Shell, commands
from tests.helpers.ministack import REGION, wait_until
from tests.helpers.small_database import ONE_OF_EACH

VALUES = {
    "ch.example.org": "127.0.0.1",
    "CLICKHOUSE_SECURE=true": "CLICKHOUSE_SECURE=false",
    "eu-central-1": REGION,
}


def test_the_page_leads_to_statements_in_the_tables(stack, tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "statements.jsonl").write_text("\n".join(ONE_OF_EACH))
    values = VALUES | {"8443": str(stack.clickhouse.port)}
    environment = {name: os.environ[name] for name in ("PATH", "HOME")} | stack.aws.environment
    environment |= {"DBT_TARGET_PATH": f"{folder}/target", "DBT_LOG_PATH": f"{folder}/logs"}
    shell = Shell(folder, environment, f"{stack.clickhouse.password}\n" * 2)
    said: dict[str, str] = {}
    for command in commands():
        if command.skipped:
            continue
        text = command.text
        if text.startswith(("export XAPI_TARGET", "export AWS_REGION")):
            for written, value in values.items():
                text = text.replace(written, value)
        started = time.monotonic()
        if command.is_endless:
            said[command.text] = worked(shell, text)
        else:
            said[command.text] = shell.run(text)
        print(f"{time.monotonic() - started:6.1f} s  {text}")
        if text.startswith("lambda/deploy.sh deploy --env prod ClickHouseHost"):
            # What MiniStack needs before its queue is consumed.
            stack.aws._repair_mappings("xapi-elt-prod")
        if "xapi-elt send" in text:
            wait_until(stack.clickhouse.visible, PATIENCE)
    assert "committed" in said["xapi-elt status"]
    assert "fail" not in said["xapi-elt doctor"]
    assert '"held": 1' in said["xapi-elt invoke event.json --function xapi-elt-prod"]
    [row] = stack.clickhouse.query(
        "select count() as events from {database:Identifier}.video_events where section_id = 2161"
    )
    assert row == {"events": 1}


def worked(shell: Shell, command: str) -> str:
    """Start the worker, and stop it when it waits for messages; what it printed."""
    process = shell.start(command)
    lines = []
    while line := process.stdout.readline():
        lines.append(line)
        if "started" in line and "queue" in line:
            break
    output = "".join(lines) + shell.stop(process)
    assert "stopped" in output, output
    return output

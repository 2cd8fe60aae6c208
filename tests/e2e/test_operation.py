"""What operators and producers do with a deployed stack, by the commands of docs/deploy.md and
docs/operate.md."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from loader.clickhouse.connect import open_warehouse
from loader.settings import Settings
from tests.e2e.stage import PATIENCE
from tests.helpers.paths import ROOT, SHARED
from tests.helpers.secrets import MARK, shows_secret

LINE = b'{"verb":{"id":"x"}}\n'


def pause(stack, enabled: bool) -> None:
    """Stop or resume the event source mapping, as docs/operate.md says."""
    functions = stack.aws.client("lambda")
    found = functions.list_event_source_mappings(FunctionName=stack.outputs["FunctionName"])
    [mapping] = found["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def test_statements_are_sent_in_three_modes_and_the_function_answers(stack, tmp_path):
    """One file by each way; then what the deployed function says of itself."""
    stack.deploy()
    file = tmp_path / "statements.jsonl"
    file.write_bytes(LINE * 4)
    for mode, rows in (("direct", 4), ("lambda", 4), ("s3", None)):
        answer = stack.command("send", file, "--section-id", 7, "--json", XAPI_ETL_MODE=mode)
        assert [item["rows"] for item in answer["sent"]] == [rows]
    stack.wait_until_empty()
    visible = stack.clickhouse.visible()
    assert list(visible.values()) == [4, 4, 4]
    assert all(key.startswith("section/7/video/") for key in visible)
    modes = "select mode from {raw:Identifier}.loads order by mode"
    assert [row["mode"] for row in stack.clickhouse.query(modes)] == ["event", "file", "test"]

    def ask(event: dict, code: int = 0) -> dict:
        path = tmp_path / "event.json"
        path.write_text(json.dumps(event))
        name = stack.outputs["FunctionName"]
        return stack.command("invoke", path, "--function", name, code=code)

    assert ask({"health_check": True})["status"] == "ok"
    diagnostics = ask({"diagnostics": True})
    assert [check["verdict"] for check in diagnostics["checks"]] == ["ok", "ok", "ok"]
    assert diagnostics["settings"]["allowed_buckets"] == [stack.bucket]
    assert not shows_secret(json.dumps(diagnostics))
    dry = ask({"mode": "bulk", "section": 7, "dry_run": True})
    assert (dry["objects"], dry["held"]) == (1, 1)
    assert ask({"bucket": stack.bucket, "key": "gone.jsonl"}, code=1) == ""
    stack.clickhouse.kill()
    assert ask({"health_check": True}, code=1)["status"] == "fail"
    stack.clickhouse.start()


def test_objects_that_were_there_before_are_loaded_in_bulk(stack, tmp_path):
    """They were never notified of: the mapping was paused and the queue purged."""
    stack.deploy()
    pause(stack, enabled=False)
    for number in range(30):
        stack.put(f"section/{number % 3}/video/2025-10-01T00-00-15.1Z_{number}.jsonl", LINE)
    stack.sqs.purge_queue(QueueUrl=stack.outputs["QueueUrl"])
    path = tmp_path / "event.json"
    path.write_text('{"mode": "bulk", "section_ids": [0, 1]}')
    answer = stack.command("invoke", path, "--function", stack.outputs["FunctionName"])
    assert (answer["objects"], answer["complete"]) == ({"committed": 20}, True)
    assert len(stack.clickhouse.visible()) == 20


def test_a_rotated_password_is_picked_up_by_a_warm_function(stack, until):
    """ClickHouse gets the new one first; what fails in between comes again."""
    stack.deploy()
    stack.put("section/1/video/before.jsonl", LINE)
    stack.wait_until_empty()
    stack.clickhouse.kill()
    stack.clickhouse.password = f"second-{MARK}"
    stack.clickhouse.start()
    stack.put("section/1/video/between.jsonl", LINE)
    until(stack.rejected)
    assert set(stack.clickhouse.visible()) == {"section/1/video/before.jsonl"}
    stack.aws.client("secretsmanager").put_secret_value(
        SecretId=stack.outputs["PasswordSecretArn"], SecretString=f"second-{MARK}"
    )
    stack.put("section/1/video/after.jsonl", LINE)
    stack.wait_until_empty()
    assert len(stack.clickhouse.visible()) == 3
    assert not shows_secret(str(stack.log()) + stack.aws.log(10_000))


def test_dead_letters_are_redriven_after_the_repair(stack):
    stack.deploy("MaxReceiveCount=1")
    stack.notify("section/1/video/late.jsonl")
    stack.wait_until_empty()
    page = stack.command("redrive", "--status", "--json")
    assert (page["dead"], [row["messages"] for row in page["reasons"]]) == (1, [1])
    stack.put("section/1/video/late.jsonl", LINE)
    stack.wait_until_empty()
    assert stack.command("redrive", "--yes", "--json")["moved"] == 1
    stack.wait_until_empty()
    assert stack.clickhouse.visible() == {"section/1/video/late.jsonl": 1}
    assert stack.command("redrive", "--status", "--json")["dead"] == 0


@pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"no shared data in {SHARED} (set XAPI_SHARED_DATA)"
)
def test_the_worker_alone_brings_a_new_object_into_video_events(stack, tmp_path, until):
    """On an embedded database; the function is paused. It prints how long it took, which depends on
    the machine."""
    stack.deploy()
    pause(stack, enabled=False)
    database = tmp_path / "embedded"
    environment = stack.environment | {"XAPI_TARGET": "embedded", "XAPI_CHDB_PATH": str(database)}
    log = tmp_path / "worker.log"
    with log.open("w") as output:
        worker = subprocess.Popen(
            [Path(sys.executable).with_name("xapi-elt"), "worker", "--transform", "--json"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        # The first run builds the empty tables; afterwards it only waits for messages.
        until(lambda: '"transformed"' in log.read_text())
        started = time.monotonic()
        body = (SHARED / "torus_shapes.jsonl").read_bytes()
        stack.put("section/2161/video/2025-10-01T00-00-15.123456Z_AB.jsonl", body)
        until(lambda: log.read_text().count('"transformed"') > 1)
        seconds = time.monotonic() - started
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, log.read_text()
    finally:
        worker.kill()
    settings = Settings(chdb_path=str(database))
    with closing(open_warehouse(settings)) as warehouse:
        [row] = warehouse.query(
            "select count() as events, uniqExact(source_path) as objects "
            "from {database:Identifier}.video_events"
        )
    print(f"from put to video_events: {seconds:.1f} s")
    assert (row["events"] > 0, row["objects"]) == (True, 1)


def deploy(stack, *arguments: str) -> str:
    """Run lambda/deploy.sh; what it printed."""
    done = subprocess.run(
        [ROOT / "lambda" / "deploy.sh", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **stack.aws.environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_stack_is_updated_and_deleted_and_the_statements_stay(stack):
    """And a later stack takes the bucket over."""
    stack.deploy()
    stack.put("section/1/video/a.jsonl", LINE)
    stack.wait_until_empty()
    assert "nothing to change" in deploy(stack, "update")
    assert "Function" in deploy(stack, "update", "--dry-run", "LogLevel=DEBUG")
    assert "UPDATE_COMPLETE" in deploy(stack, "update", "LogLevel=DEBUG")
    assert "QueueUrl" in deploy(stack, "outputs")
    bucket = stack.bucket
    assert f"kept {bucket}" in deploy(stack, "delete", "--yes")
    found = stack.s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [item["Key"] for item in found] == ["section/1/video/a.jsonl"]
    stack.deploy(f"ExistingBucketName={bucket}")
    assert stack.bucket == bucket
    assert "put-bucket-notification-configuration" in stack.outputs["NotificationCommand"]

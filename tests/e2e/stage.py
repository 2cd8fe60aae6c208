"""A deployed stack and the ClickHouse server beside it, for tests to play with."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from loader.clickhouse.http import HttpWarehouse
from loader.settings import Settings
from tests.helpers.clickhouse_process import start_process
from tests.helpers.lambda_template import TEMPLATE
from tests.helpers.ministack import MiniStack, free_port, wait_until
from tests.helpers.secrets import PASSWORD
from tests.helpers.trigger_stage import visible_rows

CONFIG = """
<clickhouse>
    <named_collections>
        <xapi_s3>
            <url>{endpoint}/</url>
            <access_key_id>test</access_key_id>
            <secret_access_key>test</secret_access_key>
        </xapi_s3>
    </named_collections>
</clickhouse>
"""

# Seconds to wait for what must happen: a bound for what never happens, however busy the machine is.
PATIENCE = 600

COMMITTED = """
select bucket, key, etag, rows from {raw:Identifier}.loads where outcome = 'committed'
"""

REASONS = """
select key, groupUniqArray(error) as errors
from {raw:Identifier}.loads
where outcome != 'committed'
group by key
"""


class ClickHouse:
    """A ClickHouse server as a separate process, which can be killed and started again."""

    def __init__(self, folder: Path, s3_endpoint: str):
        self.port = free_port()
        self.password = PASSWORD
        self._folder = folder
        self._faults = folder / "fault.json"
        self._config = folder / "config.xml"
        self._config.write_text(CONFIG.format(endpoint=s3_endpoint))
        self._process: subprocess.Popen | None = None

    @property
    def settings(self) -> Settings:
        """How to talk to it."""
        return Settings(target="server", host="127.0.0.1", port=self.port, password=self.password)

    def start(self) -> None:
        """Start it, on the data it had before."""
        self._process, _ = start_process(
            *("--path", str(self._folder / "clickhouse"), "--config-file", str(self._config)),
            *("--port", str(self.port), "--user", "any", "--password", self.password),
            *("--fault-file", str(self._faults)),
        )

    def kill(self) -> None:
        """Kill it at once."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def fault(self, match: str = "", fault: Any = None, times: int = 1) -> None:
        """Do this to the next statements that match; nothing any more without arguments."""
        wanted = {"match": match, "fault": fault, "times": times} if fault else {}
        # The new file replaces the old one in one step: half a file is never read.
        new = self._faults.with_suffix(".new")
        new.write_text(json.dumps(wanted))
        new.replace(self._faults)

    def query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Ask it, over HTTP."""
        with closing(HttpWarehouse(self.settings)) as warehouse:
            return warehouse.query(sql, **values)

    def visible(self) -> dict[str, int]:
        """Rows that readers may see, by key; each line once, all of one load."""
        with closing(HttpWarehouse(self.settings)) as warehouse:
            return visible_rows(warehouse)

    def reasons(self) -> dict[str, list[str]]:
        """Why objects are not committed, by key."""
        return {row["key"]: row["errors"] for row in self.query(REASONS)}


class Stack:
    """The deployed pipeline."""

    def __init__(self, aws: MiniStack, clickhouse: ClickHouse):
        self.aws = aws
        self.clickhouse = clickhouse
        self.outputs: dict[str, str] = {}
        self.s3 = aws.client("s3")
        self.sqs = aws.client("sqs")

    def deploy(self, *arguments: str, visibility: int = 60, template: Path = TEMPLATE) -> None:
        """Deploy the real template with the real zip. A message whose invocation died comes again
        after `visibility` seconds; one that the function returns when the function says so."""
        self.outputs = self.aws.deploy(
            "ClickHouseHost=127.0.0.1",
            f"ClickHousePort={self.clickhouse.port}",
            "ClickHouseSecure=false",
            f"ClickHousePassword={self.clickhouse.password}",
            *arguments,
            retry_after=visibility,
            template=template,
        )

    @property
    def bucket(self) -> str:
        """The bucket of the statements."""
        return self.outputs["BucketName"]

    @property
    def environment(self) -> dict[str, str]:
        """For `xapi-elt` beside this AWS and this ClickHouse."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            **self.aws.environment,
            "XAPI_TARGET": "server",
            "CLICKHOUSE_HOST": "127.0.0.1",
            "CLICKHOUSE_PORT": str(self.clickhouse.port),
            "CLICKHOUSE_PASSWORD": self.clickhouse.password,
            "S3_XAPI_BUCKET_NAME": self.bucket,
            "XAPI_SQS_QUEUE_URL": self.outputs["QueueUrl"],
            "XAPI_LAMBDA_FUNCTION_NAME": self.outputs["FunctionName"],
        }

    def command(self, *arguments: Any, code: int = 0, **environment: str) -> Any:
        """Run `xapi-elt`; what it printed as JSON, if it did."""
        command = [Path(sys.executable).with_name("xapi-elt"), *map(str, arguments)]
        environment = self.environment | environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

    def put(self, key: str, body: bytes) -> None:
        """Write an object, as the platform does."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def notify(self, key: str, bucket: str = "", etag: str = "", times: int = 1) -> None:
        """Put notifications into the queue, as EventBridge writes them."""
        about = {"key": key} | ({"etag": etag} if etag else {})
        event = {
            "source": "aws.s3",
            "detail-type": "Object Created",
            "detail": {"bucket": {"name": bucket or self.bucket}, "object": about},
        }
        for _ in range(times):
            self.sqs.send_message(QueueUrl=self.outputs["QueueUrl"], MessageBody=json.dumps(event))

    def waiting(self, queue: str = "QueueUrl") -> int:
        """Messages in a queue, hidden ones included."""
        answer = self.sqs.get_queue_attributes(QueueUrl=self.outputs[queue], AttributeNames=["All"])
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(answer["Attributes"][name]) for name in names)

    def wait_until_empty(self) -> None:
        """Wait until the queue has nothing any more: all is done, or is a dead letter.

        The pause before the next attempt grows fourfold with each failure: after four failures it
        is more than a minute.
        """
        calm = 0

        def nothing_left() -> bool:
            nonlocal calm
            calm = calm + 1 if not self.waiting() else 0
            time.sleep(0.1)
            return calm > 5

        wait_until(nothing_left, PATIENCE)

    def dead_letters(self) -> list[dict]:
        """The messages in the dead-letter queue."""
        found = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.outputs["DeadLetterQueueUrl"], MaxNumberOfMessages=10
        ).get("Messages"):
            found += [json.loads(message["Body"]) for message in messages]
        return found

    def log(self) -> list[dict]:
        """What the function wrote as JSON, metrics included."""
        logs = self.aws.client("logs")
        group = self.outputs["LogGroupName"]
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        lines = [event["message"].strip() for page in pages for event in page["events"]]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def rejected(self) -> list[dict]:
        """What the function wrote of messages that it returned."""
        return [line for line in self.log() if line.get("event") == "message_rejected"]

"""The zip as Lambda runs it: the real runtime client, and each version of Python."""

import json
import os
import subprocess
import zipfile
from contextlib import closing
from pathlib import Path

import make_zip
import pytest

from loader.clickhouse import schema
from loader.clickhouse.http import HttpWarehouse
from tests.e2e.runtime_api import PYTHON, Function, bare, measure
from tests.e2e.stage import ClickHouse

LINE = b'{"verb":{"id":"x"}}\n'

# Runs the handler with nothing but the standard library.
DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import handler
class Context:
    def get_remaining_time_in_millis(self):
        return 20_000
for event in json.loads(sys.argv[2]):
    print(json.dumps(handler.lambda_handler(event, Context())), file=sys.stderr)
print(sys.version_info[:2])
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The zip that is deployed."""
    return make_zip.build(output=tmp_path_factory.mktemp("build") / "function.zip")


@pytest.fixture
def clickhouse(tmp_path, s3_endpoint):
    """A ClickHouse that reads from the tests' S3."""
    server = ClickHouse(tmp_path, s3_endpoint)
    server.start()
    with closing(HttpWarehouse(server.settings)) as warehouse:
        schema.init(warehouse, server.settings)
    yield server
    server.kill()


def environment(clickhouse: ClickHouse, bucket: str) -> dict[str, str]:
    """The function's environment."""
    return {
        "XAPI_TARGET": "server",
        "CLICKHOUSE_HOST": "127.0.0.1",
        "CLICKHOUSE_PORT": str(clickhouse.port),
        "CLICKHOUSE_PASSWORD": clickhouse.password,
        "S3_XAPI_BUCKET_NAME": bucket,
    }


def batch(bucket: str, *keys: str) -> dict:
    """A batch of a queue."""
    return {
        "Records": [
            {
                "eventSource": "aws:sqs",
                "messageId": key,
                "receiptHandle": key,
                "body": json.dumps({"bucket": bucket, "key": key}),
            }
            for key in keys
        ]
    }


def test_the_zip_runs_under_the_real_runtime_client(package, clickhouse, bucket, put):
    """Answers, exact failures, an exception and its message; warm and cold."""
    put("section/1/video/a.jsonl", LINE * 3)
    with Function(package, environment(clickhouse, bucket)) as function:
        answer = function.invoke(batch(bucket, "section/1/video/a.jsonl", "gone.jsonl"))
        assert answer.content == {"batchItemFailures": [{"itemIdentifier": "gone.jsonl"}]}
        assert function.invoke({"health_check": True}).content["status"] == "ok"
        failed = function.invoke({"bucket": bucket, "key": "gone.jsonl"}).error
        assert failed["errorType"] == "PermanentError"
        assert "no such object" in failed["errorMessage"]
        answer = function.invoke(batch(bucket, "section/1/video/a.jsonl"))
        assert answer.content == {"batchItemFailures": []}
        lines = [line for line in function.log.read_text().splitlines() if line.startswith("{")]
        assert any("_aws" in json.loads(line) for line in lines)
    assert clickhouse.visible() == {"section/1/video/a.jsonl": 3}


def test_an_invocation_ends_before_its_time(package, clickhouse, bucket, put):
    """Lambda would kill it, and say nothing of the other messages."""
    put("section/1/video/a.jsonl", LINE)
    clickhouse.fault("insert into", ["delay", 20], times=1)
    with Function(package, environment(clickhouse, bucket)) as function:
        answer = function.invoke(batch(bucket, "section/1/video/a.jsonl"), seconds=4)
    assert answer.content["batchItemFailures"] == [{"itemIdentifier": "section/1/video/a.jsonl"}]
    assert answer.seconds < 4


def pythons() -> list[Path]:
    """The interpreters there are, of the versions that the zip is for."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [Path(f"/usr/bin/python3.{minor}") for minor in (11, 12, 13)]
    found += [path for minor in (11, 12, 13) for path in versions.glob(f"3.{minor}.*/bin/python3")]
    return [path for path in found if path.exists()] or [PYTHON]


@pytest.mark.parametrize("python", pythons(), ids=str)
def test_the_zip_needs_nothing_but_the_standard_library(
    package, clickhouse, bucket, put, tmp_path, python
):
    """-I and -S: no installed packages, nothing of this folder."""
    put("section/1/video/a.jsonl", LINE * 3)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path / "task")
    events = [batch(bucket, "section/1/video/a.jsonl"), {"diagnostics": True}, {"body": "{}"}]
    done = subprocess.run(
        [python, "-I", "-S", "-c", DRIVER, tmp_path / "task", json.dumps(events)],
        env=environment(clickhouse, bucket),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stderr.splitlines()]
    assert answers[0] == {"batchItemFailures": []}
    assert answers[1]["status"] == "ok"
    assert answers[2]["rows"] == 1


def test_the_start_is_not_much_slower_than_that_of_a_bare_handler(
    package, clickhouse, bucket, put, tmp_path
):
    """The figures are printed; the limit is generous, for slow machines."""
    put("section/1/video/a.jsonl", LINE)
    variables = environment(clickhouse, bucket)
    event = batch(bucket, "section/1/video/a.jsonl")
    nothing = measure(bare(tmp_path), {}, {}, PYTHON, 3)
    ours = measure(package, variables, event, PYTHON, 3)
    print(f"bare {nothing}\nours {ours}\n{package.stat().st_size:,} bytes")
    assert package.stat().st_size <= 1_000_000
    assert ours["start"] - nothing["start"] < 500

"""Producers: statements sent into the database, into S3, or to the Lambda function."""

import gzip
import io
import json
import re
from pathlib import Path

import boto3
import pytest

from loader.demo import producer
from loader.errors import PermanentError, RetryableError, SettingsError
from loader.settings import Settings
from tests.helpers.worker_queue import LINE, LOADS, ROWS, ask

KEY = re.compile(r"section/7/video/\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z_[0-9A-F]{32}\.jsonl")


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """A plain file and a zipped one."""
    plain, zipped = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(LINE * 2)
    zipped.write_bytes(gzip.compress(LINE * 3))
    return [plain, zipped]


def test_direct_sends_into_the_database(chdb_path, files, s3_endpoint):
    sent = list(producer.send(files, Settings.from_env(), 7))
    assert [item.rows for item in sent] == [2, 3]
    assert all(KEY.fullmatch(item.place) for item in sent)
    assert {row["rows"] for row in ask(ROWS)} == {2, 3}
    assert {row["mode"] for row in ask(LOADS)} == {"file"}


def test_s3_puts_under_the_key_layout(bucket, files, monkeypatch):
    monkeypatch.setenv("XAPI_ETL_MODE", "s3")
    sent = list(producer.send(files, Settings.from_env(), 7))
    found = boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    keys = sorted(item["Key"] for item in found)
    assert sorted(item.place for item in sent) == [f"s3://{bucket}/{key}" for key in keys]
    assert all(KEY.fullmatch(key.removesuffix(".gz")) for key in keys)
    assert [key.endswith(".gz") for key in keys] in ([True, False], [False, True])


class FakeLambda:
    """A deployed function that runs the trigger here."""

    def __init__(self, fails: str = ""):
        self.events: list[dict] = []
        self._fails = fails

    def invoke(self, FunctionName, Payload):
        self.events.append(json.loads(Payload))
        if self._fails:
            answer = {"errorMessage": "ClickHouse does not answer", "errorType": self._fails}
            return {
                "FunctionError": "Unhandled",
                "Payload": io.BytesIO(json.dumps(answer).encode()),
            }
        answer = {"rows": self.events[-1]["body"].count("\n")}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


def test_lambda_sends_the_statements_in_the_event(files, monkeypatch, tmp_path):
    monkeypatch.setenv("XAPI_ETL_MODE", "lambda")
    client = FakeLambda()
    monkeypatch.setattr(producer, "_client", lambda service: client)
    large, odd = tmp_path / "large.jsonl", tmp_path / "odd.jsonl"
    large.write_bytes(b"x" * 7_000_000)
    odd.write_bytes(b"\xff\n")
    sent = list(producer.send([*files, large, odd], Settings.from_env(), 7))
    assert [item.rows for item in sent] == [2, 3, None, None]
    assert "too many for one bundle" in sent[2].error and "UTF-8" in sent[3].error
    assert [event["key"] for event in client.events] == [item.place for item in sent[:2]]
    monkeypatch.setattr(producer, "_client", lambda service: FakeLambda(fails="UnavailableError"))
    [failed] = producer.send(files[:1], Settings.from_env(), 7)
    assert "ClickHouse does not answer" in failed.error


def test_a_wrong_call_sends_nothing(chdb_path, files, monkeypatch, tmp_path):
    settings = Settings.from_env({"XAPI_ETL_MODE": "s3"})
    with pytest.raises(SettingsError, match="S3_XAPI_BUCKET_NAME"):
        list(producer.send(files, settings))
    with pytest.raises(SettingsError, match="no such file"):
        list(producer.send([*files, tmp_path / "gone.jsonl"], Settings.from_env()))
    assert not chdb_path.exists()


def test_an_event_is_too_large_before_it_is_sent():
    with pytest.raises(PermanentError, match="XAPI_ETL_MODE=s3"):
        producer.invoke(None, "f", {"body": "x" * 7_000_000})


@pytest.mark.parametrize(
    ("fails", "kind"), [("PermanentError", PermanentError), ("UnavailableError", RetryableError)]
)
def test_what_the_function_refuses_need_not_be_sent_again(fails, kind):
    with pytest.raises(kind, match="function f: ClickHouse does not answer"):
        producer.invoke(FakeLambda(fails), "f", {})

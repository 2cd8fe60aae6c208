"""What an event does: objects into ClickHouse over HTTP, and exactly the failed messages back."""

import gzip
import json
import re
from collections import Counter
from types import SimpleNamespace

import boto3
import handler
import pytest

from loader.errors import PermanentError, RetryableError
from loader.events.notifications import UnknownEventError
from tests.helpers.paths import EVENTS
from tests.helpers.secrets import PASSWORD
from tests.helpers.trigger_stage import LINE, Stage, batch, named

SAVED_BUCKET = "xapi-elt-prod-123456789012-eu-central-1"


def saved(name: str, bucket: str) -> dict:
    """A saved event, about our bucket; the versions it names are not those we wrote."""
    text = (EVENTS / f"{name}.json").read_text().replace(SAVED_BUCKET, bucket)
    return json.loads(re.sub(r'\\*"e[Tt]ag\\*": \\*"\w+\\*", ?', "", text))


PLAIN = "section/2161/video/2025-10-01T00-00-15.123456Z_0CC175B9C0F1B6A831C399E269772661.jsonl"


@pytest.mark.parametrize(
    "name",
    [
        *("sqs_direct", "sqs_eventbridge", "sqs_sns", "s3_direct", "sns_direct", "eventbridge"),
        *("bucket_key", "sqs_test_event", "test_event", "bundle", "cloudtrail", "sqs_cloudtrail"),
        *("sqs_minio", "sqs_ceph", "folder_marker"),
    ],
)
def test_each_route_brings_its_objects_into_raw(stage, put, bucket, name):
    put(PLAIN, LINE * 3)
    put("section/2161/video/a b+c%20é{1}.jsonl.gz", gzip.compress(LINE * 2))
    answer = stage.trigger.answer(saved(name, bucket), 20)
    expected = {
        "sqs_direct": 5, "sqs_eventbridge": 5, "sqs_sns": 3, "s3_direct": 2, "sns_direct": 3,
        "eventbridge": 2, "bucket_key": 2, "sqs_test_event": 0, "test_event": 0, "bundle": 2,
        "cloudtrail": 2, "sqs_cloudtrail": 3, "sqs_minio": 2, "sqs_ceph": 2, "folder_marker": 0,
    }[name]  # fmt: skip
    buckets = [""] if name == "bundle" else []
    assert sum(stage.visible(*buckets).values()) == expected
    assert answer.get("batchItemFailures", []) == []
    assert answer.get("rows", expected) == expected


def test_a_batch_is_one_insert_and_four_requests_and_the_first_has_one_more(
    stage, lake_server, put, bucket
):
    keys = [f"section/{n}/video/{n}.jsonl" for n in range(20)]
    for key in keys:
        put(key, LINE)
    events = [
        named(bucket, key, etag=boto3.client("s3").head_object(Bucket=bucket, Key=key)["ETag"])
        for key in keys
    ]
    assert stage.deliver(*events) == []
    verbs = [sql.split()[0] for sql in lake_server.queries]
    assert "system.settings" in lake_server.queries[0]
    assert verbs[1:] == ["select", "insert", "select", "insert"]
    lake_server.queries.clear()
    assert stage.deliver(*events) == []
    assert len(lake_server.queries) == 1


def test_exactly_the_failed_messages_return_with_their_reasons_in_the_ledger(stage, put, bucket):
    put("section/1/video/good.jsonl", LINE * 2)
    put("section/1/video/empty.jsonl", b"")
    failed = stage.deliver(
        named(bucket, "section/1/video/good.jsonl"),
        named(bucket, "section/1/video/gone.jsonl"),
        named(bucket, "section/1//video/odd.jsonl"),
        named("elsewhere", "section/1/video/good.jsonl"),
        "no JSON",
        {"hello": "world"},
        named(bucket, "section/1/video/empty.jsonl"),
    )
    assert failed == ["m1", "m2", "m3", "m4", "m5"]
    assert stage.visible() == {"section/1/video/good.jsonl": 2}
    ledger = stage.ledger("elsewhere")
    errors = {row["key"]: row["error"] for row in ledger if row["outcome"] == "failed"}
    assert "no such object" in errors["section/1/video/gone.jsonl"]
    assert "empty folder name" in errors["section/1//video/odd.jsonl"]
    assert "not allowed" in errors["section/1/video/good.jsonl"]
    # Nothing will mend these: they come soon, and are in the dead-letter queue within minutes.
    assert stage.delays == {f"r{number}": 30 for number in (1, 2, 3, 4, 5)}
    unknown = stage.lines("unknown_message")
    assert [(line["shape"], line["bytes"]) for line in unknown] == [
        ("text of 7", 7),
        ({"hello": "text of 5"}, 18),
    ]


def test_a_message_fails_with_any_of_its_objects_and_the_others_load(stage, put, bucket):
    put("section/1/video/good.jsonl", LINE)
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
    both = {
        "Records": [
            record | {"s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
            for key in ("section/1/video/good.jsonl", "section/1/video/gone.jsonl")
        ]
    }
    assert stage.deliver(both, named(bucket, "section/1/video/good.jsonl")) == ["m0"]
    assert stage.visible() == {"section/1/video/good.jsonl": 1}


def test_the_same_object_again_is_no_change_and_no_failure(stage, put, bucket):
    key = "section/1/video/a.jsonl"
    put(key, LINE)
    assert stage.deliver(*[named(bucket, key)] * 3) == []
    assert stage.deliver(named(bucket, key)) == []
    assert stage.visible() == {key: 1}
    assert Counter(row["outcome"] for row in stage.ledger()) == {"committed": 1}


def test_a_bundle_is_loaded_once_under_its_name_in_mode_test(stage):
    event = json.loads((EVENTS / "bundle.json").read_text()) | {"partition_id": 2}
    key = PLAIN.replace("2161", "2")
    answer = stage.trigger.answer(event, 20)
    assert answer == {"objects": {"committed": 1}, "rows": 2, "key": key}
    assert stage.trigger.answer(event, 20)["objects"] == {"skipped": 1}
    assert stage.visible("")[key] == 2
    [row] = [row for row in stage.ledger("") if row["key"] == key]
    assert (row["mode"], row["rows"]) == ("test", 2)


@pytest.mark.parametrize("body", ["", '{"a":1}', 'no JSON\n\n"ünï"\n'])
def test_a_bundle_without_a_name_goes_by_its_content(stage, body):
    answers = [stage.trigger.answer({"body": body}, 20) for _ in range(2)]
    assert answers[0]["key"] == answers[1]["key"]
    assert answers[0]["rows"] == body.count("\n") + (not body.endswith("\n") and body != "")
    assert [answer["objects"] for answer in answers] == [{"committed": 1}, {"skipped": 1}]


def test_statements_in_a_message_of_the_queue_are_not_logged(stage):
    """At each of its receives, with a key or without one, as values or as text."""
    statement = {"actor": {"mbox": "mailto:learner@example.org"}, "verb": {"id": "x"}}
    line = json.dumps(statement)
    bodies = [{"key": line}, {"bucket": line, "key": [statement]}, [statement], line, f"x {line}"]
    bodies += [{"key": "k", "body": [statement]}, {"key": "k", "body": line}, {"Message": line}]
    assert len(stage.deliver(*bodies)) == len(bodies)
    assert len(stage.lines("unknown_message")) == len(bodies)
    assert "learner" not in stage.output.getvalue()


def test_without_a_queue_a_failure_is_raised(stage, lake_server, put, bucket):
    with pytest.raises(PermanentError, match="no such object"):
        stage.trigger.answer({"bucket": bucket, "key": "section/1/video/gone.jsonl"}, 20)
    with pytest.raises(UnknownEventError):
        stage.trigger.answer({"hello": "world"}, 20)
    assert stage.lines("unknown_event")[0]["shape"] == {"hello": "text of 5"}
    with pytest.raises(UnknownEventError):
        stage.trigger.answer({"body": [{"actor": {"mbox": "mailto:learner@example.org"}}]}, 20)
    assert stage.lines("unknown_event")[1]["shape"] == {"body": "a list of 1"}
    assert "learner" not in stage.output.getvalue()
    lake_server.fault = lambda sql: "refuse"
    with pytest.raises(RetryableError, match="503"):
        stage.trigger.answer({"body": "{}"}, 20)


def test_each_object_is_logged_and_the_batch_is_measured(stage, put, bucket):
    put("section/1/video/a.jsonl", LINE * 2)
    stage.deliver(named(bucket, "section/1/video/a.jsonl"), named(bucket, "x/gone.jsonl"))
    objects = {line["object"]: line for line in stage.lines("object")}
    good = objects[f"s3://{bucket}/section/1/video/a.jsonl"]
    assert (good["outcome"], good["rows"], good["level"]) == ("committed", 2, "INFO")
    assert good["duration_ms"] >= 0 and good["load_id"]
    assert objects[f"s3://{bucket}/x/gone.jsonl"]["level"] == "WARNING"
    [metrics] = [line for line in stage.lines() if "_aws" in line]
    assert metrics["Environment"] == "dev"
    assert (metrics["ObjectsLoaded"], metrics["RowsLoaded"]) == (1, 2)
    assert metrics["MessagesRejected"] == 1
    assert metrics["CommitLag"] > 0 and metrics["LoadDuration"] >= 0
    [directive] = metrics["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "XapiElt"
    assert {metric["Name"] for metric in directive["Metrics"]} < set(metrics)
    assert PASSWORD not in stage.output.getvalue()


# Health, handler -----------------------------------------------------------------------------


def test_the_health_answer_names_the_fault_and_the_remedy(stage, lake_server):
    answer = stage.trigger.answer({"health_check": True}, 20)
    assert answer["status"] == "ok"
    assert [check["name"] for check in answer["checks"]] == ["engine", "tables"]
    answer = stage.trigger.answer({"diagnostics": True}, 20)
    assert answer["status"] == "ok"
    assert answer["settings"]["host"] == "127.0.0.1"
    assert PASSWORD not in json.dumps(answer)
    lake_server.fault = lambda sql: "refuse"
    answer = stage.trigger.answer({"health_check": True}, 20)
    assert answer["status"] == "fail"
    assert "does not answer" in answer["checks"][0]["finding"]


@pytest.mark.parametrize("secret", ["bare", "json"])
def test_the_handler_reads_its_password_from_the_secret(
    lake_server, settings, put, bucket, monkeypatch, secret
):
    put("section/1/video/a.jsonl", LINE)
    text = PASSWORD if secret == "bare" else json.dumps({"username": "x", "password": PASSWORD})
    made = boto3.client("secretsmanager").create_secret(
        Name=f"{bucket}-{secret}", SecretString=text
    )
    environment = {
        "XAPI_TARGET": "server",
        "CLICKHOUSE_HOST": "127.0.0.1",
        "CLICKHOUSE_PORT": str(lake_server.port),
        "CLICKHOUSE_PASSWORD_SECRET_ARN": made["ARN"],
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    handler.trigger.cache_clear()
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 20_000)
    event = batch(named(bucket, "section/1/video/a.jsonl"))
    assert handler.lambda_handler(event, context) == {"batchItemFailures": []}
    assert Stage(settings).visible() == {"section/1/video/a.jsonl": 1}
    handler.trigger.cache_clear()

"""What an event does: objects into ClickHouse over HTTP, and exactly the failed messages back."""

import gzip
import io
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import boto3
import handler
import pytest
from clickhouse_http import ClickHouseHttp

from loader import schema
from loader.errors import PermanentError, RetryableError, SettingsError
from loader.events import Message, UnknownEventError
from loader.http_warehouse import HttpWarehouse
from loader.load import pieces
from loader.log import Log
from loader.queue import QueueError
from loader.settings import Settings
from loader.trigger import Trigger, Verdict
from loader.warehouse import embedded_config

EVENTS = Path(__file__).with_name("events")
SAVED_BUCKET = "xapi-elt-prod-123456789012-eu-central-1"
LINE = b'{"verb":{"id":"x"}}\n'

# What readers may see: the rows of the earliest commit of each version.
VISIBLE = """
select key, etag, count() as rows, uniqExact(source_line) as places
from {raw:Identifier}.statements
where bucket in {buckets:Array(String)} and (load_id, bucket, key) in (
    select load_id, bucket, key
    from {raw:Identifier}.loads
    where outcome = 'committed'
    order by committed_at, load_id
    limit 1 by bucket, key, etag
)
group by bucket, key, etag
order by key
"""

LEDGER = """
select key, outcome, error, mode, rows
from {raw:Identifier}.loads
where bucket in {buckets:Array(String)}
order by committed_at, key
"""


@pytest.fixture(scope="module")
def running(s3_endpoint, tmp_path_factory) -> Iterator[ClickHouseHttp]:
    """A ClickHouse server that reads from the local S3."""
    config = embedded_config(Settings.from_env())
    path = tmp_path_factory.mktemp("clickhouse")
    with ClickHouseHttp(path, str(config), password="secret") as server:
        settings = Settings(target="server", port=server.port, password="secret")
        with closing(HttpWarehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
        yield server


@pytest.fixture
def settings(running, bucket) -> Settings:
    return Settings(
        target="server",
        host="127.0.0.1",
        port=running.port,
        password="secret",
        bucket=bucket,
        allowed_buckets=(bucket,),
    )


@pytest.fixture
def server(running) -> ClickHouseHttp:
    """The server without faults and nothing recorded; what other tests loaded is of other
    buckets."""
    running.fault = None
    running.queries.clear()
    return running


class Stage:
    """A trigger, what it logs, and what it tells its queue."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.output = io.StringIO()
        self.delays: dict[str, int] = {}
        self.warehouse = HttpWarehouse(settings)
        self.trigger = Trigger(
            settings,
            lambda: HttpWarehouse(settings),
            Log("INFO", self.output),
            delay=lambda delays: self.delays.update(delays),
        )

    def lines(self, event: str = "") -> list[dict]:
        """The lines it logged."""
        lines = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [line for line in lines if not event or line.get("event") == event]

    def deliver(self, *messages, seconds: float = 20) -> list[str]:
        """Hand out messages as a batch of a queue; the ids of those that failed."""
        answer = self.trigger.answer(batch(*messages), seconds)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def visible(self, *buckets: str) -> dict[str, int]:
        """Rows that readers may see, by key."""
        rows = self.warehouse.query(VISIBLE, buckets=[*self.settings.allowed_buckets, *buckets])
        assert all(row["rows"] == row["places"] for row in rows), rows
        return {row["key"]: row["rows"] for row in rows}

    def ledger(self, *buckets: str) -> list[dict]:
        """Rows of the ledger, oldest first."""
        return self.warehouse.query(LEDGER, buckets=[*self.settings.allowed_buckets, *buckets])


@pytest.fixture
def stage(server, settings) -> Iterator[Stage]:
    opened = Stage(settings)
    yield opened
    opened.trigger.close()


def batch(*messages) -> dict:
    """A batch of a queue; the messages are named 'm0', 'm1', …"""
    return {
        "Records": [
            {
                "eventSource": "aws:sqs",
                "messageId": f"m{number}",
                "receiptHandle": f"r{number}",
                "attributes": {"ApproximateReceiveCount": "2"},
                "body": message if isinstance(message, str) else json.dumps(message),
            }
            for number, message in enumerate(messages)
        ]
    }


def named(bucket: str, *keys: str, etag: str | None = None) -> dict:
    """A message of EventBridge for each of some keys (or one for several, by hand)."""
    about = {} if etag is None else {"etag": etag}
    events = [
        {
            "source": "aws.s3",
            "detail-type": "Object Created",
            "time": "2025-10-01T00:00:15Z",
            "detail": {"bucket": {"name": bucket}, "object": {"key": key} | about},
        }
        for key in keys
    ]
    return events[0]


def saved(name: str, bucket: str) -> dict:
    """A saved event, about our bucket; the versions it names are not those we wrote."""
    text = (EVENTS / f"{name}.json").read_text().replace(SAVED_BUCKET, bucket)
    return json.loads(re.sub(r'\\*"e[Tt]ag\\*": \\*"\w+\\*", ?', "", text))


PLAIN = "section/2161/video/2025-10-01T00-00-15.123456Z_0CC175B9C0F1B6A831C399E269772661.jsonl"


@pytest.mark.parametrize(
    "name",
    [
        *("sqs_direct", "sqs_eventbridge", "sqs_sns", "s3_direct", "sns_direct", "eventbridge"),
        *("bucket_key", "sqs_test_event", "test_event", "bundle"),
    ],
)
def test_each_route_brings_its_objects_into_raw(stage, put, bucket, name):
    put(PLAIN, LINE * 3)
    put("section/2161/video/a b+c%20é{1}.jsonl.gz", gzip.compress(LINE * 2))
    answer = stage.trigger.answer(saved(name, bucket), 20)
    expected = {
        "sqs_direct": 5, "sqs_eventbridge": 5, "sqs_sns": 3, "s3_direct": 2, "sns_direct": 3,
        "eventbridge": 2, "bucket_key": 2, "sqs_test_event": 0, "test_event": 0, "bundle": 2,
    }[name]  # fmt: skip
    buckets = [""] if name == "bundle" else []
    assert sum(stage.visible(*buckets).values()) == expected
    assert answer.get("batchItemFailures", []) == []
    assert answer.get("rows", expected) == expected


def test_a_batch_is_one_insert_and_four_requests_and_the_first_asks_once_more(
    stage, server, put, bucket
):
    keys = [f"section/{n}/video/{n}.jsonl" for n in range(20)]
    for key in keys:
        put(key, LINE)
    events = [
        named(bucket, key, etag=boto3.client("s3").head_object(Bucket=bucket, Key=key)["ETag"])
        for key in keys
    ]
    assert stage.deliver(*events) == []
    verbs = [sql.split()[0] for sql in server.queries]
    assert "system.settings" in server.queries[0]
    assert verbs[1:] == ["select", "insert", "select", "insert"]
    server.queries.clear()
    assert stage.deliver(*events) == []
    assert len(server.queries) == 1


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
    assert [line["body"] for line in unknown] == ["no JSON", '{"hello": "world"}']


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


INSERT = re.compile(r"insert into \{raw:Identifier\}\.statements")

STATEMENTS = {
    "the question what is committed": "select bucket, key, etag",
    "the insert of lines": INSERT.pattern,
    "the look at what was inserted": r"select\s+key,\s+any",
    "the commit": r"insert into \{raw:Identifier\}\.loads",
}


@pytest.mark.parametrize("fault", ["refuse", "reset", "lose_answer", "http_500", ("delay", 30)])
@pytest.mark.parametrize("place", STATEMENTS)
def test_a_fault_anywhere_acknowledges_nothing_and_loses_nothing(
    stage, server, put, bucket, place, fault
):
    """Redelivered, it is there exactly once."""
    keys = [f"section/{n}/video/{n}.jsonl" for n in range(3)]
    for key in keys:
        put(key, LINE * 2)
    etag = boto3.client("s3").head_object(Bucket=bucket, Key=keys[0])["ETag"].strip('"')
    server.fault = lambda sql: fault if re.match(STATEMENTS[place], sql) else None
    messages = [named(bucket, key, etag=etag) for key in keys]

    assert stage.deliver(*messages, seconds=1.2) == ["m0", "m1", "m2"]
    committed = place == "the commit" and fault == "lose_answer"
    assert stage.visible() == ({key: 2 for key in keys} if committed else {})
    # What may pass comes again later and later.
    assert set(stage.delays.values()) <= {240, 30}

    server.fault = None
    assert stage.deliver(*messages) == []
    assert stage.visible() == {key: 2 for key in keys}


def test_an_answer_comes_before_the_time_is_up(stage, server, put, bucket):
    put("section/1/video/a.jsonl", LINE)
    server.fault = lambda sql: ("delay", 30)
    started = time.monotonic()
    assert stage.deliver(named(bucket, "section/1/video/a.jsonl"), seconds=2) == ["m0"]
    assert time.monotonic() - started < 2
    server.fault = None


def test_an_insert_that_outlasts_the_time_is_unknown_in_the_ledger(stage, server, put, bucket):
    put("section/1/video/a.jsonl", LINE)
    server.fault = lambda sql: ("delay", 30) if INSERT.match(sql) else None
    assert stage.deliver(named(bucket, "section/1/video/a.jsonl"), seconds=4) == ["m0"]
    [row] = stage.ledger()
    assert row["outcome"] == "unknown"
    assert "in time" in row["error"]
    server.fault = None


def test_concurrent_deliveries_leave_one_winner(server, settings, put, bucket):
    keys = [f"section/{n}/video/{n}.jsonl" for n in range(5)]
    for key in keys:
        put(key, LINE * 4)
    stages = [Stage(settings) for _ in range(4)]
    failures: list[str] = []

    def deliver(number: int) -> None:
        order = keys[number:] + keys[:number]
        failures.extend(stages[number].deliver(*[named(bucket, key) for key in order]))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert stages[0].visible() == {key: 4 for key in keys}


def test_notifications_out_of_order_leave_each_version_once(stage, put, bucket):
    key = "section/1/video/a.jsonl"
    versions = []
    for body in (LINE, LINE * 2):
        put(key, body)
        found = boto3.client("s3").head_object(Bucket=bucket, Key=key)
        versions.append(found["ETag"].strip('"'))
    for etag in reversed(versions):
        assert stage.deliver(named(bucket, key, etag=etag)) == []
    # Only the second version can be read any more; the first notification brings nothing new.
    assert stage.visible() == {key: 2}


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


def test_without_a_queue_a_failure_is_raised(stage, server, put, bucket):
    with pytest.raises(PermanentError, match="no such object"):
        stage.trigger.answer({"bucket": bucket, "key": "section/1/video/gone.jsonl"}, 20)
    with pytest.raises(UnknownEventError):
        stage.trigger.answer({"hello": "world"}, 20)
    assert stage.lines("unknown_event")[0]["body"] == {"hello": "world"}
    server.fault = lambda sql: "refuse"
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
    assert "secret" not in stage.output.getvalue()


def test_a_fault_of_ours_acknowledges_nothing(settings):
    def broken():
        raise ZeroDivisionError("a bug")

    output = io.StringIO()
    trigger = Trigger(settings, broken, Log(stream=output))
    answer = trigger.answer(batch(named(settings.bucket, "section/1/video/a.jsonl")), 20)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert "a bug" in output.getvalue()


def test_what_may_pass_comes_again_later_each_time_and_what_will_not_soon():
    def waits(retryable: bool) -> list[int]:
        messages = [Message(receives=number) for number in (1, 2, 3, 4, 1000)]
        return [Verdict(message, ["x"], retryable).wait(60) for message in messages]

    assert waits(retryable=True) == [60, 240, 900, 900, 900]
    assert waits(retryable=False) == [30] * 5


def test_a_queue_that_refuses_a_delay_changes_nothing_else(stage, bucket):
    def refuse(delays):
        raise QueueError("no right to")

    stage.trigger.delay = refuse
    assert stage.deliver(named(bucket, "section/1/video/gone.jsonl")) == ["m0"]
    assert stage.lines("delay_refused")[0]["error"] == "no right to"


# Bulk ----------------------------------------------------------------------------------------


@pytest.fixture
def lake(put) -> list[str]:
    """Objects of three days and two sections, one with braces in its folder."""
    keys = [
        f"section/{section}/video/2025-10-0{day}T00-00-15.123456Z_{number}.jsonl"
        for section in (1, 2)
        for day in (1, 2, 3)
        for number in range(2)
    ]
    keys += ["section/2/{a}/2025-10-02T00-00-15.1Z_{b,c}.jsonl", "section/21/video/late.jsonl"]
    for key in keys:
        put(key, LINE)
    put("section/1/video/notes.txt", b"no statements")
    return keys


def test_a_dry_run_of_bulk_tells_what_it_would_do(stage, lake, bucket):
    stage.deliver(named(bucket, lake[0]))
    answer = stage.trigger.answer({"mode": "bulk", "dry_run": True}, 20)
    assert (answer["objects"], answer["held"], answer["to_load"]) == (14, 1, 13)
    assert answer["bytes"] == 14 * len(LINE)
    nothing = {"mode": "bulk", "dry_run": True, "section_ids": [8, 9]}
    assert stage.trigger.answer(nothing, 20)["bytes"] == 0
    assert len(stage.visible()) == 1


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 14),
        ({"section_id": 2}, 7),
        ({"section_ids": [1, 2]}, 13),
        ({"prefix": "section/2"}, 8),
        ({"prefix": "section/2/{a}/"}, 1),
        ({"start_date": "2025-10-02", "end_date": "2025-10-02"}, 5),
        ({"section": 1, "start_date": "2025-10-03"}, 2),
        ({"end_date": "2025-10-01"}, 4),
        ({"section": 9}, 0),
    ],
)
def test_bulk_loads_what_it_is_asked_for_once(stage, lake, fields, count):
    event = {"mode": "bulk"} | fields
    answer = stage.trigger.answer(event, 20)
    assert answer["objects"] == ({"committed": count} if count else {})
    assert (answer["complete"], answer["left"], answer["next"]) == (True, 0, None)
    assert len(stage.visible()) == count
    assert stage.trigger.answer(event, 20)["objects"] == {}


def test_bulk_stops_in_time_and_goes_on_where_it_stopped(stage, lake, server, monkeypatch):
    monkeypatch.setattr("loader.bulk.pieces", partial(pieces, most_bytes=3 * len(LINE)))
    server.fault = lambda sql: ("delay", 0.8) if INSERT.match(sql) else None
    event, answers = {"mode": "bulk", "section_ids": [1, 2]}, []
    while event and len(answers) < 9:
        answers.append(stage.trigger.answer(event, 4.5 if not answers else 20))
        event = answers[-1]["next"]
    assert [answer["complete"] for answer in answers] == [False, True]
    assert answers[0]["left"] > 0 and answers[0]["objects"]["committed"] > 0
    assert sum(answer["objects"].get("committed", 0) for answer in answers) == 13
    assert set(stage.visible()) == set(lake[:13])


def test_bulk_with_force_loads_again(stage, lake):
    event = {"mode": "bulk", "section": 1}
    stage.trigger.answer(event, 20)
    assert stage.trigger.answer(event | {"force": True}, 20)["objects"] == {"committed": 6}


def test_bulk_names_what_failed_and_what_stopped_it(stage, lake, put, server, settings, bucket):
    put("section/1/video//odd.jsonl", LINE)
    answer = stage.trigger.answer({"mode": "bulk", "section": 1}, 20)
    assert answer["objects"] == {"committed": 6, "failed": 1}
    assert answer["failures"][0]["object"] == f"s3://{bucket}/section/1/video//odd.jsonl"
    with pytest.raises(PermanentError, match="not allowed"):
        stage.trigger.answer({"mode": "bulk", "bucket": "elsewhere"}, 20)
    with pytest.raises(SettingsError, match="S3_XAPI_BUCKET_NAME"):
        Stage(Settings(target="server")).trigger.answer({"mode": "bulk"}, 20)
    server.fault = lambda sql: "refuse"
    with pytest.raises(RetryableError):
        stage.trigger.answer({"mode": "bulk"}, 20)


# Health, handler -----------------------------------------------------------------------------


def test_health_is_told_with_what_to_do(stage, server):
    answer = stage.trigger.answer({"health_check": True}, 20)
    assert answer["status"] == "ok"
    assert [check["name"] for check in answer["checks"]] == ["engine", "tables"]
    answer = stage.trigger.answer({"diagnostics": True}, 20)
    assert answer["status"] == "ok"
    assert answer["settings"]["host"] == "127.0.0.1"
    assert "secret" not in json.dumps(answer)
    server.fault = lambda sql: "refuse"
    answer = stage.trigger.answer({"health_check": True}, 20)
    assert answer["status"] == "fail"
    assert "does not answer" in answer["checks"][0]["finding"]


@pytest.mark.parametrize("secret", ["bare", "json"])
def test_the_handler_reads_its_password_from_the_secret(
    server, settings, put, bucket, monkeypatch, secret
):
    put("section/1/video/a.jsonl", LINE)
    text = "secret" if secret == "bare" else '{"username": "x", "password": "secret"}'
    made = boto3.client("secretsmanager").create_secret(
        Name=f"{bucket}-{secret}", SecretString=text
    )
    environment = {
        "XAPI_TARGET": "server",
        "CLICKHOUSE_HOST": "127.0.0.1",
        "CLICKHOUSE_PORT": str(server.port),
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

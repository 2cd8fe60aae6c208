"""From an object in S3 to a committed load, by the deployed stack; and what goes wrong between."""

import gzip
import threading
import time
from collections import Counter
from urllib.parse import unquote_plus

import pytest
from botocore.exceptions import ClientError

from tests.e2e.stage import COMMITTED
from tests.helpers.lambda_template import TEMPLATE
from tests.helpers.secrets import shows_secret

ONLY_OVER_TLS = """            Action: sqs:*
            Resource: !GetAtt {queue}.Arn
            Condition:
              Bool: {{aws:SecureTransport: "{value}"}}
"""

LINE = b'{"verb":{"id":"x"}}\n'

READABLE = [
    "section/2161/video/2025-10-01T00-00-15.123456Z_0CC175B9C0F1B6A831C399E269772661.jsonl",
    "section/1/video/with space.jsonl",
    "section/1/video/a+b.jsonl",
    "section/1/video/100%.jsonl",
    "section/1/video/a%20b.jsonl",
    'section/1/video/it\'s "quoted".jsonl',
    "section/1/video/back\\slash.jsonl",
    "section/1/video/日本-é-🎓.jsonl",
    "section/1/video/{1,2}.jsonl",
    "section/1/video/what?.jsonl",
    "section/1/video/star*.jsonl",
    "section/1/video/a=b&c#d;e,f@g:h.jsonl",
    "section/hive=1/{a}/tab\there.jsonl",
    "section/1/video/zipped.jsonl.gz",
]
UNREADABLE = {
    "section/1//video/empty-folder.jsonl": "empty folder name",
    "section/1/video/line\nbreak.jsonl": "line break",
    "section/1/../video/dots.jsonl": "folder named",
}
# Neither the suffix nor the prefix that is notified of.
UNNOTIFIED = ["section/1/video/notes.txt", "other/1/video/a.jsonl"]


def keys_in(message: dict) -> str:
    """The key that a dead letter names, as it was sent."""
    if "detail" in message:
        return message["detail"]["object"]["key"]
    return unquote_plus(message["Records"][0]["s3"]["object"]["key"])


@pytest.mark.parametrize("route", ["direct", "eventbridge"])
def test_exactly_the_readable_objects_are_loaded_and_the_others_are_dead_letters(stack, route):
    """Nothing is acknowledged and lost."""
    stack.deploy(f"EventRoute={route}", "MaxReceiveCount=2")
    for key in [*READABLE, *UNREADABLE, *UNNOTIFIED]:
        stack.put(key, gzip.compress(LINE * 3) if key.endswith(".gz") else LINE * 3)
    stack.put("section/1/video/empty.jsonl", b"")
    stack.notify("section/1/video/gone.jsonl")
    stack.notify("section/1/video/a+b.jsonl", bucket="elsewhere")
    stack.wait_until_empty()

    assert stack.clickhouse.visible() == dict.fromkeys(sorted(READABLE), 3)
    committed = {row["key"]: row["rows"] for row in stack.clickhouse.query(COMMITTED)}
    assert committed == dict.fromkeys(READABLE, 3) | {"section/1/video/empty.jsonl": 0}

    dead = Counter(keys_in(message) for message in stack.dead_letters())
    lost = [*UNREADABLE, "section/1/video/gone.jsonl", "section/1/video/a+b.jsonl"]
    assert dead == Counter(lost)
    reasons = stack.clickhouse.reasons()
    assert set(reasons) == set(lost)
    for key, words in UNREADABLE.items():
        assert [words in error for error in reasons[key]] == [True]
    assert "no such object" in reasons["section/1/video/gone.jsonl"][0]
    assert "'elsewhere' is not allowed" in reasons["section/1/video/a+b.jsonl"][0]

    log = stack.log()
    assert {line["object"] for line in log if line.get("outcome") == "committed"} == {
        f"s3://{stack.bucket}/{key}" for key in committed
    }
    metrics = [line for line in log if "_aws" in line]
    assert sum(line["ObjectsLoaded"] for line in metrics) == len(committed)
    assert sum(line["RowsLoaded"] for line in metrics) == 3 * len(READABLE)
    assert any("CommitLag" in line for line in metrics)
    assert not shows_secret(str(log) + stack.aws.log(10_000))


@pytest.mark.parametrize("fault", ["refuse", "reset", "lose_answer", "http_500"])
@pytest.mark.parametrize(
    "place",
    [r"insert into \S+\.statements", r"uniqExact\(source_line\)", r"insert into \S+\.loads"],
)
def test_clickhouse_fails_and_redelivery_loads_exactly_once(stack, place, fault):
    """Two invocations meet the fault, at each statement of a load."""
    stack.deploy()
    stack.clickhouse.fault(place, fault, times=2)
    keys = [f"section/{n}/video/a.jsonl" for n in range(12)]
    for key in keys:
        stack.put(key, LINE * 50)
    stack.wait_until_empty()
    assert stack.clickhouse.visible() == dict.fromkeys(sorted(keys), 50)
    assert stack.waiting("DeadLetterQueueUrl") == 0
    # An error of a batch is looked for in its halves, and may be gone by then.
    assert stack.rejected() or fault == "http_500"


def test_clickhouse_answers_too_late_and_redelivery_loads_exactly_once(stack):
    """The INSERT continues although the client no longer waits for it."""
    stack.deploy("FunctionTimeout=30")
    stack.clickhouse.fault(r"insert into \S+\.statements", ["delay", 25], times=1)
    stack.put("section/1/video/a.jsonl", LINE * 50)
    stack.wait_until_empty()
    assert stack.clickhouse.visible() == {"section/1/video/a.jsonl": 50}
    assert any(
        "in time" in error for error in stack.clickhouse.reasons()["section/1/video/a.jsonl"]
    )


RUNNING = """
select count() as found
from system.processes
where query ilike '%insert into%.statements%s3(%' and query not ilike '%system.processes%'
"""

WRITTEN = """
select count() as found
from xapi_raw.statements
where load_id not in (select load_id from xapi_raw.loads where outcome = 'committed')
"""


@pytest.mark.parametrize("moment", [RUNNING, WRITTEN], ids=["running", "written"])
def test_clickhouse_is_killed_in_the_middle_of_an_insert(stack, until, moment):
    """The lines of the first attempt are stored, and readers do not see them."""
    stack.deploy()
    keys = [f"section/{n}/video/large.jsonl.gz" for n in range(2)]
    block = b'{"verb":{"id":"x"},"text":"%s"}\n' % (b"0123456789" * 20) * 10_000
    # Many members, which one thread unpacks: a second of work for whoever sees the INSERT.
    body, lines = gzip.compress(block) * 100, 1_000_000
    for key in keys:
        stack.put(key, body)
    until(lambda: stack.clickhouse.query(moment)[0]["found"])
    stack.clickhouse.kill()
    time.sleep(1)
    stack.clickhouse.start()
    stack.wait_until_empty()
    assert stack.clickhouse.visible() == dict.fromkeys(keys, lines)
    assert stack.waiting("DeadLetterQueueUrl") == 0
    interrupted = [str(line["error"]) for line in stack.rejected()]
    assert any("hung up" in text or "does not answer" in text for text in interrupted)
    if moment is WRITTEN:
        assert stack.clickhouse.query(WRITTEN)[0]["found"]


def test_clickhouse_is_down_for_a_while(stack, until):
    """Nothing is acknowledged meanwhile."""
    stack.deploy("MaxReceiveCount=100")
    stack.clickhouse.kill()
    keys = [f"section/{n}/video/a.jsonl" for n in range(5)]
    for key in keys:
        stack.put(key, LINE)
    until(lambda: len({line["message_id"] for line in stack.rejected()}) == len(keys))
    assert stack.waiting() == len(keys)
    stack.clickhouse.start()
    stack.wait_until_empty()
    assert stack.clickhouse.visible() == dict.fromkeys(keys, 1)


def test_duplicates_out_of_order_and_at_once_leave_one_winner(stack):
    """Five invocations run at a time, each with other copies of the same notifications."""
    stack.deploy()
    keys = [f"section/{n}/video/a.jsonl" for n in range(10)]
    etags: dict[str, list[str]] = {}
    for key in keys:
        for lines in (2, 3):
            stack.put(key, LINE * lines)
            found = stack.s3.head_object(Bucket=stack.bucket, Key=key)
            etags.setdefault(key, []).append(found["ETag"].strip('"'))

    def flood(number: int) -> None:
        for key in keys[number:] + keys[:number]:
            for etag in reversed(etags[key]):
                stack.notify(key, etag=etag)

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stack.wait_until_empty()
    seen = stack.clickhouse.query(
        "select key, etag, rows from {raw:Identifier}.loads where outcome = 'committed' "
        "order by committed_at, load_id limit 1 by bucket, key, etag"
    )
    rows = {(row["key"], row["etag"]): row["rows"] for row in seen}
    # The last version is there; the first may have been read before it was overwritten.
    assert all(rows[(key, etags[key][1])] == 3 for key in keys)
    assert all(rows.get((key, etags[key][0]), 2) == 2 for key in keys)
    assert len(rows) <= 20
    assert stack.waiting("DeadLetterQueueUrl") == 0


def test_an_unknown_message_becomes_a_dead_letter_and_its_shape_is_logged(stack):
    """It may be the only trace of an object, and it may contain statements."""
    stack.deploy("MaxReceiveCount=1")
    stack.sqs.send_message(QueueUrl=stack.outputs["QueueUrl"], MessageBody='{"hello": "world"}')
    stack.put("section/1/video/a.jsonl", LINE)
    stack.wait_until_empty()
    assert stack.dead_letters() == [{"hello": "world"}]
    unknown = [line for line in stack.log() if line.get("event") == "unknown_message"]
    assert [line["shape"] for line in unknown] == [{"hello": "text of 5"}]
    assert stack.clickhouse.visible() == {"section/1/video/a.jsonl": 1}


@pytest.mark.parametrize("route", ["direct", "eventbridge"])
def test_the_function_needs_no_more_than_its_role(strict_stack, tmp_path, route):
    """A password and messages; the rest is ClickHouse's. MiniStack does not know that the right to
    ChangeMessageVisibility is that to its batch call, so failures come by the queue's own time."""
    stack = strict_stack
    # This AWS has no TLS, so here the queues refuse TLS instead of its absence.
    text, template = TEMPLATE.read_text(), tmp_path / "template.yaml"
    for queue in ("Queue", "DeadLetterQueue"):
        before = ONLY_OVER_TLS.format(queue=queue, value="false")
        assert before in text
        text = text.replace(before, ONLY_OVER_TLS.format(queue=queue, value="true"))
    template.write_text(text)
    stack.deploy(f"EventRoute={route}", "MaxReceiveCount=2", visibility=5, template=template)
    stack.put("section/1/video/a.jsonl", LINE)
    stack.notify("section/1/video/gone.jsonl")
    stack.wait_until_empty()
    assert stack.clickhouse.visible() == {"section/1/video/a.jsonl": 1}
    assert [keys_in(message) for message in stack.dead_letters()] == ["section/1/video/gone.jsonl"]
    refused = [line["error"] for line in stack.log() if line.get("event") == "delay_refused"]
    assert all("ChangeMessageVisibilityBatch" in error for error in refused)


def test_queues_refuse_requests_without_tls(strict_stack):
    """This AWS has no TLS, so nobody may do anything, not even the account's root."""
    with pytest.raises(ClientError, match="AccessDenied"):
        strict_stack.deploy("EventRoute=eventbridge")
    urls = strict_stack.sqs.list_queues()["QueueUrls"]
    assert len(urls) == 2
    for url in urls:
        with pytest.raises(ClientError, match="AccessDenied"):
            strict_stack.sqs.receive_message(QueueUrl=url)

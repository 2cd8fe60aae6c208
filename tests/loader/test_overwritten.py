"""Versions that are overwritten before they are read: read by their id, or recorded as missed."""

import gzip

import boto3
import pytest

from tests.helpers.trigger_stage import LINE

KEY = "section/1/video/a.jsonl"
LEDGER = """
select etag, outcome, rows, error
from {raw:Identifier}.loads
where key = {key:String} and bucket = {bucket:String}
order by committed_at
"""


@pytest.fixture(params=[True, False])
def versioned(request, bucket) -> bool:
    """Whether the bucket keeps versions that were overwritten."""
    if request.param:
        _keep_versions(bucket)
    return request.param


def _keep_versions(bucket: str) -> None:
    boto3.client("s3").put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )


def write(bucket: str, key: str, body: bytes, with_id: bool = True) -> dict:
    """Write an object; returns the notification of it."""
    answer = boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    about = {"key": key, "etag": answer["ETag"].strip('"'), "size": len(body)}
    if with_id and "VersionId" in answer:
        about["version-id"] = answer["VersionId"]
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": "2025-10-01T00:00:15Z",
        "detail": {"bucket": {"name": bucket}, "object": about},
    }


def ledger(stage, bucket, key=KEY) -> dict[str, set[str]]:
    """The outcomes of each version."""
    found: dict[str, set[str]] = {}
    for row in stage.warehouse.query(LEDGER, key=key, bucket=bucket):
        found.setdefault(row["etag"], set()).add(row["outcome"])
    return found


def etags(*events) -> list[str]:
    return [event["detail"]["object"]["etag"] for event in events]


@pytest.mark.parametrize("together", [True, False])
def test_an_overwritten_version_is_read_or_missed(stage, bucket, versioned, together):
    for number, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 2, 0))):
        key = f"section/1/video/{number}.jsonl"
        events = [write(bucket, key, LINE * count) for count in (1, 2, 3)]
        delivered = [events[at] for at in order]
        if together:
            assert stage.deliver(*delivered) == []
        else:
            assert [stage.deliver(event) for event in delivered] == [[], [], []]
        first, second, third = etags(*events)
        outcome = "committed" if versioned else "missed"
        expected = {first: {outcome}, second: {outcome}, third: {"committed"}}
        assert ledger(stage, bucket, key) == expected, order
        # Delivered again, they change nothing that readers see.
        before = _rows(stage, bucket, key)
        assert before == (1 + 2 + 3 if versioned else 3)
        assert stage.deliver(*delivered) == []
        assert _rows(stage, bucket, key) == before


def _rows(stage, bucket, key) -> int:
    sql = """
        select sum(rows) as rows
        from {raw:Identifier}.committed_objects
        where bucket = {bucket:String} and key = {key:String} and status = 'visible'
    """
    return stage.warehouse.query(sql, bucket=bucket, key=key)[0]["rows"]


@pytest.mark.parametrize(
    "key",
    [
        "section/1/video/a b+c%20#ü&=.jsonl",
        "section/1/video/a.jsonl.gz",
        "a.jsonl",
    ],
)
def test_the_lines_are_those_of_the_version(stage, bucket, key):
    _keep_versions(bucket)

    def body(text: bytes) -> bytes:
        return gzip.compress(text) if key.endswith(".gz") else text

    old = write(bucket, key, body(b'"old"\n"alt"\n'))
    new = write(bucket, key, body(b'"new"\n' * 100 + bytes(range(14, 200))))
    assert stage.deliver(old, new) == []
    sql = """
        select source_line, line
        from {raw:Identifier}.statements
        where bucket = {bucket:String} and etag = {etag:String}
        order by source_line
    """
    rows = stage.warehouse.query(sql, bucket=bucket, etag=etags(old)[0])
    assert [(row["source_line"], row["line"]) for row in rows] == [(1, '"old"'), (2, '"alt"')]


def test_versions_that_cannot_be_read_are_missed_with_the_reason(stage, bucket):
    _keep_versions(bucket)
    longer = write(bucket, "a/longer.jsonl", LINE * 9)
    gone = write(bucket, "a/gone.jsonl", LINE)
    braces = write(bucket, "a/{1}.jsonl", LINE)
    unnamed = write(bucket, "a/unnamed.jsonl", LINE, with_id=False)
    null = write(bucket, "a/null.jsonl", LINE)
    null["detail"]["object"]["version-id"] = "null"
    empty = write(bucket, "a/empty.jsonl", b"")
    client = boto3.client("s3")
    for event in (longer, gone, braces, unnamed, null, empty):
        client.put_object(Bucket=bucket, Key=event["detail"]["object"]["key"], Body=LINE * 2)
    version = gone["detail"]["object"]["version-id"]
    client.delete_object(Bucket=bucket, Key="a/gone.jsonl", VersionId=version)
    assert stage.deliver(longer, gone, braces, unnamed, null, empty) == []
    reasons = {
        "a/longer.jsonl": "more bytes than the current version",
        "a/gone.jsonl": "NoSuchVersion",
        "a/{1}.jsonl": "in its key",
        "a/unnamed.jsonl": "no version id",
        "a/null.jsonl": "no version id",
    }
    for key, reason in reasons.items():
        first, second = stage.warehouse.query(LEDGER, key=key, bucket=bucket)
        assert (first["outcome"], first["rows"]) == ("committed", 2)
        assert second["outcome"] == "missed"
        assert reason in second["error"] and f"s3://{bucket}/{key}" in second["error"]
        assert "copy it to a new key" in second["error"]
    assert [row["outcome"] for row in stage.lines("object")].count("missed") == len(reasons)
    assert set(ledger(stage, bucket, "a/empty.jsonl")[etags(empty)[0]]) == {"committed"}


def test_a_version_that_comes_back_is_loaded(stage, bucket):
    """It was missed; written again, it has the same ETag."""
    first = write(bucket, KEY, LINE)
    write(bucket, KEY, LINE * 2)
    assert stage.deliver(first) == []
    again = write(bucket, KEY, LINE)
    assert stage.deliver(again) == []
    assert ledger(stage, bucket)[etags(again)[0]] == {"missed", "committed"}

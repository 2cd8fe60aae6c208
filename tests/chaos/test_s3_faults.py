"""Reads of S3 that fail: either the object is committed as it is stored, or nothing is."""

import gzip

import boto3
import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.chaos.s3_faults import Cut, Meanwhile, Refuse, S3Faults, Shorten, Slow, Status

KEY = "section/1/video/a.jsonl"
BODY = b"".join(b'{"n":%d}\n' % number for number in range(1000))
OTHER = BODY.replace(b"n", b"m")


@pytest.fixture(scope="module")
def proxy(s3_endpoint):
    """S3 with faults."""
    with S3Faults(s3_endpoint) as made:
        yield made


@pytest.fixture(scope="module")
def engine(proxy, tmp_path_factory):
    """A database that reads through the proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        patch.setenv("XAPI_CHDB_PATH", str(tmp_path_factory.mktemp("clickhouse")))
        settings = Settings.from_env()
        warehouse = open_warehouse(settings)
        schema.init(warehouse, settings)
        yield warehouse
        warehouse.close()


@pytest.fixture
def attempt(engine, proxy, bucket):
    """Load objects: attempt(key, …) gives outcome, rows and error of each, by key."""
    proxy.clear()
    settings = Settings.from_env()

    def run(*keys: str):
        items = [S3Object(bucket, key) for key in keys]
        outcomes = [one for batch in load(engine, settings, items) for one in batch]
        return {one.item.key: one for one in outcomes}

    return run


def test_the_proxy_passes_on_what_no_rule_names(proxy, put, bucket):
    put(KEY, BODY)
    seen = len(proxy.requests)
    client = boto3.client("s3", endpoint_url=proxy.url)
    assert client.get_object(Bucket=bucket, Key=KEY)["Body"].read() == BODY
    assert client.head_object(Bucket=bucket, Key=KEY)["ContentLength"] == len(BODY)
    assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == [KEY]
    assert [(r.method, r.status) for r in proxy.requests[seen:]] == [
        ("GET", 200),
        ("HEAD", 200),
        ("LIST", 200),
    ]


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("GET", Status(503)),
        ("GET", Status(500)),
        ("HEAD", Status(503)),
        ("GET", Cut(0.5)),
        ("GET", Cut(0.5, reset=True)),
        ("GET", Cut(0.0)),
        ("GET", Refuse()),
        ("HEAD", Refuse()),
        ("GET", Slow(0.2, drops=5, pause=0.02)),
    ],
)
def test_a_fault_that_passes_is_not_noticed(attempt, proxy, put, method, fault):
    put(KEY, BODY)
    rule = proxy.rule(method, KEY, fault)
    done = attempt(KEY)[KEY]
    assert (done.outcome, done.rows, rule.hits) == ("committed", 1000, 1)


@pytest.mark.parametrize("part", [0.25, 0.999, 0.0])
def test_a_body_that_claims_to_be_whole_but_is_shorter_is_not_committed(attempt, proxy, put, part):
    put(KEY, BODY)
    proxy.rule("GET", KEY, Shorten(part))
    done = attempt(KEY)[KEY]
    assert (done.outcome, done.retryable) == ("failed", True)
    assert attempt(KEY)[KEY].rows == 1000


def test_a_compressed_body_that_is_shorter_is_not_committed(attempt, proxy, put):
    put(KEY + ".gz", gzip.compress(BODY))
    proxy.rule("GET", KEY, Shorten(0.7))
    assert attempt(KEY + ".gz")[KEY + ".gz"].outcome == "failed"
    assert attempt(KEY + ".gz")[KEY + ".gz"].rows == 1000


def test_a_connection_that_keeps_breaking_fails_as_retryable(attempt, proxy, put):
    put(KEY, BODY)
    proxy.rule("GET", KEY, Cut(0.5), times=float("inf"))
    done = attempt(KEY)[KEY]
    assert (done.outcome, done.retryable) == ("failed", True)
    proxy.clear()
    assert attempt(KEY)[KEY].outcome == "committed"


def test_an_object_replaced_between_head_and_get_is_read_again_or_fails_as_retryable(
    attempt, proxy, put, bucket
):
    # Not through the proxy, which waits meanwhile.
    directly = boto3.client("s3", endpoint_url=proxy.endpoint)

    def replace(body: bytes) -> None:
        directly.put_object(Bucket=bucket, Key=KEY, Body=body)

    put(KEY, BODY)
    put("section/1/video/b.jsonl", BODY)
    proxy.rule("GET", KEY, Meanwhile(lambda: replace(OTHER)))
    done = attempt(KEY, "section/1/video/b.jsonl")
    assert done["section/1/video/b.jsonl"].outcome == "committed"
    # Its half of the batch was read again, as it is now.
    assert (done[KEY].outcome, done[KEY].rows) == ("committed", 1000)

    proxy.rule("GET", KEY, Meanwhile(lambda: replace(BODY)))
    put(KEY, b"something else\n")
    done = attempt(KEY)[KEY]
    assert (done.outcome, done.retryable) == ("failed", True)


def test_an_object_that_is_deleted_between_head_and_get_fails_by_name(attempt, proxy, put, bucket):
    put(KEY, BODY)
    gone = boto3.client("s3", endpoint_url=proxy.endpoint)  # not through the proxy, which waits
    proxy.rule("GET", KEY, Meanwhile(lambda: gone.delete_object(Bucket=bucket, Key=KEY)))
    done = attempt(KEY)[KEY]
    assert done.outcome == "failed" and done.item.uri in done.error
    assert "no such object" in attempt(KEY)[KEY].error

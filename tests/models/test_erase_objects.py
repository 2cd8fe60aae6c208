"""Rewriting the S3 objects of an erased learner: lines, compression, versions, what is refused."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import closing

import boto3
import pytest

from loader.aws.client import s3_client
from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.load import load
from loader.objects import S3Object
from loader.privacy.erase import Erasure
from loader.privacy.identity import identities
from loader.privacy.objects import Rewritten, objects_to_rewrite, rewrite
from loader.privacy.search import Search
from loader.settings import Settings
from tests.helpers.erasure import HOME, STUB, USER, found_in_versions, of_learner, others
from tests.helpers.small_database import SmallDatabase

STATUS = """
select policy, status from xapi_raw.committed_objects
where bucket = {bucket:String} and key = {key:String}
order by committed_at, policy
"""


@pytest.fixture
def opened(database: SmallDatabase, bucket: str, monkeypatch) -> Iterator[tuple]:
    """A connection to the database, and settings for the bucket, which keeps versions."""
    boto3.client("s3").put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    monkeypatch.setenv("XAPI_CHDB_PATH", str(database.folder / "clickhouse"))
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        warehouse.apply_settings({"s3_use_adaptive_timeouts": "0"})
        schema.init(warehouse, settings)
        yield warehouse, settings


def erase(opened: tuple, pending: bool = False) -> Rewritten:
    """Erase the learner, and rewrite the objects."""
    warehouse, settings = opened
    forms = [] if pending else identities(user=USER, home_page=HOME)
    search = Search(warehouse, settings, forms)
    erasure = Erasure(warehouse, settings, search)
    if forms:
        erasure.write_tombstones("")
    done: list[Rewritten] = []

    def objects() -> dict:
        done.append(rewrite(warehouse, settings, s3_client(settings), pending))
        return {}

    assert erasure.run(after_raw=objects)["is_complete"]
    search.close()
    return done[0]


def load_current(opened: tuple, bucket: str, key: str, **how) -> None:
    """Load an object as it is now."""
    [[outcome]] = load(*opened, [S3Object(bucket, key)], **how)
    assert outcome.is_committed


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """New texts are read for two lines at a time, and one in an answer."""
    monkeypatch.setattr("loader.privacy.objects._PAGE_LINES", 2)
    monkeypatch.setattr("loader.privacy.objects._PAGE_BYTES", 1)


@pytest.mark.usefixtures("_small_pages")
def test_objects_are_written_again_and_their_old_versions_deleted(
    opened: tuple, bucket: str, put: Callable
):
    client = boto3.client("s3")
    (other,) = others(1)
    plain = f"{other}\r\n{of_learner(1)}\r\n\n{other}".encode()
    put("a.jsonl", plain, ContentType="text/x-lines", Metadata={"sent-by": "lms"})
    lines = [of_learner(2), of_learner(6), other, of_learner(7), other, other]
    put("b.jsonl.gz", gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    put("appended.jsonl", of_learner(3).encode())
    load_current(opened, bucket, "appended.jsonl")
    put("appended.jsonl", f"{of_learner(4)}\n{other}".encode())
    for key in ("a.jsonl", "b.jsonl.gz", "appended.jsonl"):
        load_current(opened, bucket, key)
    put("changed.jsonl", of_learner(5).encode())
    load_current(opened, bucket, "changed.jsonl")
    put("changed.jsonl", other.encode())

    done = erase(opened)
    assert (done.objects, done.deleted_versions) == (3, 4)
    [left] = done.left
    assert "its current version was never loaded" in left["reason"]
    assert "changed.jsonl" in left["object"]

    def body(key: str) -> dict:
        return client.get_object(Bucket=bucket, Key=key)

    a = body("a.jsonl")
    assert a["Body"].read() == f"{other}\r\n{STUB}\r\n\n{other}".encode()
    assert a["ContentType"] == "text/x-lines" and a["Metadata"]["sent-by"] == "lms"
    lines = [STUB, STUB, other, STUB, other, other]
    assert gzip.decompress(body("b.jsonl.gz")["Body"].read()) == (
        "".join(f"{line}\n" for line in lines).encode()
    )
    assert body("appended.jsonl")["Body"].read() == f"{STUB}\n{other}".encode()
    statuses = opened[0].query(STATUS, bucket=bucket, key="appended.jsonl")
    assert [tuple(row.values()) for row in statuses] == [
        ("append", "visible"),
        ("append", "superseded"),
        ("erase", "visible"),
    ]

    # The object that is left is completed when its current version was loaded, and nothing else
    # is written again.
    load_current(opened, bucket, "changed.jsonl")
    done = erase(opened, pending=True)
    assert (done.objects, done.deleted_versions, done.left) == (0, 1, [])
    assert found_in_versions(client, bucket) == []
    before = client.head_object(Bucket=bucket, Key="a.jsonl")["VersionId"]
    erase(opened, pending=True)
    assert client.head_object(Bucket=bucket, Key="a.jsonl")["VersionId"] == before


def test_an_object_that_was_written_but_not_loaded_is_loaded_by_the_next_run(
    opened: tuple, bucket: str, put: Callable, monkeypatch
):
    put("a.jsonl", of_learner(1).encode())
    load_current(opened, bucket, "a.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr("loader.privacy.objects._load", lambda *_: (_ for _ in ()).throw(KeyError))
        with pytest.raises(KeyError):
            erase(opened)
    assert len(objects_to_rewrite(opened[0])) == 1
    done = erase(opened)
    assert (done.objects, done.deleted_versions, done.left) == (1, 1, [])
    statuses = opened[0].query(STATUS, bucket=bucket, key="a.jsonl")
    assert [row["status"] for row in statuses] == ["superseded", "visible"]

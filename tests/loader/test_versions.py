"""Versions of an object: what is visible after every order of policies, and what is loaded."""

from itertools import product

import boto3
import pytest

from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings

STATUS = """
select etag, status
from {raw:Identifier}.committed_objects
where key = {key:String}
order by committed_at, load_id
"""

VISIBLE_LINES = """
select line
from {raw:Identifier}.statements
where (load_id, key) in (
    select load_id, key
    from {raw:Identifier}.committed_objects
    where key = {key:String} and status = 'visible'
)
order by line
"""

# The table of docs/exactly-once.md: the visible versions after v2 was loaded over v1, then after v1
# came back, and the outcome of that last load.
OVER_V1 = {
    "append": ("v1", "v2"),
    "replace": ("v2",),
    "ignore": ("v1",),
    "force": ("v1", "v2"),
}
V1_AGAIN = {
    ("v1", "v2"): {
        "append": (("v1", "v2"), "skipped"),
        "replace": (("v1",), "committed"),
        "ignore": (("v1", "v2"), "skipped"),
        "force": (("v1", "v2"), "committed"),
    },
    ("v2",): {
        "append": (("v1", "v2"), "committed"),
        "replace": (("v1",), "committed"),
        "ignore": (("v2",), "ignored"),
        "force": (("v1", "v2"), "committed"),
    },
    ("v1",): {
        "append": (("v1",), "skipped"),
        "replace": (("v1",), "skipped"),
        "ignore": (("v1",), "skipped"),
        "force": (("v1",), "committed"),
    },
}
WAYS = tuple(OVER_V1)


@pytest.fixture
def bring(warehouse, bucket, put):
    """Put a version of an object and load it: bring(key, version, way) returns the outcome."""

    def bring_version(key: str, version: str, way: str) -> str:
        put(key, f"{version}\n".encode())
        policy = {"policy": way} if way != "force" else {"force": True}
        policy |= {"force": True} if way == "erase" else {}
        [[outcome]] = load(warehouse, Settings.from_env(), [S3Object(bucket, key)], **policy)
        return outcome.outcome

    return bring_version


def visible(warehouse, key: str) -> tuple[str, ...]:
    """The lines that readers see, each once."""
    return tuple(row["line"] for row in warehouse.query(VISIBLE_LINES, key=key))


@pytest.mark.parametrize(
    "first", ["append", *(pytest.param(way, marks=pytest.mark.long) for way in WAYS[1:])]
)
def test_every_order_of_policies_shows_what_the_table_says(warehouse, bring, first):
    for second, third in product(WAYS, WAYS):
        key = f"{first}/{second}/{third}.jsonl"
        assert bring(key, "v1", first) == "committed"
        assert visible(warehouse, key) == ("v1",)
        outcome = bring(key, "v2", second)
        assert outcome == ("ignored" if second == "ignore" else "committed"), key
        assert visible(warehouse, key) == OVER_V1[second], key
        expected, outcome = V1_AGAIN[OVER_V1[second]][third]
        assert bring(key, "v1", third) == outcome, key
        assert visible(warehouse, key) == expected, key
        # The same once more changes nothing that readers see.
        bring(key, "v1", third)
        assert visible(warehouse, key) == expected, key


def test_a_version_forced_over_two_replaces_only_itself(warehouse, bring):
    key = "a.jsonl"
    for version, way in (("v1", "append"), ("v2", "append"), ("v2", "force")):
        bring(key, version, way)
    assert visible(warehouse, key) == ("v1", "v2")
    statuses = [row["status"] for row in warehouse.query(STATUS, key=key)]
    assert statuses == ["visible", "superseded", "visible"]


def test_the_later_commit_wins_although_the_clock_was_set_back(warehouse, bring, bucket):
    """The first commit has a time in the future, as under a clock that was an hour ahead."""
    key = "a.jsonl"
    bring(key, "v1", "append")
    warehouse.command(
        "insert into {raw:Identifier}.loads "
        "select * replace (committed_at + interval 1 hour as committed_at) "
        "from {raw:Identifier}.loads"
    )
    warehouse.command("delete from {raw:Identifier}.loads where committed_at < now() + 600")
    for version, way in (("v2", "replace"), ("v2", "force"), ("v1", "replace")):
        assert bring(key, version, way) == "committed"
        assert visible(warehouse, key) == (version,)


def test_loads_forced_by_an_earlier_release_replace_all_versions(warehouse, bucket, put):
    """They have policy 'force' and no number."""
    for number, (etag, policy) in enumerate((("1", "append"), ("2", "append"), ("2", "force"))):
        warehouse.command(
            "insert into {raw:Identifier}.loads (load_id, bucket, key, etag, outcome, policy, "
            "committed_at) select generateUUIDv4(), 'b', 'a.jsonl', {etag:String}, 'committed', "
            "{policy:String}, toDateTime64('2025-01-01', 3, 'UTC') + {number:UInt8}",
            etag=etag,
            policy=policy,
            number=number,
        )
    statuses = [row["status"] for row in warehouse.query(STATUS, key="a.jsonl")]
    assert statuses == ["superseded", "superseded", "visible"]


def test_a_commit_whose_insert_arrived_twice_counts_once(warehouse, bring):
    key = "a.jsonl"
    bring(key, "v1", "append")
    warehouse.command(
        "insert into {raw:Identifier}.loads select * replace (committed_at + 1 as committed_at) "
        "from {raw:Identifier}.loads"
    )
    assert [row["status"] for row in warehouse.query(STATUS, key=key)] == ["visible"]
    assert visible(warehouse, key) == ("v1",)


def test_two_versions_restored_through_s3_versions_count_as_they_come(warehouse, bucket, put):
    """An overwritten object that is restored has its old ETag again."""
    client = boto3.client("s3")
    etags = []
    for body in (b"v1\n", b"v2\n", b"v1\n"):
        etags.append(client.put_object(Bucket=bucket, Key="a.jsonl", Body=body)["ETag"])
        [[outcome]] = load(
            warehouse, Settings.from_env(), [S3Object(bucket, "a.jsonl")], policy="replace"
        )
        assert outcome.outcome == "committed"
    assert etags[0] == etags[2]
    assert visible(warehouse, "a.jsonl") == ("v1",)


@pytest.mark.parametrize("policy", ["append", "replace", "ignore"])
def test_a_late_old_version_never_replaces_the_newer(warehouse, bucket, policy):
    client = boto3.client("s3")
    kept = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=kept)
    items = []
    for body in (b"v1\n", b"v2\nv2\n"):
        about = client.put_object(Bucket=bucket, Key="a.jsonl", Body=body)
        etag, version = about["ETag"].strip('"'), about["VersionId"]
        items.append(S3Object(bucket, "a.jsonl", etag, len(body), version_id=version))
    for item in reversed(items):
        list(load(warehouse, Settings.from_env(), [item], mode="event", policy=policy))
    expected = ("v1", "v2", "v2") if policy == "append" else ("v2", "v2")
    assert visible(warehouse, "a.jsonl") == expected


def test_an_erased_version_replaces_only_the_one_that_it_was_made_of(warehouse, bring):
    """Also if S3's notification had it loaded first, and if it is erased again."""
    for key, first in (("a.jsonl", ()), ("b.jsonl", ("append",))):
        for version, way in (("v1", "append"), ("v2", "append"), *(("e2", way) for way in first)):
            bring(key, version, way)
        assert bring(key, "e2", "erase") == "committed"
        assert visible(warehouse, key) == ("e2", "v1")
        assert bring(key, "e3", "erase") == "committed"
        assert visible(warehouse, key) == ("e3", "v1")
        assert bring(key, "v3", "replace") == "committed"
        assert visible(warehouse, key) == ("v3",)

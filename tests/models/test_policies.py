"""What an overwritten object means for its events, by policy, from load to video_events.

All cases share one database and run through the same few builds; each has keys and videos that no
other case has.
"""

from contextlib import closing
from pathlib import Path

import boto3
import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.dbt_runs import run_dbt

EVENTS = """
select source_path, video_url, source_line
from {database:Identifier}.video_events
order by timestamp, video_url
"""

STORED = """
select count() as lines
from {database:Identifier}.int_xapi__statements
where endsWith(source_path, '/forced/a')
"""

DAMAGE = """
alter table {raw:Identifier}.statements delete where key = 'forced/a' and source_line = 2
settings mutations_sync = 2
"""

# Video and month of each statement of an object, before and after it is overwritten.
FIRST = [("old", 1), ("kept", 2)]
SECOND = [("kept", 2), ("new", 4)]
POLICIES = ("append", "ignore", "replace")
OVERWRITE = [(f"{policy}/a", SECOND, {"policy": policy}) for policy in POLICIES]
REPLACE = {"policy": "replace"}

# What is loaded before each build: key, statements, options of the load.
STEPS = [
    [
        *[(f"{policy}/b", [("elsewhere", 3)], {}) for policy in POLICIES],
        *[(f"{policy}/a", FIRST, {}) for policy in POLICIES],
        ("shared/a", [("shared", 1)], {}),
        ("back/a", [("first", 1)], {}),
        ("forced/a", [("x", 1), ("y", 2)], {}),
    ],
    [
        *OVERWRITE,
        ("shared/b", [("shared", 1)], {}),
        ("back/a", [("second", 1)], REPLACE),
        ("forced/a", [("x", 1), ("y", 2)], {"force": True}),
    ],
    [
        *OVERWRITE,  # again: nothing is left to do
        ("shared/a", [], REPLACE),
        ("back/a", [("first", 1)], REPLACE),
    ],
    [("shared/b", [], REPLACE)],
]


def statement(video: str, month: int) -> bytes:
    return (
        '{"actor":{"account":{"name":1}},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},'
        f'"object":{{"id":"{video}"}},"timestamp":"2025-{month:02}-01T00:00:00Z"}}'
    ).encode()


class Lake:
    """A bucket and a database into which its objects are loaded."""

    def __init__(self, bucket: str, folder: Path):
        self.bucket, self.folder, self.settings = bucket, folder, Settings.from_env()
        with closing(open_warehouse(self.settings)) as warehouse:
            schema.init(warehouse, self.settings)

    def load(self, key: str, videos: list[tuple[str, int]], **options) -> None:
        """Write an object and load it."""
        case = key.partition("/")[0]
        body = b"\n".join(statement(f"{case}/{video}", month) for video, month in videos)
        boto3.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body)
        with closing(open_warehouse(self.settings)) as warehouse:
            list(load(warehouse, self.settings, [S3Object(self.bucket, key)], **options))

    def build(self, *options: str) -> dict[str, list[tuple[str, str, int]]]:
        """Build; return video, object and line of each event, by case."""
        run_dbt("run", "--select", "+video_events", *options, folder=self.folder)
        found: dict[str, list[tuple[str, str, int]]] = {}
        for row in self.query(EVENTS):
            _, case, name = row["source_path"].split("/")
            video = row["video_url"].removeprefix(f"{case}/")
            found.setdefault(case, []).append((video, name, row["source_line"]))
        return found

    def query(self, sql: str) -> list[dict]:
        """Rows of a query."""
        with closing(open_warehouse(self.settings)) as warehouse:
            return warehouse.query(sql)


@pytest.fixture(scope="module")
def lake(s3_endpoint, tmp_path_factory):
    """A lake of which nothing is loaded."""
    folder = tmp_path_factory.mktemp("policies")
    boto3.client("s3").create_bucket(Bucket="lake-of-policies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAPI_CHDB_PATH", str(folder / "clickhouse"))
        patch.setenv("S3_XAPI_BUCKET_NAME", "lake-of-policies")
        yield Lake("lake-of-policies", folder)


@pytest.fixture(scope="module")
def builds(lake) -> list[dict]:
    """The events, by case, after each step, then after a rebuild from raw, then after one more
    run with nothing to do."""
    found = []
    for number, step in enumerate(STEPS):
        for key, videos, options in step:
            lake.load(key, videos, **options)
        found.append(lake.build())
        if number == 0:  # the forced load has a lost line to restore
            with closing(open_warehouse(lake.settings)) as warehouse:
                warehouse.command(DAMAGE)
    return [*found, lake.build("--full-refresh"), lake.build()]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("append", [("old", "a", 1), ("kept", "a", 2), ("elsewhere", "b", 1), ("new", "a", 2)]),
        ("ignore", [("old", "a", 1), ("kept", "a", 2), ("elsewhere", "b", 1)]),
        ("replace", [("kept", "a", 1), ("elsewhere", "b", 1), ("new", "a", 2)]),
    ],
)
def test_an_overwritten_object_follows_the_policy(builds, policy, expected):
    assert builds[0][policy] == [("old", "a", 1), ("kept", "a", 2), ("elsewhere", "b", 1)]
    assert [build[policy] for build in builds[1:]] == [expected] * 5


def test_an_event_that_another_object_has_too_outlives_its_replaced_source(builds):
    assert [len(build["shared"]) for build in builds[:3]] == [1, 1, 1]
    assert builds[0]["shared"] == [("shared", "a", 1)]
    assert builds[2]["shared"] == [("shared", "b", 1)]
    assert [build.get("shared") for build in builds[3:]] == [None] * 3


def test_going_back_to_an_older_version_is_a_replacement_too(builds):
    videos = ["first", "second", *["first"] * 4]
    assert [build["back"] for build in builds] == [[(video, "a", 1)] for video in videos]


def test_a_forced_load_replaces_the_one_before_and_restores_its_lines(builds, lake):
    assert [build["forced"] for build in builds] == [[("x", "a", 1), ("y", "a", 2)]] * 6
    assert lake.query(STORED) == [{"lines": 2}]

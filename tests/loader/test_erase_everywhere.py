"""A learner in every place of two databases and of S3: `erase --s3` leaves no byte.

Nothing that follows brings the learner back.
"""

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import boto3
import pytest

from loader.clickhouse.connect import open_warehouse
from loader.pipeline import Pipeline
from loader.privacy import tombstones
from loader.settings import Settings
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.erasure import (
    HASHED,
    MBOX,
    OPTIONS,
    USER,
    found_in_files,
    found_in_tables,
    found_in_versions,
    in_all_families,
    lines_of_several,
    of_learner,
    others,
    parts_that_are_gone,
    unreadable,
)
from tests.helpers.paths import ROOT
from tests.helpers.processes import shared_forks

pytestmark = pytest.mark.long

KEY = "section/2161/video/2025-10-06T09-00-00.000000Z_{}.jsonl"
DATABASES = ("xapi", "second")
OTHERS = """
select count() as rows, groupBitXor(cityHash64(event_id, timestamp, learner_id)) as hash
from {database:Identifier}.video_events
where user_id = '7'
"""
TOTALS = """
select statements, erased, missing, surplus, doubled
from {database:Identifier}.ops_statement_balance
where family = 'all'
"""
LEFTOVER = """
insert into {raw:Identifier}.statements (load_id, bucket, key, source_line, line)
select generateUUIDv4(), bucket, key, source_line, line
from {raw:Identifier}.statements
limit 5
"""
FAILED = """
insert into {raw:Identifier}.loads (load_id, bucket, key, outcome, error)
format JSONEachRow
"""


class Lake:
    """A versioned bucket, two databases that have loaded it, and what commands said."""

    def __init__(self, bucket: str, folder: Path):
        self.bucket, self.folder, self.said = bucket, folder, ""
        self.client = boto3.client("s3")

    def put(self, name: str, lines: list[str], **more: str) -> None:
        """Write an object; its name ends in .gz if it is to be compressed."""
        body = "\n".join(lines).encode()
        key = KEY.format(name.removesuffix(".gz")) + (".gz" if name.endswith(".gz") else "")
        body = gzip.compress(body) if name.endswith(".gz") else body
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def settings(self) -> Iterator[Settings]:
        """Those of each database."""
        for database in DATABASES:
            yield Settings.from_env(os.environ | {"CLICKHOUSE_DATABASE": database})

    def run(
        self, *arguments: str, fails: bool = False, databases: tuple[str, ...] = DATABASES
    ) -> str:
        """Run a command for each database."""
        for database in databases:
            environment = os.environ | {"CLICKHOUSE_DATABASE": database}
            process = shared_forks(ROOT).start(["xapi-elt", *arguments], environment, self.folder)
            assert (process.wait(600) != 0) == fails, process.output
            self.said += process.output
        return process.output

    def load(self, *arguments: str) -> None:
        """Load whatever is in the bucket."""
        self.run("backfill", f"s3://{self.bucket}/section/", *arguments)

    def dbt(self, *arguments: str) -> None:
        """Run dbt for each database."""
        for database in DATABASES:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CLICKHOUSE_DATABASE", database)
                self.said += run_dbt(*arguments, folder=self.folder / database)

    def query(self, sql: str) -> list[dict]:
        """Rows of a query, of both databases."""
        rows = []
        for settings in self.settings():
            with closing(open_warehouse(settings)) as warehouse:
                rows += warehouse.query(sql)
        return rows

    def left(self, raw: bool = False) -> list[str]:
        """Places with an identifier.

        Args:
            raw: whether raw lines that came again are expected.
        """
        found = found_in_files(self.folder) if not raw else []
        if not raw:
            found += found_in_versions(self.client, self.bucket)
            found += [word for word in ("secret-user", "Secret@example") if word in self.said]
        with closing(open_warehouse(Settings.from_env())) as warehouse:
            tables = found_in_tables(warehouse)
            found += [one for one in tables if not raw or "_raw.statements" not in one]
            if not raw:
                assert not parts_that_are_gone(warehouse)
        return found


@pytest.fixture(scope="module")
def lake(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """The learner in objects of every kind, in two databases. The tests follow one another."""
    folder = tmp_path_factory.mktemp("erased") / "all"
    folder.mkdir()
    made = Lake("lake-of-the-erased", folder)
    made.client.create_bucket(Bucket=made.bucket)
    made.client.put_bucket_versioning(
        Bucket=made.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S3_XAPI_BUCKET_NAME", made.bucket)
        patch.setenv("XAPI_CHDB_PATH", str(folder / "clickhouse"))
        _fill(made)
        yield made


def _fill(made: Lake) -> None:
    made.put("families", [*in_all_families(), *others(3)], ContentType="text/x-lines")
    made.put("replay", in_all_families())
    several = [line for line, _ in lines_of_several().values()]
    made.put("several.gz", [*several, *others(2, 200)])
    rejected = of_learner(70).replace("2025-10-06", "1969-10-06")
    made.put("rejects", [rejected, *unreadable(), *others(1, 210)])
    made.put("mails", [of_learner(80, MBOX), of_learner(81, HASHED), *others(1, 220)])
    made.put("appended", [of_learner(90), *others(1, 230)])
    made.put("replaced", [of_learner(91), *others(1, 240)])
    made.load()
    made.put("appended", [of_learner(92), *others(1, 250)])
    made.load()
    made.put("replaced", [of_learner(93), *others(1, 260)])
    made.load("--policy", "replace")
    row = {"bucket": made.bucket, "key": "bad", "outcome": "failed", "error": f"line 3: {USER}"}
    for settings in made.settings():
        with closing(open_warehouse(settings)) as warehouse:
            warehouse.command(LEFTOVER)
            data = json.dumps(row | {"load_id": "00000000-0000-0000-0000-000000000001"})
            warehouse.command(FAILED, data=data.encode())
    made.dbt("run")


def test_no_byte_is_left(lake: Lake):
    before = lake.query(OTHERS)
    shutil.copytree(lake.folder / "clickhouse", lake.folder.parent / "backup", symlinks=True)
    assert lake.left()
    for options in OPTIONS:
        lake.run("erase", *options, "--yes", "--s3", "--also-unparsed", "--json")
    lake.dbt("run")
    # dbt applies the new versions; what it replaced leaves the disk with the next erasure.
    lake.run("erase", "--pending")
    assert lake.left() == []
    assert lake.query(OTHERS) == before
    lake.run("erase", "--verify")
    lake.run("reconcile", f"s3://{lake.bucket}/section/")
    lake.dbt("test", "--select", "test_type:singular")
    for row in lake.query(TOTALS):
        assert row["erased"] > 0 and row["missing"] == row["surplus"] == row["doubled"] == 0
    families = lake.client.get_object(Bucket=lake.bucket, Key=KEY.format("families"))
    assert families["ContentType"] == "text/x-lines"


def test_nobody_comes_back_by_replay_force_backfill_rebuild_or_full_refresh(lake: Lake):
    lake.put("replay-again", [*in_all_families(), of_learner(80, MBOX), *others(1, 270)])
    lake.load()
    lake.load("--force")
    lake.dbt("run")
    assert lake.left(raw=True) == []
    lake.run("erase", "--verify", fails=True)
    days = ("--vars", "{start_date: 2025-10-01, end_date: 2025-10-31}")
    lake.dbt("run", "--select", "int_xapi__statements", "video_events", *days)
    lake.dbt("run", "--full-refresh", "--exclude", "operations")
    assert lake.left(raw=True) == []
    lake.run("erase", "--pending", "--s3")
    lake.dbt("run", "--exclude", "operations")
    lake.run("erase", "--pending")
    assert lake.left() == []
    lake.dbt("test", "--select", "test_type:singular")


def test_nobody_comes_back_by_a_restore(lake: Lake):
    """Of the database from before, with the tombstones that were exported since."""
    files = [lake.folder.parent / f"{database}.json" for database in DATABASES]
    for settings, file in zip(lake.settings(), files, strict=True):
        with Pipeline(settings) as pipeline:
            file.write_text(tombstones.exported(pipeline.warehouse))
    shutil.rmtree(lake.folder / "clickhouse")
    shutil.move(lake.folder.parent / "backup", lake.folder / "clickhouse")
    assert lake.left(raw=True)
    for file in files:
        lake.run("erase", "--import", str(file), databases=(file.stem,))
    lake.run("erase", "--pending")
    lake.run("erase", "--verify")
    # Lines without an actor, and texts of the ledger, are found by the name alone.
    for options in OPTIONS:
        lake.run("erase", *options, "--yes", "--also-unparsed")
    assert lake.left() == []

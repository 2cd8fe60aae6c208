"""A small database, loaded and built once for all tests that read it, and copies to change."""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import Warehouse, open_warehouse
from loader.settings import Settings
from tests.helpers.dbt_runs import run_dbt

BUCKET = "lake"

# The views of operations and the marts: a run after the first can leave them out, which is most of
# the time of a run with little to do.
TABLES_ONLY = ("--exclude", "operations", "marts.video", "marts.learning")

MONDAY = datetime(2025, 10, 6, 9, tzinfo=UTC)
LOADED = MONDAY + timedelta(days=60)

TORUS = "http://oli.cmu.edu/extensions/"
ADL = "http://adlnet.gov/expapi/"
VIDEO = "https://w3id.org/xapi/video/"
VERBS_AND_TYPES = {
    "video": (f"{VIDEO}verbs/played", f"{VIDEO}activity-type/video"),
    "activity_attempt": (f"{ADL}verbs/completed", f"{TORUS}activity_attempt"),
    "page_attempt": (f"{ADL}verbs/completed", f"{TORUS}page_attempt"),
    "part_attempt": (f"{ADL}verbs/completed", f"{ADL}activities/question"),
    "page_viewed": ("http://id.tincanapi.com/verb/viewed", f"{TORUS}types/page"),
    "other": (f"{TORUS}verbs/tutor_message", f"{TORUS}types/tutor_message"),
}


class SmallDatabase:
    """An embedded database below a folder; beside it the files that dbt writes.

    It is opened when it is needed and closed for dbt: one process at a time can have it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._settings = Settings(chdb_path=str(folder / "clickhouse"))
        self._open: Warehouse | None = None

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query."""
        return self._warehouse().query(sql)

    def change(self, statement: str) -> None:
        """Run a statement."""
        self._warehouse().command(statement)

    def load(self, *attempts: "Attempt") -> None:
        """Write what attempts of the loader leave: lines, and rows of the ledger."""
        schema.init(self._warehouse(), self._settings)
        for table, rows in (
            ("statements", [row for attempt in attempts for row in attempt.lines_in_raw()]),
            ("loads", [row for attempt in attempts for row in attempt.rows_in_ledger()]),
        ):
            if not rows:
                continue
            data = "\n".join(map(json.dumps, rows)).encode()
            insert = f"insert into xapi_raw.{table} format JSONEachRow"
            self._warehouse().command(insert, data=data)

    def dbt(self, *arguments: str, **how: bool) -> str:
        """Run dbt on the database (see `run_dbt`)."""
        self.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XAPI_CHDB_PATH", self._settings.chdb_path)
            return run_dbt(*arguments, folder=self.folder, **how)

    def data_test(self, name: str) -> list[dict[str, Any]]:
        """The failing rows of a data test, which `dbt test` has compiled."""
        compiled = self.folder / "target" / "compiled" / "xapi_elt" / "dbt_project" / "data_tests"
        return self.query((compiled / f"{name}.sql").read_text())

    def copy(self, folder: Path) -> "SmallDatabase":
        """A copy in another folder."""
        self.close()
        shutil.copytree(self.folder, folder, symlinks=True)
        return SmallDatabase(folder)

    def close(self) -> None:
        """Close it, so that another process can open it."""
        if self._open:
            self._open.close()
            self._open = None

    def _warehouse(self) -> Warehouse:
        self._open = self._open or open_warehouse(self._settings)
        return self._open


@dataclass(frozen=True)
class Attempt:
    """An attempt to load one object, in this minute after the first. Without an outcome the
    loader died before it wrote the ledger."""

    minute: int
    key: str
    lines: Iterable[str]
    outcome: str = "committed"
    etag: str = "1"
    policy: str = "append"

    def lines_in_raw(self) -> Iterator[dict[str, Any]]:
        """The rows of `statements`."""
        for number, line in enumerate(self.lines, start=1):
            place = self._version() | {"object_size": 999, "source_line": number, "line": line}
            yield place | {"loaded_at": self._time(), "last_modified": self._time(-9)}

    def rows_in_ledger(self) -> Iterator[dict[str, Any]]:
        """The rows of `loads`: one, or none."""
        if self.outcome:
            is_committed = self.outcome == "committed"
            yield self._version() | {
                "size": 999,
                "last_modified": self._time(-9),
                "rows": sum(1 for _ in self.lines) if is_committed else 0,
                "outcome": self.outcome,
                "error": "" if is_committed else f"s3://{BUCKET}/{self.key}: access denied",
                "mode": "event",
                "policy": self.policy,
                "event_time": self._time(-8),
                "started_at": self._time(-2),
                "committed_at": self._time(),
                "duration_ms": 2000,
            }

    def _version(self) -> dict[str, Any]:
        load_id = str(UUID(int=1000 + self.minute))
        return {"load_id": load_id, "bucket": BUCKET, "key": self.key, "etag": self.etag}

    def _time(self, seconds: int = 0) -> str:
        at = LOADED + timedelta(minutes=self.minute, seconds=seconds)
        return f"{at:%Y-%m-%d %H:%M:%S}"


def statement(family: str = "video", minute: int = 0, **changes: Any) -> str:
    """A line with an event of that family, with some members changed."""
    verb, kind = VERBS_AND_TYPES[family]
    whole = {
        "actor": {"account": {"homePage": "https://lms.example.org", "name": 7}},
        "verb": {"id": verb},
        "object": {"id": f"https://lms.example.org/{family}/1", "definition": {"type": kind}},
        "result": {"extensions": {f"{VIDEO}extensions/time": 12.5}},
        "context": {
            "extensions": {
                f"{TORUS}section_id": 2161,
                f"{TORUS}resource_id": 9,
                **({f"{TORUS}part_attempt_guid": "part-1"} if family == "part_attempt" else {}),
            }
        },
        "timestamp": (MONDAY + timedelta(minutes=minute)).isoformat(),
    }
    return json.dumps(whole | changes)


ONE_OF_EACH = [statement(family) for family in VERBS_AND_TYPES]
SAME_ID = [statement(minute=minute, id="shared-id") for minute in (1, 2)]
IN_NOVEMBER = statement(timestamp="2025-11-03T08:00:00Z")
BAD_LINE = "502 Bad Gateway"

# One object of each sort that a lake holds.
ATTEMPTS = [
    Attempt(1, "section/2161/video/a.jsonl", [*ONE_OF_EACH, ONE_OF_EACH[0], BAD_LINE]),
    Attempt(2, "section/2161/video/b.jsonl", [*SAME_ID, IN_NOVEMBER, BAD_LINE]),
    Attempt(3, "section/2161/video/empty.jsonl", []),
    Attempt(4, "section/2161/video/sent-again.jsonl", [*ONE_OF_EACH[:2], IN_NOVEMBER]),
    Attempt(5, "section/2161/video/a.jsonl", ONE_OF_EACH),  # the version of the first attempt
    Attempt(6, "section/2161/video/failed.jsonl", [statement(minute=6)], outcome="failed"),
    Attempt(7, "section/2161/video/died.jsonl", [statement(minute=7)], outcome=""),
]


def build_empty(folder: Path) -> None:
    """Build all models with nothing loaded: creating their views is most of a first build."""
    database = SmallDatabase(folder)
    database.load()
    database.dbt("run")
    database.close()


def build(folder: Path) -> None:
    """Load the attempts, build all models and run the pipeline's singular tests. The models' unit
    tests need no data (`test_dbt_unit_tests.py` runs them)."""
    database = SmallDatabase(folder)
    database.load(*ATTEMPTS)
    database.dbt("build", "--exclude", "test_type:generic", "test_type:unit")
    database.close()

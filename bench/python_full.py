"""A Lambda in Python that does the work of the pipeline: the fair reference of end_to_end.

Five families and rejects, each in its table with all its columns; raw lines; ids by the pipeline's
rule; repeats looked up in the tables; pseudonyms. It is written for speed: one pass over a batch of
objects, columns instead of rows, one INSERT per table and batch, which looks up the repeats, too.
It has no ledger, so a batch that dies half-way leaves what it wrote, and it reads the statements of
Torus only: no lists, envelopes, language maps or other producers' recipes.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow
import pyarrow.parquet
import urllib3

from loader.objects import S3Object

OLI = "http://oli.cmu.edu/extensions/"
MEDIA = "https://w3id.org/xapi/video/extensions/"
ADL = "http://adlnet.gov/expapi/"
VIDEO_TYPE = "https://w3id.org/xapi/video/activity-type/video"
VIDEO_VERBS = "https://w3id.org/xapi/video/verbs/"
COMPLETED = f"{ADL}verbs/completed"
TYPES = {
    f"{OLI}activity_attempt": "activity_attempt",
    f"{OLI}page_attempt": "page_attempt",
    f"{ADL}activities/question": "part_attempt",
}
RANDOM = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

_TEXT, _WHOLE, _FLOAT = pyarrow.string(), pyarrow.uint64(), pyarrow.float64()
_BYTES, _BOOL, _TIME = pyarrow.binary(16), pyarrow.bool_(), pyarrow.timestamp("ms", tz="UTC")

# Columns of all event tables, then those of each.
COMMON = {
    "event_id": _BYTES, "timestamp": _TIME, "verb": _TEXT, "user_id": _TEXT, "home_page": _TEXT,
    "learner_id": _TEXT, "section_id": _WHOLE, "course_id": _TEXT, "project_id": _WHOLE,
    "publication_id": _WHOLE, "page_id": _WHOLE, "page_attempt_guid": _TEXT,
    "page_attempt_number": _WHOLE, "enrollment_id": _WHOLE, "session_id": _TEXT,
    "registration": _TEXT, "statement_id": _TEXT, "load_id": _BYTES, "source_path": _TEXT,
    "source_line": _WHOLE, "source_item": pyarrow.uint32(), "loaded_at": _TIME,
}  # fmt: skip
_GRADE = {
    "score": _FLOAT, "out_of": _FLOAT, "scaled_score": _FLOAT, "success": _BOOL, "completion": _BOOL
}  # fmt: skip
_ACTIVITY = {
    "activity_attempt_guid": _TEXT, "activity_attempt_number": _WHOLE, "activity_id": _WHOLE,
    "activity_revision_id": _WHOLE,
}  # fmt: skip
FAMILIES = {
    "video": {
        "content_element_id": _TEXT, "video_url": _TEXT, "video_title": _TEXT, "video_time": _FLOAT,
        "video_length": _FLOAT, "video_progress": _FLOAT, "video_played_segments": _TEXT,
        "video_seek_from": _FLOAT, "video_seek_to": _FLOAT,
    },
    "activity_attempt": _ACTIVITY | _GRADE,
    "page_attempt": _GRADE,
    "part_attempt": _ACTIVITY | _GRADE | {
        "part_attempt_guid": _TEXT, "part_attempt_number": _WHOLE, "part_id": _TEXT,
        "response": _TEXT, "feedback": _TEXT, "hints_requested": _WHOLE,
        "attached_objectives": _TEXT,
    },
    "page_viewed": {"page_sub_type": _TEXT},
}  # fmt: skip
RAW = pyarrow.schema(
    [("load_id", _BYTES), ("key", _TEXT), ("source_line", _WHOLE), ("line", _TEXT)]
)
REJECTED = pyarrow.schema(
    [("load_id", _BYTES), ("source_path", _TEXT), ("source_line", _WHOLE), ("reason", _TEXT),
     ("raw_line", _TEXT)]
)  # fmt: skip


class PythonFull:
    """The function, after its start.

    Args:
        endpoint: address of S3.
        loads: parses JSON: the standard library's function, or orjson's.
        dumps: writes JSON as text.
        insert: inserts Parquet into a table, by its name; of events those that are not there, which
            are searched for between two times.
    """

    def __init__(
        self,
        endpoint: str,
        loads: Callable[[bytes], Any],
        dumps: Callable[[Any], str],
        insert: Callable[[str, bytes, datetime | None, datetime | None], None],
    ):
        self._endpoint = endpoint
        self._loads, self._dumps = loads, dumps
        self._insert = insert
        self._http = urllib3.PoolManager()
        self._learners: dict[tuple[str, str], str] = {}

    def handle(self, items: Iterable[S3Object], load_id: UUID) -> None:
        """Load the objects of an invocation."""
        load, now = load_id.bytes, datetime.now(UTC)
        latest = now + timedelta(days=1)
        raw: list[tuple] = []
        rejected: list[tuple] = []
        rows: dict[str, dict[bytes, tuple]] = {family: {} for family in FAMILIES}
        for item in items:
            answer = self._http.request("GET", f"{self._endpoint}/{item.path}")
            if answer.status != 200:
                raise RuntimeError(f"{item.uri}: {answer.status}")
            path = item.path
            for number, line in enumerate(answer.data.splitlines(), start=1):
                raw.append((load, item.key, number, line))
                try:
                    statement = self._loads(line)
                    at = datetime.fromisoformat(statement["timestamp"])
                    verb, actor = statement["verb"]["id"], statement["actor"]
                except Exception as error:
                    rejected.append((load, path, number, type(error).__name__, line))
                    continue
                if not EARLIEST <= at <= latest:
                    rejected.append((load, path, number, "implausible timestamp", line))
                    continue
                family = _family(verb, statement["object"].get("definition") or {})
                if family:
                    row = self._row(family, statement, verb, actor, at, line)
                    rows[family].setdefault(row[0], (*row, load, path, number, 0, now))
        self._write("python_raw", RAW, raw)
        self._write("python_rejected", REJECTED, rejected)
        for family, found in rows.items():
            times = [row[1] for row in found.values()]
            if times:
                span = min(times), max(times)
                self._write(f"python_{family}", SCHEMAS[family], list(found.values()), *span)

    def _write(
        self,
        table: str,
        schema: pyarrow.Schema,
        rows: list[tuple],
        first: datetime | None = None,
        last: datetime | None = None,
    ) -> None:
        if not rows:
            return
        columns = [
            pyarrow.array(column, kind)
            for column, kind in zip(zip(*rows, strict=True), schema.types, strict=True)
        ]
        parquet = io.BytesIO()
        pyarrow.parquet.write_table(
            pyarrow.Table.from_arrays(columns, schema=schema), parquet, compression="lz4"
        )
        self._insert(table, parquet.getvalue(), first, last)

    def _learner(self, page: str, name: str) -> str:
        """The pseudonym of a learner; a warm function remembers them."""
        if (page, name) not in self._learners:
            digest = hashlib.blake2b(f"{page} {name}".encode(), digest_size=16, key=b"secret")
            self._learners[page, name] = digest.hexdigest()
        return self._learners[page, name]

    def _row(
        self, family: str, statement: dict, verb: str, actor: dict, at: datetime, line: bytes
    ) -> tuple:
        """The values of a row, without those of its place."""
        account = actor.get("account") or {}
        page = account.get("homePage")
        name = str(account.get("name") or actor.get("mbox") or "")
        context = statement.get("context") or {}
        about = context.get("extensions") or {}
        of = about.get
        result = statement.get("result") or {}
        thing = statement["object"]
        statement_id = statement.get("id")
        if not statement_id:
            key = line
        elif RANDOM(statement_id.lower()):
            key = f"random {statement_id.lower()} {int(at.timestamp()) // 3600}".encode()
        else:
            key = f"{statement_id.lower()} {at} {page} {name} {verb} {thing.get('id')}".encode()
        page_id = of(f"{OLI}resource_id")
        common = (
            *(hashlib.md5(key, usedforsecurity=False).digest(), at, verb.rpartition("/")[2], name),
            *(page, self._learner(page or "", name), of(f"{OLI}section_id") or 0, ""),
            *(of(f"{OLI}project_id"), of(f"{OLI}publication_id")),
            *(of(f"{OLI}page_id") if page_id is None else page_id, of(f"{OLI}page_attempt_guid")),
            *(of(f"{OLI}page_attempt_number"), of(f"{OLI}enrollment_id")),
            *(of(f"{MEDIA}session-id") or of(f"{OLI}session_id"),),
            *(statement.get("registration") or context.get("registration"), statement_id),
        )
        if family == "video":
            extensions = result.get("extensions") or {}
            seen, definition = extensions.get, thing.get("definition") or {}
            return (
                *common,
                *(of(f"{OLI}content_element_id"), thing.get("id")),
                *((definition.get("name") or {}).get("en-US"), seen(f"{MEDIA}time")),
                *(of(f"{MEDIA}length"), seen(f"{MEDIA}progress")),
                *(seen(f"{MEDIA}played-segments"), seen(f"{MEDIA}time-from")),
                *(seen(f"{MEDIA}time-to"),),
            )
        if family == "page_viewed":
            return (*common, (thing.get("definition") or {}).get("subType"))
        score = result.get("score") or {}
        grade = (
            *(score.get("raw"), score.get("max"), score.get("scaled")),
            *(result.get("success"), result.get("completion")),
        )
        if family == "page_attempt":
            return (*common, *grade)
        activity = (
            *(of(f"{OLI}activity_attempt_guid"), of(f"{OLI}activity_attempt_number")),
            *(of(f"{OLI}activity_id"), of(f"{OLI}activity_revision_id")),
        )
        if family == "activity_attempt":
            return (*common, *activity, *grade)
        hints = of(f"{OLI}hints_requested")
        return (
            *(*common, *activity, *grade, of(f"{OLI}part_attempt_guid")),
            *(of(f"{OLI}part_attempt_number"), of(f"{OLI}part_id")),
            *(self._text(result.get("response")),),
            *(self._text((result.get("extensions") or {}).get(f"{OLI}feedback")),),
            *(len(hints) if isinstance(hints, list) else hints,),
            *(self._text(of(f"{OLI}attached_objectives")),),
        )

    def _text(self, value: Any) -> str | None:
        """A text as it is, anything else as JSON."""
        return value if value is None or isinstance(value, str) else self._dumps(value)


def _family(verb: str, definition: dict) -> str:
    """The family of a statement; '' if it is another one."""
    kind = definition.get("type")
    if kind == VIDEO_TYPE or (not kind and verb.startswith(VIDEO_VERBS)):
        return "video"
    if verb == COMPLETED:
        return TYPES.get(kind, "")
    return "page_viewed" if kind == f"{OLI}types/page" else ""


def _schema(family: str) -> pyarrow.Schema:
    """The columns in the order of `_row`: place last."""
    place = ("load_id", "source_path", "source_line", "source_item", "loaded_at")
    first = {name: kind for name, kind in COMMON.items() if name not in place}
    return pyarrow.schema(first | FAMILIES[family] | {name: COMMON[name] for name in place})


SCHEMAS = {family: _schema(family) for family in FAMILIES}

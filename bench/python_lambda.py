"""The reference of the end-to-end measurement: a Lambda that transforms in Python.

It is written as usual: get the object, `json.loads` each line, make a typed row of each video
statement, write the rows as Parquet, insert. It has no ledger, no other families and no raw lines,
so it does less than the pipeline. Connections stay open, rows are collected in columns, and the
engine is in this process, so that no time is spent on another protocol.
"""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from uuid import UUID

import pyarrow
import pyarrow.parquet
import urllib3

from loader.objects import S3Object

OLI = "http://oli.cmu.edu/extensions/"
MEDIA = "https://w3id.org/xapi/video/extensions/"
VIDEO_TYPE = "https://w3id.org/xapi/video/activity-type/video"
VIDEO_VERBS = "https://w3id.org/xapi/video/verbs/"

_TEXT, _WHOLE, _FLOAT = pyarrow.string(), pyarrow.uint64(), pyarrow.float64()
SCHEMA = pyarrow.schema(
    [
        ("event_id", pyarrow.binary(16)),
        ("timestamp", pyarrow.timestamp("ms", tz="UTC")),
        ("verb", _TEXT),
        ("user_id", _TEXT),
        ("home_page", _TEXT),
        ("section_id", _WHOLE),
        ("course_id", _TEXT),
        ("project_id", _WHOLE),
        ("publication_id", _WHOLE),
        ("page_id", _WHOLE),
        ("page_attempt_guid", _TEXT),
        ("page_attempt_number", _WHOLE),
        ("content_element_id", _TEXT),
        ("video_url", _TEXT),
        ("video_title", _TEXT),
        ("video_time", _FLOAT),
        ("video_length", _FLOAT),
        ("video_progress", _FLOAT),
        ("video_played_segments", _TEXT),
        ("video_seek_from", _FLOAT),
        ("video_seek_to", _FLOAT),
        ("session_id", _TEXT),
        ("registration", _TEXT),
        ("statement_id", _TEXT),
        ("load_id", pyarrow.binary(16)),
        ("source_path", _TEXT),
        ("source_line", _WHOLE),
        ("loaded_at", pyarrow.timestamp("ms", tz="UTC")),
    ]
)


class PythonLambda:
    """The function, after its start.

    Args:
        endpoint: address of S3.
        loads: parses JSON: the standard library's function, or orjson's.
        insert: inserts rows in the format Parquet.
    """

    def __init__(
        self, endpoint: str, loads: Callable[[bytes], Any], insert: Callable[[bytes], None]
    ):
        self._endpoint = endpoint
        self._loads = loads
        self._insert = insert
        self._http = urllib3.PoolManager()
        self.bytes_read = 0

    def handle(self, item: S3Object, load_id: UUID) -> int:
        """Load one object; return its number of rows."""
        answer = self._http.request("GET", f"{self._endpoint}/{item.path}")
        if answer.status != 200:
            raise RuntimeError(f"{item.uri}: {answer.status}")
        self.bytes_read += len(answer.data)
        rows = self._rows(answer.data, item, load_id)
        if rows:
            table = pyarrow.Table.from_pylist(rows, schema=SCHEMA)
            parquet = io.BytesIO()
            pyarrow.parquet.write_table(table, parquet)
            self._insert(parquet.getvalue())
        return len(rows)

    def _rows(self, body: bytes, item: S3Object, load_id: UUID) -> list[dict[str, Any]]:
        loads, loaded_at, rows = self._loads, datetime.now(UTC), []
        for number, line in enumerate(body.splitlines(), start=1):
            statement = loads(line)
            verb, thing = statement["verb"]["id"], statement["object"]
            definition = thing.get("definition", {})
            if definition.get("type") != VIDEO_TYPE and not verb.startswith(VIDEO_VERBS):
                continue
            row = _row(statement, verb, thing, definition)
            row |= {
                "event_id": md5(line).digest(),
                "load_id": load_id.bytes,
                "source_path": item.path,
                "source_line": number,
                "loaded_at": loaded_at,
            }
            rows.append(row)
        return rows


def _row(statement: dict, verb: str, thing: dict, definition: dict) -> dict[str, Any]:
    account = statement["actor"].get("account", {})
    context = statement.get("context", {})
    about = context.get("extensions", {})
    result = statement.get("result", {}).get("extensions", {})
    return {
        "timestamp": datetime.fromisoformat(statement["timestamp"]),
        "verb": verb.rpartition("/")[2],
        "user_id": str(account.get("name") or statement["actor"].get("mbox")),
        "home_page": account.get("homePage"),
        "section_id": about.get(f"{OLI}section_id") or 0,
        "course_id": "",
        "project_id": about.get(f"{OLI}project_id"),
        "publication_id": about.get(f"{OLI}publication_id"),
        "page_id": about.get(f"{OLI}resource_id") or about.get(f"{OLI}page_id"),
        "page_attempt_guid": about.get(f"{OLI}page_attempt_guid"),
        "page_attempt_number": about.get(f"{OLI}page_attempt_number"),
        "content_element_id": about.get(f"{OLI}content_element_id"),
        "video_url": thing["id"],
        "video_title": definition.get("name", {}).get("en-US"),
        "video_time": result.get(f"{MEDIA}time"),
        "video_length": about.get(f"{MEDIA}length"),
        "video_progress": result.get(f"{MEDIA}progress"),
        "video_played_segments": result.get(f"{MEDIA}played-segments"),
        "video_seek_from": result.get(f"{MEDIA}time-from"),
        "video_seek_to": result.get(f"{MEDIA}time-to"),
        "session_id": about.get(f"{MEDIA}session-id"),
        "registration": statement.get("registration") or context.get("registration"),
        "statement_id": statement.get("id"),
    }

"""Bundles: statements that come as bytes, and the names of bundles in S3."""

import hashlib
import tempfile
from datetime import UTC, datetime
from uuid import UUID

from loader.errors import PermanentError, SettingsError
from loader.objects import S3Object, check_readable
from loader.settings import Settings
from loader.sources import COUNTED, INTO_STATEMENTS, LOAD_SETTINGS, UPLOAD_LINES
from loader.warehouse import Warehouse

INSERT_LINES_OF_FILE = f"""
{INTO_STATEMENTS}
select
    {{load_id:UUID}},
    '',
    {{key:String}},
    {{etag:String}},
    {{size:UInt64}},
    fromUnixTimestamp64Milli({{modified:Int64}}),
    {COUNTED},
    line
from file({{file:String}}, 'LineAsString', 'line String')
settings {LOAD_SETTINGS}
"""


def bundle_key(
    section_id: int, category: str, uploaded_at: datetime, digest: str, suffix: str = ".jsonl"
) -> str:
    """The key of a bundle, as the learning platform names it.

    Args:
        uploaded_at: the time that a backfill by date goes by.
        digest: 32 hexadecimal digits that make the name unique.

    Raises:
        SettingsError: the category cannot be a folder.
    """
    if not category or "/" in category or not category.isprintable():
        raise SettingsError(f"--category is {category!r}; accepted: a name without '/'")
    time = uploaded_at.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    return f"section/{section_id}/{category}/{time}_{digest[:32].upper()}{suffix}"


def bundle(body: bytes, key: str, now: datetime) -> S3Object:
    """A bundle as the ledger names it: no bucket, and the MD5 of its content as version.

    Args:
        key: its name; if empty one made of the content, so that the same content is one bundle.
        now: when it came.
    """
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return S3Object(
        bucket="",
        key=key or f"section/0/bundle/{digest}.jsonl",
        etag=digest,
        size=len(body),
        last_modified=now,
    )


class BundleSource:
    """Lines of one bundle (see `Source`): sent along with the statement, or from a file that an
    embedded ClickHouse reads."""

    def __init__(self, warehouse: Warehouse, settings: Settings, body: bytes):
        self._warehouse = warehouse
        self._settings = settings
        self._body = body

    def check(self, item: S3Object) -> None:
        """See `Source.check`."""
        check_readable(item, {""})

    def stat(self, batch: list[S3Object]) -> dict[str, S3Object]:
        """See `Source.stat`."""
        return {item.path: item for item in batch}

    def insert(self, batch: list[S3Object], load_id: UUID) -> None:
        """See `Source.insert`."""
        [item] = batch
        if item.last_modified is None:
            raise PermanentError(f"{item.uri}: a bundle has a time")
        values = {
            "load_id": str(load_id),
            "key": item.key,
            "etag": item.etag,
            "size": item.size,
            "modified": int(item.last_modified.timestamp() * 1000),
        }
        if self._settings.target != "embedded":
            self._warehouse.command(UPLOAD_LINES, data=self._body, lines_before=0, **values)
            return
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
            file.write(self._body)
            file.flush()
            self._warehouse.command(INSERT_LINES_OF_FILE, file=file.name, **values)

    def count_lines(self, item: S3Object) -> int:
        """See `Source.count_lines`."""
        return self._body.count(b"\n") + (not self._body.endswith(b"\n"))

"""Load lines that are not in S3: local files, and bundles that are sent in an event."""

import gzip
import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from loader.clickhouse.warehouse import Warehouse
from loader.errors import NO_WHOLE_GZIP, MemoryLimitError, PermanentError, SettingsError
from loader.objects import SUFFIXES, S3Object, check_readable
from loader.settings import Settings
from loader.sources import AS_NAMED, COUNTED, INTO_STATEMENTS, LOAD_SETTINGS, within_memory

# Bytes of a local file that one INSERT sends to a server.
UPLOAD_BLOCK = 32 * 1024 * 1024

# Bytes of a first line that are read to see whether a file is JSON Lines.
_FIRST_LINE = 1024 * 1024

# Bytes of memory that ClickHouse needs for each byte of one long line (measured: 3.4).
MEMORY_PER_BYTE = 4

INSERT_FILES = f"""
{INTO_STATEMENTS}
select
    {{load_id:UUID}},
    '',
    _path,
    transform(_path, {{paths:Array(String)}}, {{etags:Array(String)}}, ''),
    assumeNotNull(_size),
    assumeNotNull(_time),
    {COUNTED},
    line
from file({{pattern:String}}, 'LineAsString', 'line String', {{compression:String}})
where _path in {{paths:Array(String)}}
settings {LOAD_SETTINGS}
"""

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

# It must not end with a line break, which would be read as the first line of the data.
UPLOAD_LINES = f"""
{INTO_STATEMENTS}
select
    {{load_id:UUID}},
    '',
    {{key:String}},
    {{etag:String}},
    {{size:UInt64}},
    fromUnixTimestamp64Milli({{modified:Int64}}),
    rowNumberInAllBlocks() + 1 + {{lines_before:UInt64}},
    line
from input('line String')
settings {LOAD_SETTINGS}, max_insert_threads = 1, max_threads = 1
format LineAsString"""


class FileSource:
    """Local files that the embedded ClickHouse reads with `file()`.

    Args:
        warehouse: the ClickHouse to load into.
        settings: the memory that a load may use.
    """

    def __init__(self, warehouse: Warehouse, settings: Settings):
        self._warehouse = warehouse
        self._settings = settings

    def check(self, item: S3Object) -> None:
        """See `Source.check`."""
        path = Path(item.key)
        if not path.is_file():
            raise PermanentError(
                f"{item.key}: {'a folder, not a file' if path.is_dir() else 'no such file'}"
            )

    def stat(self, batch: list[S3Object]) -> dict[str, S3Object]:
        """See `Source.stat`."""
        return {item.path: _stat_file(Path(item.key)) for item in batch if Path(item.key).is_file()}

    def insert(self, batch: list[S3Object], load_id: UUID, compression: str = AS_NAMED) -> None:
        """See `Source.insert`."""
        self._warehouse.command(
            within_memory(INSERT_FILES, self._settings),
            load_id=str(load_id),
            pattern=_folder_pattern(batch),
            paths=[item.key for item in batch],
            etags=[item.etag for item in batch],
            compression=compression,
        )

    def count_lines(self, item: S3Object, compression: str = AS_NAMED) -> int:
        """See `Source.count_lines`."""
        lines, block = 0, b"\n"
        with _open(Path(item.key), compression) as file:
            while more := file.read(UPLOAD_BLOCK):
                lines, block = lines + more.count(b"\n"), more
        return lines + (not block.endswith(b"\n"))


class UploadSource(FileSource):
    """Local files whose lines are sent to a server, which cannot read them itself. This process
    sends blocks of whole lines and does not parse them."""

    def insert(self, batch: list[S3Object], load_id: UUID, compression: str = AS_NAMED) -> None:
        """See `Source.insert`; here each block of a file is one statement."""
        upload = within_memory(UPLOAD_LINES, self._settings)
        longest = self._settings.load_memory // MEMORY_PER_BYTE
        for item in batch:
            lines_before = 0
            for block in _blocks(Path(item.key), longest, compression):
                self._warehouse.command(
                    upload,
                    data=block,
                    load_id=str(load_id),
                    key=item.key,
                    etag=item.etag,
                    size=item.size,
                    modified=int(item.last_modified.timestamp() * 1000),
                    lines_before=lines_before,
                )
                lines_before += block.count(b"\n")


def local_objects(target: Path) -> list[S3Object]:
    """Find the JSONL files of a path, and refuse those that are no JSON Lines.

    Args:
        target: see `local_files`.

    Raises:
        SettingsError: there is none, or the JSON of one is spread over several lines.
    """
    found = local_files(target)
    for path in found:
        check_lines(path)
    return [S3Object("", str(path)) for path in found]


def local_files(target: Path) -> list[Path]:
    """Find the JSONL files of a path by their names; links and folders may be among them.

    Args:
        target: a file, or a folder that is searched with all its subfolders.

    Raises:
        SettingsError: there is none.
    """
    target = target.expanduser().resolve()
    if target.is_file():
        return [target]
    found = sorted(path for suffix in SUFFIXES for path in target.rglob(f"*{suffix}"))
    if not found:
        accepted = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise SettingsError(f"{target}: no such file, or a folder without {accepted}")
    return found


def check_lines(path: Path) -> None:
    """Refuse a file with JSON over several lines: each line is read by itself, so all lines of a
    pretty-printed file, and parts of an array's lines, would be rejected.

    Args:
        path: a file; its first line shows it.

    Raises:
        SettingsError: it is pretty-printed, or an array with a statement per line.
    """
    try:
        with _open(path, AS_NAMED) as file:
            first = file.readline(_FIRST_LINE).strip()
    except (OSError, EOFError, zlib.error):
        return  # a load names what is wrong
    if first in (b"{", b"[", b"[{") or (first.startswith(b"[") and first.endswith(b",")):
        raise SettingsError(
            f"{path}: its JSON is spread over several lines (pretty-printed, or an array), and "
            "each line is read by itself; accepted: JSON Lines, a statement per line. To convert "
            "it: jq -c 'if type == \"array\" then .[] else . end' FILE > FILE.jsonl"
        )


def _folder_pattern(batch: list[S3Object]) -> str:
    """The glob that covers the files of one folder; `{ } * ?` in its path become `?`."""
    folder = str(Path(batch[0].key).parent)
    return f"{folder.translate({ord(mark): '?' for mark in '{}*?'})}/*"


def _stat_file(path: Path) -> S3Object:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    status = path.stat()
    return S3Object(
        bucket="",
        key=str(path),
        etag=digest,
        size=status.st_size,
        last_modified=datetime.fromtimestamp(status.st_mtime, UTC),
    )


def _open(path: Path, compression: str) -> BinaryIO:
    is_gzip = compression == "gzip" or path.suffix == ".gz"
    return gzip.open(path) if is_gzip else path.open("rb")


def _blocks(path: Path, longest: int, compression: str) -> Iterator[bytes]:
    """Read a file in blocks of whole lines.

    Args:
        path: the file.
        longest: bytes that the last line of a block may have after the block's end.
        compression: see `Source.insert`.

    Raises:
        MemoryLimitError: a line is longer.
        PermanentError: it is not a whole gzip file.
    """
    with _open(path, compression) as file:
        while block := _read(path, file.read, UPLOAD_BLOCK):
            rest = _read(path, file.readline, longest)
            if len(rest) == longest and not rest.endswith(b"\n"):
                raise MemoryLimitError(
                    f"{path}: a line has more than {longest:,} bytes, which needs more memory than "
                    "a load may use: split it, or raise XAPI_LOAD_MEMORY_MB"
                )
            yield block + rest


def _read(path: Path, read: Callable[[int], bytes], most: int) -> bytes:
    try:
        return read(most)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PermanentError(f"{path}: {error}; {NO_WHOLE_GZIP}") from None


def read_bundle(path: Path, unzip: bool, most: int) -> bytes:
    """Read a file that is to be one bundle, and refuse one that is too large.

    Args:
        path: the file.
        unzip: whether to decompress it.
        most: the most bytes that it may have then.

    Raises:
        MemoryLimitError: it has more.
        OSError: it cannot be read; EOFError or zlib.error: it is not a whole gzip file.
    """
    with gzip.open(path) if unzip else path.open("rb") as file:
        body = file.read(most + 1)
    if len(body) > most:
        raise MemoryLimitError(
            f"{path}: more than {most:,} bytes are too many for one bundle: split it, or put it "
            "into the bucket (XAPI_ETL_MODE=s3)"
        )
    return body


def bundle_key(
    section_id: int, category: str, uploaded_at: datetime, digest: str, suffix: str = ".jsonl"
) -> str:
    """The key of a bundle, in the form that the learning platform uses.

    Args:
        section_id: the course section; 0 for none.
        category: the kind of statements, e.g. video.
        uploaded_at: the upload time; a backfill by date selects by its UTC day.
        digest: 32 hexadecimal digits that make the name unique.
        suffix: .jsonl or .jsonl.gz.

    Raises:
        SettingsError: the category cannot be a folder.
    """
    if not category or "/" in category or not category.isprintable():
        raise SettingsError(f"--category is {category!r}; accepted: a name without '/'")
    time = uploaded_at.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    return f"section/{section_id}/{category}/{time}_{digest[:32].upper()}{suffix}"


def bundle(body: bytes, key: str, now: datetime) -> S3Object:
    """Describe a bundle for the ledger: no bucket, and the MD5 of its content as its version.

    Args:
        body: the lines.
        key: its key; '' for one derived from the content, so that the same content is the same
            bundle.
        now: when it arrived.
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
    """The lines of one bundle: sent with the statement to a server, or written to a temporary file
    that the embedded ClickHouse reads.

    Args:
        warehouse: the ClickHouse to load into.
        settings: whether it is embedded.
        body: the lines.
    """

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

    def insert(self, batch: list[S3Object], load_id: UUID, compression: str = AS_NAMED) -> None:
        """See `Source.insert`."""
        [item] = batch
        if item.last_modified is None:
            raise PermanentError(f"{item.uri}: a bundle needs a time of arrival")
        values = {
            "load_id": str(load_id),
            "key": item.key,
            "etag": item.etag,
            "size": item.size,
            "modified": int(item.last_modified.timestamp() * 1000),
        }
        if self._settings.target != "embedded":
            upload = within_memory(UPLOAD_LINES, self._settings)
            self._warehouse.command(upload, data=self._body, lines_before=0, **values)
            return
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
            file.write(self._body)
            file.flush()
            insert = within_memory(INSERT_LINES_OF_FILE, self._settings)
            self._warehouse.command(insert, file=file.name, **values)

    def count_lines(self, item: S3Object, compression: str = AS_NAMED) -> int:
        """See `Source.count_lines`."""
        return self._body.count(b"\n") + (not self._body.endswith(b"\n"))

"""Where lines come from: S3 objects that ClickHouse reads, and local files."""

import gzip
import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import BinaryIO, Protocol
from uuid import UUID

from loader.errors import PermanentError, SettingsError
from loader.objects import SUFFIXES, S3Object, check_readable, pattern
from loader.settings import Settings
from loader.warehouse import Warehouse

# Bytes of a local file per INSERT into a server.
UPLOAD_BLOCK = 32 * 1024 * 1024

# What every load states, so that no profile of the server decides it: the paths of the `where`
# are exact and nothing of them is read as a hive partition; rows are written by this statement,
# at once, in parts of 32 MiB of lines (blocks of 64 MiB took a tenth more CPU, of 256 MiB a third,
# and more memory); nothing is fetched ahead, since one request brings an object (it cost a tenth
# of the time of a thousand tiny ones); 64 MiB of the disk stay free, because on a full one even
# a definition is lost (macros/check_engine.sql); a dead endpoint is given up after ten seconds.
LOAD_SETTINGS = """
    use_hive_partitioning = 0,
    enable_parallel_replicas = 0,
    async_insert = 0,
    min_insert_block_size_rows = 1048576,
    min_insert_block_size_bytes = 33554432,
    remote_filesystem_read_prefetch = 0,
    min_free_disk_bytes_to_perform_insert = 67108864,
    s3_retry_attempts = 8
"""

# The number of a line in its object. ClickHouse counts the lines of text itself since 26.3 (26.1
# says NULL, 25.8 says -1). Before, they are numbered in the order they were read in: each object
# is read by one thread, and nothing may mix the threads' blocks afterwards.
COUNTED = "_row_number + 1"
NUMBERED = "row_number() over (partition by _path order by rowNumberInAllBlocks())"
COUNTED_SINCE = (26, 3)

# Since then the exact paths of a `where` are asked for; before, all is listed that the glob covers
# (there is no setting s3_path_filter_limit).
PATHS_SINCE = (25, 12)

_READ_SETTINGS = """
    use_hive_partitioning = 0,
    enable_parallel_replicas = 0,
    use_cache_for_count_from_files = 0,
    s3_skip_empty_files = 0,
    s3_retry_attempts = 8
"""

# Where every load writes; its select gives these columns in this order.
INTO_STATEMENTS = """
insert into {raw:Identifier}.statements
    (load_id, bucket, key, etag, object_size, last_modified, source_line, line)
""".strip()

# Objects that one INSERT asks S3 for at a time. Measured at 20 ms to S3 on 2 cores: 563 objects a
# second with 16 threads, 87 with as many as cores; without latency no difference. Of large objects
# fewer, because each thread holds blocks of up to 65,000 lines: as many as have this many bytes
# together (five million lines in objects of 32 MB took 2.2 GB with 16 threads, 1.8 with 8).
THREADS, FEWEST_THREADS = 16, 4
READ_AT_A_TIME = 256 * 1024 * 1024

INSERT_OBJECTS = f"""
{INTO_STATEMENTS}
select
    {{load_id:UUID}},
    {{bucket:String}},
    substring(_path, length({{bucket:String}}) + 2),
    replaceAll(_etag, '"', ''),
    _size,
    _time,
    $source_line,
    line
from $s3 filename = {{pattern:String}}, format = 'LineAsString', structure = 'line String')
where _path in {{paths:Array(String)}}
settings {LOAD_SETTINGS}, max_threads = $threads, parallelize_output_from_storages = $mixed
"""

# HEAD requests only (before 26.3 a GET each, too). A key between braces that is not there would
# be an error.
STAT_OBJECTS = f"""
select
    _path as path,
    replaceAll(_etag, '"', '') as etag,
    _size as size,
    toUnixTimestamp(_time) as last_modified
from $s3 filename = {{pattern:String}}, format = 'One')
where _path in {{paths:Array(String)}}
settings {_READ_SETTINGS}, s3_ignore_file_doesnt_exist = $named
"""

COUNT_LINES = f"""
select count() as lines
from $s3 filename = {{pattern:String}}, format = 'LineAsString', structure = 'line String')
where _path in {{paths:Array(String)}}
settings {_READ_SETTINGS}
"""

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
from file({{pattern:String}}, 'LineAsString', 'line String')
where _path in {{paths:Array(String)}}
settings {LOAD_SETTINGS}
"""

# It must not end with a line break: that would be the first line of the data.
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


class Source(Protocol):
    """A kind of place that objects are loaded from."""

    def check(self, item: S3Object) -> None:
        """Refuse an object that must not or cannot be read, with a PermanentError."""

    def stat(self, batch: list[S3Object]) -> dict[str, S3Object]:
        """Version, size and time of those objects of a batch that exist, by path."""

    def insert(self, batch: list[S3Object], load_id: UUID) -> None:
        """Insert all lines of a batch into raw, in one statement."""

    def count_lines(self, item: S3Object) -> int:
        """Lines of an object, read anew."""


class S3Source:
    """Objects that ClickHouse reads itself with `s3()` and a named collection."""

    def __init__(self, warehouse: Warehouse, settings: Settings):
        self._warehouse = warehouse
        self._allowed = settings.allowed_buckets
        self._s3 = (
            f"s3Cluster(`{settings.cluster}`, {{collection:Identifier}},"
            if settings.target == "cluster"
            else "s3({collection:Identifier},"
        )
        self._counts = warehouse.version >= COUNTED_SINCE
        self._lists = warehouse.version < PATHS_SINCE

    def check(self, item: S3Object) -> None:
        """See `Source.check`."""
        check_readable(item, self._allowed)

    def stat(self, batch: list[S3Object]) -> dict[str, S3Object]:
        """See `Source.stat`."""
        rows = self._warehouse.query(
            self._sql(STAT_OBJECTS, named=int(self._lists)), **self._addresses(batch)
        )
        known = {item.path: item for item in batch}
        return {
            row["path"]: S3Object(
                bucket=known[row["path"]].bucket,
                key=known[row["path"]].key,
                etag=row["etag"],
                size=row["size"],
                last_modified=datetime.fromtimestamp(row["last_modified"], UTC),
                event_time=known[row["path"]].event_time,
            )
            for row in rows
        }

    def insert(self, batch: list[S3Object], load_id: UUID) -> None:
        """See `Source.insert`."""
        self._warehouse.command(
            self._sql(
                INSERT_OBJECTS,
                source_line=COUNTED if self._counts else NUMBERED,
                mixed=int(self._counts),
                threads=threads(batch),
            ),
            load_id=str(load_id),
            bucket=batch[0].bucket,
            **self._addresses(batch),
        )

    def count_lines(self, item: S3Object) -> int:
        """See `Source.count_lines`."""
        return self._warehouse.query(self._sql(COUNT_LINES), **self._addresses([item]))[0]["lines"]

    def _sql(self, text: str, **more: str | int) -> str:
        return Template(text).substitute(s3=self._s3, **more)

    def _addresses(self, batch: list[S3Object]) -> dict[str, object]:
        paths = [item.path for item in batch]
        return {"pattern": pattern(batch, named=self._lists), "paths": paths}


def threads(batch: list[S3Object]) -> int:
    """How many objects of a batch one INSERT reads at a time, by their mean size."""
    mean = sum(item.size for item in batch) / len(batch)
    return max(FEWEST_THREADS, min(THREADS, int(READ_AT_A_TIME / max(mean, 1))))


class FileSource:
    """Local files that an embedded ClickHouse reads itself with `file()`."""

    def __init__(self, warehouse: Warehouse):
        self._warehouse = warehouse

    def check(self, item: S3Object) -> None:
        """See `Source.check`."""
        if not Path(item.key).is_file():
            raise PermanentError(f"{item.key}: no such file")

    def stat(self, batch: list[S3Object]) -> dict[str, S3Object]:
        """See `Source.stat`."""
        return {item.path: _stat_file(Path(item.key)) for item in batch if Path(item.key).is_file()}

    def insert(self, batch: list[S3Object], load_id: UUID) -> None:
        """See `Source.insert`."""
        self._warehouse.command(
            INSERT_FILES,
            load_id=str(load_id),
            pattern=_folder_pattern(batch),
            paths=[item.key for item in batch],
            etags=[item.etag for item in batch],
        )

    def count_lines(self, item: S3Object) -> int:
        """See `Source.count_lines`."""
        with _open(Path(item.key)) as lines:
            return sum(1 for _ in lines)


class UploadSource(FileSource):
    """Local files whose lines are sent to a server, which cannot see them. They pass unread:
    blocks of bytes, cut at line ends."""

    def insert(self, batch: list[S3Object], load_id: UUID) -> None:
        """See `Source.insert`; here one statement per block of a file."""
        for item in batch:
            lines_before = 0
            for block in _blocks(Path(item.key)):
                self._warehouse.command(
                    UPLOAD_LINES,
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
    """The JSONL files that a path names: itself, or all below a folder.

    Raises:
        SettingsError: there is none.
    """
    target = target.expanduser().resolve()
    if target.is_file():
        return [S3Object("", str(target))]
    found = sorted(path for suffix in SUFFIXES for path in target.rglob(f"*{suffix}"))
    if not found:
        accepted = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise SettingsError(f"{target}: no such file, or a folder without {accepted}")
    return [S3Object("", str(path)) for path in found]


def _folder_pattern(batch: list[S3Object]) -> str:
    """The glob that covers files of one folder; what a path has of `{ } * ?` becomes `?`."""
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


def _open(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks that end at a line end."""
    with _open(path) as file:
        while block := file.read(UPLOAD_BLOCK):
            yield block + file.readline()


def source_for(warehouse: Warehouse, settings: Settings, items: Iterable[S3Object]) -> Source:
    """The source of objects of one kind: of a bucket, or of local files."""
    if any(item.bucket for item in items):
        return S3Source(warehouse, settings)
    if settings.target == "embedded":
        return FileSource(warehouse)
    return UploadSource(warehouse)

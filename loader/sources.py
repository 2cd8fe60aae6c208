"""Where the lines of a load come from; the usual source: S3 objects that ClickHouse reads."""

from dataclasses import replace
from datetime import UTC, datetime
from string import Template
from typing import Protocol
from urllib.parse import quote
from uuid import UUID

from loader.clickhouse.warehouse import Warehouse
from loader.objects import S3Object, check_readable, pattern
from loader.settings import Settings

# Every load sends these settings, so that a profile on the server cannot change them:
# - the paths of the `where` are exact; no part of them is read as a hive partition;
# - the statement writes the rows itself, in parts of 32 MiB of lines (blocks of 64 MiB took 10 %
#   more CPU, blocks of 256 MiB 33 %, and more memory);
# - nothing is prefetched, because one request returns a whole object (prefetching took 10 % of the
#   time of a thousand tiny objects);
# - 64 MiB of the disk stay free: on a full disk ClickHouse can lose a table's definition
#   (macros/check_engine.sql);
# - an endpoint that does not respond fails after ten seconds;
# - an object that needs too much memory fails alone (docs/security.md).
LOAD_SETTINGS = """
    max_memory_usage = $memory,
    use_hive_partitioning = 0,
    enable_parallel_replicas = 0,
    async_insert = 0,
    min_insert_block_size_rows = 1048576,
    min_insert_block_size_bytes = 33554432,
    remote_filesystem_read_prefetch = 0,
    min_free_disk_bytes_to_perform_insert = 67108864,
    s3_retry_attempts = 8
"""

# ClickHouse's word for: decompress by the ending of the name.
AS_NAMED = "auto"

# The number of a line in its object. ClickHouse 26.3 and newer count the lines of text files (26.1
# returns NULL, 25.8 returns -1). On older servers, lines are numbered in the order in which they
# are read: one thread reads each object, and `$mixed` keeps the blocks in that order.
COUNTED = "_row_number + 1"
NUMBERED = "row_number() over (partition by _path order by rowNumberInAllBlocks())"
COUNTED_SINCE = (26, 3)

# From this version on ClickHouse requests only the paths of a `where`; older ones list everything
# that the glob covers (they have no setting s3_path_filter_limit).
PATHS_SINCE = (25, 12)

_READ_SETTINGS = """
    max_memory_usage = $memory,
    use_hive_partitioning = 0,
    enable_parallel_replicas = 0,
    use_cache_for_count_from_files = 0,
    s3_skip_empty_files = 0,
    s3_retry_attempts = 8
"""

# Every load inserts these columns; its select returns them in this order.
INTO_STATEMENTS = """
insert into {raw:Identifier}.statements
    (load_id, bucket, key, etag, object_size, last_modified, source_line, line)
""".strip()

# Number of objects that one INSERT requests from S3 at a time, and their largest total size in
# bytes. Measured with 20 ms latency to S3 on 2 cores: 563 objects a second with 16 threads, 87 with
# one thread per core; without latency no difference. For large objects fewer threads are used,
# because each thread holds blocks of up to 65,000 lines (five million lines in objects of 32 MB
# took 2.2 GB of memory with 16 threads, 1.8 GB with 8).
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
from $lines
where _path in {{paths:Array(String)}}
settings {LOAD_SETTINGS}, max_threads = $threads, parallelize_output_from_storages = $mixed
"""

# An older version of an object. ClickHouse requests size and ETag of the current version and reads
# no more bytes than that has, so a longer version would come cut off.
INSERT_VERSION = f"""
{INTO_STATEMENTS}
select
    {{load_id:UUID}},
    {{bucket:String}},
    {{key:String}},
    {{etag:String}},
    {{size:UInt64}},
    parseDateTime64BestEffort({{modified:String}}, 3, 'UTC'),
    $source_line,
    line
from $lines
where _path = {{path:String}} and _size >= {{size:UInt64}}
settings {LOAD_SETTINGS}, max_threads = $threads, parallelize_output_from_storages = $mixed
"""

# Sends HEAD requests only (before 26.3 also a GET each). A missing key between braces would be an
# error, so it is ignored there.
STAT_OBJECTS = f"""
select
    _path as path,
    replaceAll(_etag, '"', '') as etag,
    _size as size,
    toUnixTimestamp(_time) as last_modified
from $names
where _path in {{paths:Array(String)}}
settings {_READ_SETTINGS}, s3_ignore_file_doesnt_exist = $named
"""

COUNT_LINES = f"""
select count() as lines
from $lines
where _path in {{paths:Array(String)}}
settings {_READ_SETTINGS}
"""


class Source(Protocol):
    """Reads objects and inserts their lines. All methods may raise LoaderErrors of ClickHouse."""

    def check(self, item: S3Object) -> None:
        """Raise a PermanentError if an object may not or cannot be read."""

    def stat(self, batch: list[S3Object]) -> dict[str, S3Object]:
        """Request version, size and time of objects.

        Args:
            batch: objects of one batch.

        Returns:
            Those objects that exist, by path.
        """

    def insert(self, batch: list[S3Object], load_id: UUID, compression: str = AS_NAMED) -> None:
        """Insert all lines of a batch into the raw table, in one statement.

        Args:
            batch: objects of one batch.
            load_id: the attempt that the lines belong to.
            compression: how they are compressed: as their names say, or gzip.
        """

    def count_lines(self, item: S3Object, compression: str = AS_NAMED) -> int:
        """Read an object again and count its lines."""


class S3Source:
    """Objects that ClickHouse reads with `s3()`, and with a named collection or a role.

    Args:
        warehouse: the ClickHouse to load into.
        settings: the allowed buckets, and the cluster if there is one.
    """

    def __init__(self, warehouse: Warehouse, settings: Settings):
        self._warehouse = warehouse
        self._settings = settings
        self._allowed = settings.allowed_buckets
        self._counts = warehouse.version >= COUNTED_SINCE
        self._lists = warehouse.version < PATHS_SINCE

    def check(self, item: S3Object) -> None:
        """See `Source.check`."""
        check_readable(item, self._allowed, self._settings.key_prefix)

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
                version_id=known[row["path"]].version_id,
            )
            for row in rows
        }

    def insert(self, batch: list[S3Object], load_id: UUID, compression: str = AS_NAMED) -> None:
        """See `Source.insert`."""
        self._warehouse.command(
            self._insert(INSERT_OBJECTS, batch),
            load_id=str(load_id),
            bucket=batch[0].bucket,
            compression=compression,
            **self._addresses(batch),
        )

    def count_lines(self, item: S3Object, compression: str = AS_NAMED) -> int:
        """See `Source.count_lines`."""
        [row] = self._warehouse.query(
            self._sql(COUNT_LINES), compression=compression, **self._addresses([item])
        )
        return row["lines"]

    def insert_version(self, item: S3Object, load_id: UUID, compression: str = AS_NAMED) -> None:
        """Insert the lines of a version that was overwritten, unless the current one is shorter.

        Args:
            item: the version, with its id, ETag and size.
            load_id: the attempt that the lines belong to.
            compression: see `Source.insert`.
        """
        modified = item.event_time or datetime.now(UTC)
        self._warehouse.command(
            self._insert(INSERT_VERSION, [item]),
            load_id=str(load_id),
            bucket=item.bucket,
            key=item.key,
            etag=item.etag,
            size=item.size,
            modified=modified.astimezone(UTC).isoformat(timespec="milliseconds"),
            compression=compression,
            path=item.path,
            pattern=f"{quote(item.path)}?versionId={quote(item.version_id, safe='')}",
        )

    def _insert(self, text: str, batch: list[S3Object]) -> str:
        return self._sql(
            text,
            source_line=COUNTED if self._counts else NUMBERED,
            mixed=int(self._counts),
            threads=threads(batch),
        )

    def _sql(self, text: str, **more: str | int) -> str:
        tables = {"lines": s3_lines(self._settings), "names": s3_names(self._settings)}
        return within_memory(text, self._settings, **tables, **more)

    def _addresses(self, batch: list[S3Object]) -> dict[str, object]:
        paths = [item.path for item in batch]
        return {"pattern": pattern(batch, named=self._lists), "paths": paths}


def s3_lines(settings: Settings) -> str:
    """The table function that reads the lines of the objects of a pattern."""
    if settings.s3_role_arn:
        return _with_role(settings, "'LineAsString', 'line String', {compression:String}")
    return _with_collection(
        settings,
        "format = 'LineAsString', structure = 'line String', "
        "compression_method = {compression:String}",
    )


def s3_names(settings: Settings, on_cluster: bool = True) -> str:
    """The table function that has one row for each object of a pattern, without reading it.

    Args:
        settings: how ClickHouse reads S3.
        on_cluster: whether the nodes of a cluster share the work.
    """
    settings = settings if on_cluster else replace(settings, target="server")
    if settings.s3_role_arn:
        return _with_role(settings, "'One'")
    return _with_collection(settings, "format = 'One'")


def _with_collection(settings: Settings, how: str) -> str:
    return f"{_s3(settings)}{{collection:Identifier}}, filename = {{pattern:String}}, {how})"


def _with_role(settings: Settings, how: str) -> str:
    """ClickHouse masks the external id in its logs; it travels as a parameter."""
    external_id = ", external_id = {external_id:String}" if settings.s3_external_id else ""
    return (
        f"{_s3(settings)}concat({{s3_url:String}}, {{pattern:String}}), {how}, "
        f"extra_credentials(role_arn = {{role_arn:String}}{external_id}))"
    )


def _s3(settings: Settings) -> str:
    return f"s3Cluster(`{settings.cluster}`, " if settings.target == "cluster" else "s3("


def within_memory(sql: str, settings: Settings, **more: str | int) -> str:
    """A statement of a load, with the memory that it may use.

    Args:
        sql: the statement; `$memory` is the limit.
        settings: the limit.
        more: values of the other placeholders, none of which comes from an event or an object.
    """
    return Template(sql).substitute(memory=settings.load_memory, **more)


def threads(batch: list[S3Object]) -> int:
    """Number of objects that one INSERT reads at a time, by the batch's mean object size."""
    mean = sum(item.size for item in batch) / len(batch)
    return max(FEWEST_THREADS, min(THREADS, int(READ_AT_A_TIME / max(mean, 1))))

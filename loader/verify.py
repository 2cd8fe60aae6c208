"""Compare the lines that an attempt inserted with the objects that it read."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from loader.errors import LoaderError, PermanentError, RetryableError
from loader.objects import S3Object
from loader.outcomes import Outcome
from loader.sources import AS_NAMED

# How compressed content begins, as hexadecimal digits. Of these, only gzip is read: ClickHouse
# accepts zstd that was cut off.
COMPRESSED = {"1F8B08": "gzip", "28B52FFD": "zstd", "425A68": "bzip2", "FD377A58": "xz"}

# Only the first line of each object is read; of the others, the stored length.
COUNT_LOADED = """
select *
from (
    select
        key,
        any(etag) as version,
        any(object_size) as size,
        toUnixTimestamp64Milli(any(last_modified)) / 1000 as modified,
        count() as lines,
        uniqExact(etag) as versions,
        max(source_line) as last_line,
        uniqExact(source_line) as places,
        lines + sum(length(line)) as bytes
    from {raw:Identifier}.statements
    where load_id = {load_id:UUID}
    group by key
) as counted
left join (
    select key, any(hex(substring(line, 1, 4))) as beginning
    from {raw:Identifier}.statements
    where load_id = {load_id:UUID} and source_line = 1
    group by key
) as firsts using (key)
settings max_memory_usage = $memory, join_use_nulls = 0
"""


class CompressedError(LoaderError):
    """Objects of a batch are gzip files, although their names do not say so."""

    def __init__(self, items: list[S3Object]):
        super().__init__(f"{len(items)} objects are gzip files")
        self.items = items


def check_compression(
    items: list[S3Object], loaded: dict[str, dict[str, Any]], compression: str
) -> None:
    """Raise an error if the lines that were read are compressed.

    Args:
        items: the objects that were read.
        loaded: the row of COUNT_LOADED for each key.
        compression: how they were decompressed.

    Raises:
        CompressedError: some objects must be read again as gzip files.
        PermanentError: an object is compressed in another way, or twice.
    """
    again = []
    for item in items:
        beginning = loaded[item.key]["beginning"]
        found = [name for mark, name in COMPRESSED.items() if beginning.startswith(mark)]
        if found == ["gzip"] and compression == AS_NAMED and not item.key.endswith(".gz"):
            again.append(item)
        elif found:
            raise PermanentError(
                f"{item.uri}: its lines are compressed ({found[0]}), which its name does not say; "
                "decompress it, or compress it once, with gzip, and replace it"
            )
    if again:
        raise CompressedError(again)


def committed(item: S3Object, row: dict[str, Any], compression: str) -> Outcome:
    """The outcome of an object, if each of its lines was inserted exactly once.

    Args:
        item: the object.
        row: its row of COUNT_LOADED.
        compression: how it was decompressed.

    Raises:
        RetryableError: the inserted lines are not those of the object, which may have changed while
            it was read.
    """
    if row["versions"] != 1 or not row["lines"] == row["last_line"] == row["places"]:
        raise RetryableError(
            f"{item.uri}: {row['lines']} lines of {row['versions']} versions were read, the last "
            f"is line {row['last_line']}; the object changed while it was read"
        )
    # ClickHouse accepts a truncated response whose headers match, so compare byte counts. The last
    # line may have no line break. A truncated gzip file is an error in itself.
    is_plain = item.key.endswith(".jsonl") and compression == AS_NAMED
    if is_plain and row["bytes"] - row["size"] not in (0, 1):
        raise RetryableError(
            f"{item.uri}: {row['bytes']} bytes of lines were read, the object has {row['size']}; "
            "it was not read completely"
        )
    version = replace(
        item,
        etag=row["version"],
        size=row["size"],
        last_modified=datetime.fromtimestamp(row["modified"], UTC),
    )
    return Outcome(version, "committed", rows=row["lines"])

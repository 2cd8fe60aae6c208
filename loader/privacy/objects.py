"""Rewrite the S3 objects that hold erased learners, and delete their old versions.

What was overwritten in raw says which lines of which version go, so a run that was killed, or one
without --s3, is completed by the next one.

Objects are streamed: in memory are a piece of one (1 MiB) and the new texts of a page of lines
(32 MiB, and one line); on the disk is the new object, as it is stored. ClickHouse reads a page
within the memory of a load.
"""

import gzip
import hashlib
import io
import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from loader.aws.client import aws_errors
from loader.clickhouse.warehouse import Warehouse
from loader.errors import NO_WHOLE_GZIP, LoaderError, PermanentError, describe
from loader.load import load
from loader.objects import S3Object
from loader.privacy import sql
from loader.settings import Settings
from loader.sources import within_memory

# Bytes of an object that are read at a time.
_PIECE = 1024 * 1024

# What comes after the last line to replace: no line has this number.
_NO_LINE = (0, b"")

# A page of overwritten lines: lines of the object that it covers, and bytes of new texts.
_PAGE_LINES, _PAGE_BYTES = 100_000, 32 * 1024 * 1024

# Names in the metadata of a rewritten object the version that it was made of.
MADE_FROM = "xapi-elt-erased-from"

# What a new version keeps of the old one.
_KEPT = ("ContentType", "ContentEncoding", "CacheControl", "ServerSideEncryption", "SSEKMSKeyId")


# Objects of which raw lines were overwritten, by this run or ever, and the versions that were read.
ERASED_OBJECTS = """
select bucket, toString(key) as key, groupUniqArray(toString(etag)) as versions
from {raw:Identifier}.statements
where bucket != ''
    and position(line, {stub:String}) > 0
    and ({everything:Bool} or (bucket, key) in (
        select bucket, key from {raw:Identifier}.erasure_lines where line != ''
    ))
group by bucket, key
order by bucket, key
"""
# Which lines of a version were overwritten, with their texts: of a range of lines the first ones,
# as many as fit into a page. `found` is the number of all of them.
ERASED_LINES = """
select source_line, text, found
from (
    select
        source_line,
        any(line) as text,
        count() over () as found,
        sum(length(text)) over (
            order by source_line rows between unbounded preceding and 1 preceding
        ) as bytes_before
    from {raw:Identifier}.statements
    where bucket = {bucket:String} and key = {key:String} and etag = {etag:String}
        and source_line between {first:UInt64} and {last:UInt64}
        and position(line, {stub:String}) > 0
    group by source_line
)
where bytes_before < {most:UInt64}
order by source_line
settings max_memory_usage = $memory
"""
LINES_OF_VERSION = """
select max(source_line) as lines
from {raw:Identifier}.statements
where bucket = {bucket:String} and key = {key:String} and etag = {etag:String}
"""


@dataclass
class Rewritten:
    """What happened to the objects.

    Attributes:
        objects: rewritten and loaded again.
        deleted_versions: old versions that were deleted.
        left: what could not be done: address and reason.
    """

    objects: int = 0
    deleted_versions: int = 0
    left: list[dict[str, str]] = field(default_factory=list)


def objects_to_rewrite(warehouse: Warehouse, everything: bool = False) -> list[dict[str, Any]]:
    """The objects of which lines were overwritten in raw, but perhaps not in S3.

    Args:
        warehouse: has the raw lines.
        everything: by any erasure, not only by the one that is not done.
    """
    stub = warehouse.query(sql.STUB)[0]["stub"]
    rows = warehouse.query(ERASED_OBJECTS, stub=stub, everything=int(everything))
    return rows if stub else []


def rewrite(
    warehouse: Warehouse, settings: Settings, client: Any, everything: bool = False
) -> Rewritten:
    """Write each object again without the learners, load it, and delete its old versions. One that
    is without them already stays as it is.

    Args:
        warehouse: has the raw lines.
        settings: which buckets may be read.
        client: boto3's client of S3.
        everything: those of all erasures, not only of the one that is not done.
    """
    done = Rewritten()
    stub = warehouse.query(sql.STUB)[0]["stub"]
    for row in objects_to_rewrite(warehouse, everything):
        item = S3Object(row["bucket"], row["key"])
        try:
            with aws_errors(item.uri):
                new = _rewrite_object(warehouse, settings, client, item, row["versions"], stub)
            if new:
                _load(warehouse, settings, new)
                done.objects += 1
            _delete_versions(client, item, row["versions"], new, done)
        except (LoaderError, MemoryError) as error:
            done.left.append({"object": item.uri, "reason": describe(error)})
    return done


def _rewrite_object(
    warehouse: Warehouse,
    settings: Settings,
    client: Any,
    item: S3Object,
    versions: list[str],
    stub: str,
) -> S3Object | None:
    """Write the object again. None if there is nothing to load: it is no longer there, or it has
    nothing of the learners.

    Raises:
        PermanentError: it is a version that was never loaded, or has other lines.
    """
    from botocore.exceptions import ClientError

    place = {"Bucket": item.bucket, "Key": item.key}
    try:
        found = client.get_object(**place)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    etag = found["ETag"].strip('"')
    known = {"bucket": item.bucket, "key": item.key, "etag": etag}
    with found["Body"] as _, tempfile.TemporaryFile() as new:
        if etag not in versions:
            if warehouse.query(LINES_OF_VERSION, **known)[0]["lines"]:
                return None  # it was loaded, and has no line of an erased learner
            if found["Metadata"].get(MADE_FROM) in versions:
                return S3Object(item.bucket, item.key, etag, found["ContentLength"])
            raise PermanentError(
                f"{item.uri}: its current version was never loaded: load it, then run xapi-elt "
                "erase --pending --s3"
            )
        count = warehouse.query(LINES_OF_VERSION, **known)[0]["lines"]
        changed = _erased_lines(warehouse, settings, count, stub=stub, **known)
        if not _write_without(found["Body"], new, changed, count, item):
            return None
        again = client.head_object(**place)["ETag"].strip('"')
        if again != etag:
            raise PermanentError(
                f"{item.uri}: it was changed meanwhile; run the same command again"
            )
        kept = {name: found[name] for name in _KEPT if found.get(name)}
        size = new.tell()
        new.seek(0)
        written = client.put_object(
            **place, Body=new, Metadata={**found["Metadata"], MADE_FROM: etag}, **kept
        )
    return S3Object(item.bucket, item.key, written["ETag"].strip('"'), size)


def _erased_lines(
    warehouse: Warehouse, settings: Settings, count: int, **of_version: str
) -> Iterator[tuple[int, bytes]]:
    """Numbers and texts of the overwritten lines of a version, in their order, page by page."""
    statement = within_memory(ERASED_LINES, settings)
    first = 1
    while first <= count:
        last = first + _PAGE_LINES - 1
        rows = warehouse.query(statement, first=first, last=last, most=_PAGE_BYTES, **of_version)
        for row in rows:
            yield row["source_line"], row["text"].encode()
        is_whole = not rows or len(rows) == rows[0]["found"]
        first = last + 1 if is_whole else rows[-1]["source_line"] + 1


class _Begun(io.RawIOBase):
    """A stream whose first two bytes, which say whether it is gzip, are known and still unread."""

    def __init__(self, stream: Any):
        self._stream = stream
        self.start = self._left = stream.read(2)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `RawIOBase.readinto`."""
        if not self._left:
            return self._stream.readinto(buffer)
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def _write_without(
    body: Any, new: BinaryIO, changed: Iterator[tuple[int, bytes]], count: int, item: S3Object
) -> bool:
    """Write an object with some of its lines replaced, compressed as before.

    Args:
        body: the object, as S3 sends it.
        new: a file for the new one.
        changed: the lines to replace: number and text, in their order.
        count: the lines that were loaded.
        item: the object, for errors.

    Returns:
        Whether the new one is another.

    Raises:
        PermanentError: it has another number of lines than were loaded, or is no whole gzip file.
    """
    begun = _Begun(body)
    stored = io.BufferedReader(begun, _PIECE)
    try:
        if begun.start != b"\x1f\x8b":
            lines, is_changed = _copy(stored, new, changed)
        else:
            with (
                gzip.GzipFile(fileobj=stored) as old,
                gzip.GzipFile("", "wb", fileobj=new, mtime=0) as packed,
            ):
                lines, is_changed = _copy(old, packed, changed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PermanentError(f"{item.uri}: {error}; {NO_WHOLE_GZIP}") from None
    if lines != count:
        raise PermanentError(f"{item.uri}: it has other lines than were loaded; it was not changed")
    return is_changed


def _copy(old: Any, new: Any, changed: Iterator[tuple[int, bytes]]) -> tuple[int, bool]:
    """Copy lines and replace some. Returns their number, and whether anything is another."""
    before, after = hashlib.sha256(), hashlib.sha256()

    def write(text: bytes) -> None:
        after.update(text)
        new.write(text)

    def replace() -> None:
        write(text.removesuffix(b"\r") + re.search(rb"\r?\n?\Z", end)[0])

    # The number of the line at hand, the end of one that is replaced, and what was read last.
    number, end, last = 1, b"", b"\n"
    place, text = next(changed, _NO_LINE)
    while block := old.read(_PIECE):
        before.update(block)
        at, last = 0, block[-1:]
        while at < len(block):
            begin = at
            if number == place:
                at = block.find(b"\n", at) + 1 or len(block)
                end = (end + block[begin:at])[-2:]
                if end.endswith(b"\n"):
                    replace()
                    number, end = number + 1, b""
                    place, text = next(changed, _NO_LINE)
            else:
                while number != place and (found := block.find(b"\n", at)) >= 0:
                    number, at = number + 1, found + 1
                at = at if number == place else len(block)
                write(block[begin:at])
    if end:
        replace()
    return number - (last == b"\n"), before.digest() != after.digest()


def _load(warehouse: Warehouse, settings: Settings, item: S3Object) -> None:
    """Load the new version, which replaces the one it was made of. Forced, because S3's
    notification may have had it loaded already, beside the old one.

    Raises:
        PermanentError: it was not loaded.
    """
    for outcomes in load(warehouse, settings, [item], policy="erase", force=True):
        for outcome in outcomes:
            if not outcome.is_committed:
                raise PermanentError(f"{item.uri} was rewritten, but not loaded: {outcome.error}")


def _delete_versions(
    client: Any, item: S3Object, versions: list[str], new: S3Object | None, done: Rewritten
) -> None:
    """Delete the old versions that hold the learners. Others are listed, because what they hold is
    not known."""
    from botocore.exceptions import ClientError

    pages = client.get_paginator("list_object_versions").paginate(
        Bucket=item.bucket, Prefix=item.key
    )
    try:
        found = [
            one
            for page in pages
            for one in page.get("Versions", [])
            if one["Key"] == item.key and not one["IsLatest"]
        ]
    except ClientError as error:
        done.left.append({"object": item.uri, "reason": f"its versions: {error}"})
        return
    for one in found:
        name = f"{item.uri} version {one['VersionId']}"
        if one["ETag"].strip('"') not in versions:
            is_new = new is not None and one["ETag"].strip('"') == new.etag
            if not is_new:
                done.left.append({"object": name, "reason": "it was never loaded; look into it"})
            continue
        try:
            client.delete_object(Bucket=item.bucket, Key=item.key, VersionId=one["VersionId"])
            done.deleted_versions += 1
        except ClientError as error:
            done.left.append({"object": name, "reason": str(error)})

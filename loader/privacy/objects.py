"""Rewrite the S3 objects that hold erased learners, and delete their old versions.

What was overwritten in raw says which lines of which version go, so a run that was killed, or one
without --s3, is completed by the next one.
"""

import gzip
from dataclasses import dataclass, field
from typing import Any

from loader.aws.client import aws_errors
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError, PermanentError
from loader.load import load
from loader.objects import S3Object
from loader.privacy import sql
from loader.settings import Settings

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
# The lines of a version that were overwritten, and how many it has.
ERASED_LINES = """
select source_line, any(line) as text
from {raw:Identifier}.statements
where bucket = {bucket:String} and key = {key:String} and etag = {etag:String}
    and position(line, {stub:String}) > 0
group by source_line
order by source_line
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
                new = _rewrite_object(warehouse, client, item, row["versions"], stub)
            if new:
                _load(warehouse, settings, new)
                done.objects += 1
            _delete_versions(client, item, row["versions"], new, done)
        except LoaderError as error:
            done.left.append({"object": item.uri, "reason": str(error)})
    return done


def _rewrite_object(
    warehouse: Warehouse, client: Any, item: S3Object, versions: list[str], stub: str
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
    etag, body = found["ETag"].strip('"'), found["Body"].read()
    known = {"bucket": item.bucket, "key": item.key, "etag": etag}
    if etag not in versions:
        if warehouse.query(LINES_OF_VERSION, **known)[0]["lines"]:
            return None  # it was loaded, and has no line of an erased learner
        if found["Metadata"].get(MADE_FROM) in versions:
            return S3Object(item.bucket, item.key, etag, len(body))
        raise PermanentError(
            f"{item.uri}: its current version was never loaded: load it, then run xapi-elt erase "
            "--pending --s3"
        )
    changed = {
        row["source_line"]: row["text"].encode()
        for row in warehouse.query(ERASED_LINES, stub=stub, **known)
    }
    new = _without(body, changed, warehouse.query(LINES_OF_VERSION, **known)[0]["lines"], item)
    if new is None:
        return None
    again = client.head_object(**place)["ETag"].strip('"')
    if again != etag:
        raise PermanentError(f"{item.uri}: it was changed meanwhile; run the same command again")
    kept = {name: found[name] for name in _KEPT if found.get(name)}
    written = client.put_object(
        **place, Body=new, Metadata={**found["Metadata"], MADE_FROM: etag}, **kept
    )
    return S3Object(item.bucket, item.key, written["ETag"].strip('"'), len(new))


def _without(body: bytes, changed: dict[int, bytes], count: int, item: S3Object) -> bytes | None:
    """The object with some of its lines replaced, compressed as before. None if it is so already.

    Raises:
        PermanentError: it has another number of lines than were loaded.
    """
    is_gzip = body.startswith(b"\x1f\x8b")
    before = gzip.decompress(body) if is_gzip else body
    lines = before.split(b"\n")
    if len(lines) - (lines[-1] == b"") != count:
        raise PermanentError(f"{item.uri}: it has other lines than were loaded; it was not changed")
    for number, line in changed.items():
        ending = b"\r" if lines[number - 1].endswith(b"\r") else b""
        lines[number - 1] = line.removesuffix(b"\r") + ending
    text = b"\n".join(lines)
    if text == before:
        return None
    return gzip.compress(text, mtime=0) if is_gzip else text


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

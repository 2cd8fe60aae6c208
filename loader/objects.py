"""S3 objects: their names, whether they may be read, and how `s3()` addresses them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from loader.errors import PermanentError, SettingsError, quoted

# ClickHouse's `s3_path_filter_limit`: if a filter has more paths, ClickHouse lists the bucket.
MOST_PATHS = 1000

SUFFIXES = (".jsonl", ".jsonl.gz")

# An ending of a name, e.g. .json; what follows another point is part of the name itself.
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}$")

# Keys without characters that are special in a URL or a pattern; Torus writes only such keys.
_PLAIN = re.compile(r"[A-Za-z0-9._/=-]+")


@dataclass(frozen=True)
class S3Object:
    """One JSONL object.

    Attributes:
        bucket: '' for local files and bundles.
        key: the key in the bucket; the absolute path of a local file.
        etag: version, without quotes; '' if unknown.
        size: bytes as stored.
        event_time: when S3 sent the notification.
        version_id: S3's name of the version, if the notification has it: only with it can a
            version be read that was overwritten.
    """

    bucket: str
    key: str
    etag: str = ""
    size: int = 0
    last_modified: datetime | None = None
    event_time: datetime | None = None
    version_id: str = ""

    @property
    def path(self) -> str:
        """The object's path, as in ClickHouse's column `_path`."""
        return f"{self.bucket}/{self.key}"

    @property
    def uri(self) -> str:
        """The object's address in messages: s3://bucket/key, or the path of a local file."""
        return f"s3://{self.bucket}/{self.key}" if self.bucket else self.key

    @classmethod
    def from_uri(cls, uri: str) -> "S3Object":
        """Parse s3://bucket/key.

        Raises:
            SettingsError: the text has another form.
        """
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if uri.startswith("s3://") and bucket and (not key or key.endswith("/")):
            raise SettingsError(
                f"{uri!r} is a bucket or a prefix, not an object; accepted: s3://bucket/key. To "
                f"load all objects below it: xapi-elt backfill s3://{bucket}/{key}"
            )
        if not uri.startswith("s3://") or not bucket or not key:
            raise SettingsError(f"{uri!r} is not an object; accepted: s3://bucket/key")
        return cls(bucket, key)


def ending(key: str) -> str:
    """The ending of a key's name, e.g. '.json'; 'none' if it has none."""
    found = _ENDING.search(key.rpartition("/")[2])
    return found[0] if found else "none"


def check_bucket(bucket: str, allowed_buckets: Iterable[str]) -> None:
    """Refuse a bucket that may not be loaded.

    Args:
        bucket: its name.
        allowed_buckets: the buckets that may be loaded.

    Raises:
        SettingsError: it is not one of them.
    """
    allowed = tuple(allowed_buckets)
    if bucket not in allowed:
        raise SettingsError(
            f"bucket {quoted(bucket)} is not allowed; accepted: {', '.join(allowed) or 'none'} "
            "(add it to XAPI_ALLOWED_BUCKETS if it may be loaded)"
        )


def check_prefix(key: str, prefix: str) -> None:
    """Refuse a key, or a prefix of keys, that may not be loaded.

    Args:
        key: the key or prefix.
        prefix: what all keys that may be loaded begin with; '' allows all.

    Raises:
        SettingsError: it begins with something else.
    """
    if not key.startswith(prefix):
        raise SettingsError(
            f"{quoted(key)} is not allowed; accepted: keys that begin with {prefix!r} "
            "(XAPI_KEY_PREFIX)"
        )


def check_readable(item: S3Object, allowed_buckets: Iterable[str], prefix: str = "") -> None:
    """Refuse an object that may not or cannot be read.

    Args:
        item: the object.
        allowed_buckets: the buckets that may be loaded.
        prefix: what keys that may be loaded begin with; '' allows all.

    Raises:
        SettingsError: its bucket or its key is not allowed.
        PermanentError: `s3()` cannot address its key.
    """
    check_bucket(item.bucket, allowed_buckets)
    check_prefix(item.key, prefix)
    parts = item.key.split("/")
    if "\n" in item.key or "\r" in item.key or "\0" in item.key:
        reason = "a line break in the key"
    elif "" in parts[:-1]:
        reason = "an empty folder name ('//' or a leading '/') in the key"
    elif "." in parts or ".." in parts:
        reason = "a folder named '.' or '..' in the key"
    elif not parts[-1]:
        reason = "a key that ends in '/', which is a folder"
    else:
        return
    raise PermanentError(
        f"{item.uri!r} cannot be read by ClickHouse: {reason}; copy it to another key"
    )


def pattern(batch: list[S3Object], named: bool = False) -> str:
    """The glob that covers a batch: 'bucket/*/*', one star per folder and one for the name.

    `s3()` reads `{ } * ?` in a key as a pattern, even in a bound or URL-encoded value, so the glob
    does not contain the keys. The exact paths are in the `where`; ClickHouse then requests only
    those and does not list the bucket.

    Args:
        batch: objects of one bucket and one depth of folders.
        named: whether to write the keys between braces instead, for a ClickHouse that lists
            everything that a glob covers; ignored if a key has a special character.
    """
    if named and all(_PLAIN.fullmatch(item.key) for item in batch):
        keys = ",".join(item.key for item in batch)
        return f"{batch[0].bucket}/{{{keys}}}" if len(batch) > 1 else batch[0].path
    return "/".join([batch[0].bucket] + ["*"] * (batch[0].key.count("/") + 1))

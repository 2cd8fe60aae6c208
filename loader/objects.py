"""S3 objects: their names, which of them may and can be read, and how `s3()` addresses them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from loader.errors import PermanentError, SettingsError

# ClickHouse's `s3_path_filter_limit`: with more paths in the filter it would list the bucket.
MOST_PATHS = 1000

SUFFIXES = (".jsonl", ".jsonl.gz")

# Keys in which every character means itself in a URL and in a pattern, as in those of Torus.
_PLAIN = re.compile(r"[A-Za-z0-9._/=-]+")


@dataclass(frozen=True)
class S3Object:
    """One JSONL object.

    Attributes:
        etag: version, without quotes; '' if unknown.
        size: bytes as stored.
        event_time: when S3 sent the notification.
    """

    bucket: str
    key: str
    etag: str = ""
    size: int = 0
    last_modified: datetime | None = None
    event_time: datetime | None = None

    @property
    def path(self) -> str:
        """The object as ClickHouse's `_path` names it."""
        return f"{self.bucket}/{self.key}"

    @property
    def uri(self) -> str:
        """The object as people name it: s3://bucket/key, or the path of a local file."""
        return f"s3://{self.bucket}/{self.key}" if self.bucket else self.key

    @classmethod
    def from_uri(cls, uri: str) -> "S3Object":
        """The object that s3://bucket/key names.

        Raises:
            SettingsError: the text has another form.
        """
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket or not key:
            raise SettingsError(f"{uri!r} names no object; accepted: s3://bucket/key")
        return cls(bucket, key)


def check_bucket(bucket: str, allowed_buckets: Iterable[str]) -> None:
    """Refuse a bucket that may not be loaded.

    Raises:
        SettingsError: it is not on the list.
    """
    allowed = tuple(allowed_buckets)
    if bucket not in allowed:
        raise SettingsError(
            f"bucket {bucket!r} is not allowed; accepted: {', '.join(allowed) or 'none'} "
            "(add it to XAPI_ALLOWED_BUCKETS if it may be loaded)"
        )


def check_readable(item: S3Object, allowed_buckets: Iterable[str]) -> None:
    """Refuse an object that must not or cannot be read.

    Raises:
        SettingsError: its bucket is not allowed.
        PermanentError: `s3()` cannot address its key.
    """
    check_bucket(item.bucket, allowed_buckets)
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


def places(items: Iterable[S3Object]) -> Iterator[list[S3Object]]:
    """Group objects by what one INSERT can read: one bucket and one depth of folders, or one local
    folder.

    Args:
        items: objects; of several with one path the last is taken.
    """
    unique = {item.path: item for item in items}
    for _, group in groupby(sorted(unique.values(), key=_place), key=_place):
        yield list(group)


def _place(item: S3Object) -> tuple[str, str | int]:
    return (item.bucket, item.key.count("/") if item.bucket else item.key.rpartition("/")[0])


def pattern(batch: list[S3Object], named: bool = False) -> str:
    """The glob that covers a batch: 'bucket/*/*', one star per folder and one for the name.

    A glob is needed because `{ } * ?` in a key are read as patterns, bound or encoded alike. The
    exact paths are in the `where`; ClickHouse then requests those and lists nothing.

    Args:
        batch: objects of one bucket and one depth of folders.
        named: whether to list the keys between braces instead, for a ClickHouse that would list
            everything that a glob covers; not used where a key has a special character.
    """
    if named and all(_PLAIN.fullmatch(item.key) for item in batch):
        keys = ",".join(item.key for item in batch)
        return f"{batch[0].bucket}/{{{keys}}}" if len(batch) > 1 else batch[0].path
    return "/".join([batch[0].bucket] + ["*"] * (batch[0].key.count("/") + 1))

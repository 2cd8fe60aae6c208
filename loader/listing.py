"""Which objects a bucket holds: those S3 lists, or those an S3 Inventory names, as a stream."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import unquote_plus

from loader.errors import PermanentError, RetryableError, SettingsError
from loader.objects import SUFFIXES, S3Object
from loader.settings import Settings

_KEY_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T\d{2}-\d{2}-\d{2}[^/]*$")
_KEY_SECTION = re.compile(r"(?:^|/)section/(\d+)/")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ROOT = "section/"

# Other sections that an error names.
_SHOWN = 5


@dataclass(frozen=True)
class Selection:
    """The objects that are meant.

    Attributes:
        prefix: beginning of the keys, as S3 reads it: section/21 begins section/210/… as well.
        sections: course sections; none given means all.
        first_day: UTC day, inclusive; None for no limit.
        last_day: UTC day, inclusive; None for no limit.
    """

    bucket: str
    prefix: str = ""
    sections: tuple[int, ...] = ()
    first_day: date | None = None
    last_day: date | None = None

    @property
    def uri(self) -> str:
        """Bucket and prefix as people name them."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def root(self) -> str | None:
        """The folder that holds the sections, if the prefix tells: 'section/'."""
        if _ROOT.startswith(self.prefix):
            return _ROOT
        at = f"/{self.prefix}".rfind(f"/{_ROOT}")
        return self.prefix[: at + len(_ROOT)] if at >= 0 else None

    def prefixes(self) -> list[str]:
        """What to list: with sections, where the prefix tells the folder, only theirs."""
        if not self.sections or self.root is None:
            return [self.prefix]
        folders = [f"{self.root}{section}/" for section in self.sections]
        narrowed = [
            folder if folder.startswith(self.prefix) else self.prefix
            for folder in folders
            if folder.startswith(self.prefix) or self.prefix.startswith(folder)
        ]
        return list(dict.fromkeys(narrowed))

    def of_section(self, key: str) -> bool:
        """Whether the key is of one of the sections."""
        return not self.sections or section_of(key) in self.sections

    def of_days(self, key: str, last_modified: datetime | None) -> bool:
        """Whether the object is of the days."""
        if self.first_day is None and self.last_day is None:
            return True
        day = day_of(key, last_modified)
        if day is None:
            return False
        return (self.first_day or day) <= day <= (self.last_day or day)


def select(
    uri: str,
    section_ids: Iterable[int | str] = (),
    start_date: str | date | None = None,
    end_date: str | date | None = None,
) -> Selection:
    """Read what a person asks for.

    Args:
        uri: s3://bucket or s3://bucket/prefix.
        section_ids: course sections; none means all.
        start_date: first UTC day (YYYY-MM-DD), inclusive; None for no limit.
        end_date: last UTC day, inclusive; None for no limit.

    Raises:
        SettingsError: one of them is wrong.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise SettingsError(f"{uri!r} names no prefix; accepted: s3://bucket/prefix")
    section_ids = list(section_ids)
    for section in section_ids:
        if not re.fullmatch(r"[0-9]{1,19}", str(section)):
            raise SettingsError(f"section id {section!r}; accepted: a whole number")
    sections = tuple(dict.fromkeys(int(section) for section in section_ids))
    first, last = _day(start_date, "start date"), _day(end_date, "end date")
    if first and last and first > last:
        raise SettingsError(f"start date {first} is after end date {last}")
    return Selection(bucket, prefix, sections, first, last)


def _day(value: str | date | None, name: str) -> date | None:
    if value is None or isinstance(value, date):
        return value
    try:
        # fromisoformat reads 20250901 and 2025-W36-1, too.
        return date.fromisoformat(value if _DAY.fullmatch(value) else "")
    except ValueError:
        raise SettingsError(f"{name} {value!r}; accepted: a UTC day as YYYY-MM-DD") from None


def section_of(key: str) -> int | None:
    """The course section that a key names: section/2161/… is 2161."""
    found = _KEY_SECTION.search(key)
    return int(found[1]) if found else None


def day_of(key: str, last_modified: datetime | None) -> date | None:
    """The UTC day of an object: that of the time in its name, else of its last change."""
    found = _KEY_TIME.search(key)
    if found:
        try:
            return date.fromisoformat(found[1])
        except ValueError:
            pass  # 2025-13-45 is no day; then the time of the change it is
    return last_modified.astimezone(UTC).date() if last_modified else None


def s3_client(settings: Settings) -> Any:
    """A boto3 client for the endpoint of the settings; without credentials it asks for what is
    public, as ClickHouse does."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    style = {"addressing_style": "path"} if settings.s3_endpoint else {}
    session = boto3.Session()
    return session.client(
        "s3",
        endpoint_url=settings.s3_endpoint or None,
        region_name=settings.region,
        config=Config(
            signature_version=None if session.get_credentials() else UNSIGNED,
            retries={"mode": "standard", "max_attempts": 4},
            connect_timeout=10,
            read_timeout=60,
            s3=style,
        ),
    )


class Listing:
    """The objects of a selection, in the order of their keys. Iterate it once.

    Attributes:
        requests: LIST or GET requests made so far.
        seen: JSONL objects of the prefix and sections so far, of whatever day.
    """

    def __init__(self, client: Any, selection: Selection):
        self.selection = selection
        self.requests = 0
        self.seen = 0
        self._client = client
        self._sections: set[int | None] = set()

    def __iter__(self) -> Iterator[S3Object]:
        """Stream the objects; a page at a time is in memory.

        Raises:
            SettingsError: there is no such bucket; or, at the end, nothing at all to list.
            PermanentError: it may not be listed.
            RetryableError: S3 does not answer.
        """
        with self._errors():
            for item in self._objects():
                wanted = item.key.endswith(SUFFIXES) and item.key.startswith(self.selection.prefix)
                if not wanted or not self.selection.of_section(item.key):
                    continue
                self.seen += 1
                if self.selection.sections:
                    self._sections.add(section_of(item.key))
                if self.selection.of_days(item.key, item.last_modified):
                    yield item
            self._check()

    def _objects(self) -> Iterator[S3Object]:
        pages = self._client.get_paginator("list_objects_v2")
        # In the order of the keys: '10/' comes before '9/'.
        for prefix in sorted(self.selection.prefixes()):
            for page in pages.paginate(Bucket=self.selection.bucket, Prefix=prefix):
                self.requests += 1
                for found in page.get("Contents", ()):
                    yield S3Object(
                        self.selection.bucket,
                        found["Key"],
                        found["ETag"].strip('"'),
                        found["Size"],
                        found["LastModified"],
                    )

    def _check(self) -> None:
        """Raise an error if there is nothing: a mistyped name must not look like success."""
        where = self.selection.uri
        unknown = [str(one) for one in self.selection.sections if one not in self._sections]
        if unknown:
            names = f"section {', '.join(unknown)}"
            raise SettingsError(f"no objects of {names} under {where}{self._known_sections()}")
        if not self.seen:
            raise SettingsError(f"no {' or '.join(SUFFIXES)} objects under {where}")

    def _known_sections(self) -> str:
        """Sections that are there, in words."""
        root = self.selection.root
        if root is None:
            return ""
        self.requests += 1
        answer = self._client.list_objects_v2(
            Bucket=self.selection.bucket, Prefix=root, Delimiter="/"
        )
        found = [entry["Prefix"][len(root) : -1] for entry in answer.get("CommonPrefixes", ())]
        if not found:
            return "; there is no section at all"
        more = ", …" if len(found) > _SHOWN else ""
        return f"; there are: {', '.join(found[:_SHOWN])}{more}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn boto3's errors into ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        where = self.selection.uri
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code in ("NoSuchBucket", "NoSuchKey"):
                named = f"s3://{self.selection.bucket}" if code == "NoSuchBucket" else where
                raise SettingsError(f"{named}: {error}") from None
            if status == 403:
                raise PermanentError(
                    f"{where} may not be listed (needs s3:ListBucket, s3:GetObject): {error}"
                ) from None
            kind = RetryableError if status >= 500 or code == "SlowDown" else PermanentError
            raise kind(f"{where}: {error}") from None
        except BotoCoreError as error:
            raise RetryableError(f"{where}: S3 does not answer: {error}") from None


class Inventory(Listing):
    """The objects of a selection that an S3 Inventory (CSV) names, in its order. It tells of
    some hours ago: an object gone since fails by name, one changed since loads as it is."""

    def __init__(self, client: Any, selection: Selection, manifest: str):
        super().__init__(client, selection)
        self._manifest = S3Object.from_uri(manifest)

    def _objects(self) -> Iterator[S3Object]:
        name = self._manifest.uri
        try:
            manifest = json.load(self._get(self._manifest.bucket, self._manifest.key))
            source, form = manifest["sourceBucket"], manifest["fileFormat"]
            columns = [column.strip() for column in manifest["fileSchema"].split(",")]
            files = [file["key"] for file in manifest["files"]]
            bucket = manifest["destinationBucket"].rpartition(":")[2]
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"{name} is no manifest.json of an S3 Inventory: {error}") from None
        if form != "CSV" or "Key" not in columns:
            raise SettingsError(f"{name} is {form} of {columns}; accepted: CSV with column Key")
        if source != self.selection.bucket:
            raise SettingsError(f"{name} is of bucket {source}, not {self.selection.bucket}")
        for key in files:
            yield from self._named_in(bucket, key, columns)

    def _named_in(self, bucket: str, key: str, columns: list[str]) -> Iterator[S3Object]:
        """The objects of one file of the inventory."""
        try:
            body: Any = self._get(bucket, key)
            body = gzip.GzipFile(fileobj=body) if key.endswith(".gz") else body
            for row in csv.reader(io.TextIOWrapper(body, "utf-8", newline="")):
                named = dict(zip(columns, row, strict=True))
                if named.get("IsLatest") == "false" or named.get("IsDeleteMarker") == "true":
                    continue
                changed = named.get("LastModifiedDate")
                yield S3Object(
                    self.selection.bucket,
                    unquote_plus(named["Key"]),
                    named.get("ETag", "").strip('"'),
                    int(named.get("Size") or 0),
                    datetime.fromisoformat(changed) if changed else None,
                )
        except (EOFError, OSError, ValueError, csv.Error, zlib.error) as error:
            raise PermanentError(
                f"s3://{bucket}/{key} is no file of the inventory: {error}"
            ) from None

    def _get(self, bucket: str, key: str) -> Any:
        self.requests += 1
        return self._client.get_object(Bucket=bucket, Key=key)["Body"]

"""Select objects of a bucket by prefix, course sections and days."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from loader.errors import SettingsError, quoted

# The upload time in a key of Torus: 2025-10-01T00-00-15.123Z_0CC1….jsonl. Python and ClickHouse
# (extract) match this pattern in the same way.
KEY_TIME = r"(\d{4}-\d{2}-\d{2})T\d{2}-\d{2}-\d{2}[^/]*$"

# The folder that contains the course sections.
ROOT = "section/"

_KEY_SECTION = re.compile(rf"(?:^|/){ROOT}(\d+)/")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Selection:
    """Which objects are selected.

    Attributes:
        bucket: the bucket.
        prefix: beginning of the keys, as in S3: section/21 also selects section/210/….
        sections: course sections; empty for all.
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
        """Bucket and prefix: s3://bucket/prefix."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def root(self) -> str | None:
        """The folder of the sections, e.g. 'section/'; None if the prefix does not determine it."""
        if ROOT.startswith(self.prefix):
            return ROOT
        at = f"/{self.prefix}".rfind(f"/{ROOT}")
        return self.prefix[: at + len(ROOT)] if at >= 0 else None

    def prefixes(self) -> list[str]:
        """The prefixes to list: only the sections' folders, if the prefix determines them."""
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
        """Whether a key belongs to one of the sections."""
        return not self.sections or section_of(key) in self.sections

    def of_days(self, key: str, last_modified: datetime | None) -> bool:
        """Whether an object belongs to one of the days.

        Args:
            key: its key.
            last_modified: when it was last changed; counts if the key has no time.
        """
        if self.first_day is None and self.last_day is None:
            return True
        day = day_of(key, last_modified)
        if day is None:
            return False
        return (self.first_day or day) <= day <= (self.last_day or day)


@dataclass(frozen=True)
class BulkRequest:
    """A bulk load that an event requests.

    Attributes:
        prefixes: beginnings of keys.
        bucket: the bucket; '' for that of the settings.
        first_day: UTC day, inclusive; None for no limit.
        last_day: UTC day, inclusive; None for no limit.
        dry_run: only count.
        force: load also objects that the ledger has; the new lines replace the old ones.
        after: last key of the first prefix that an earlier invocation attempted; '' if none.
    """

    prefixes: tuple[str, ...]
    bucket: str = ""
    first_day: date | None = None
    last_day: date | None = None
    dry_run: bool = False
    force: bool = False
    after: str = ""


def select(
    uri: str,
    section_ids: Iterable[int | str] = (),
    start_date: str | date | None = None,
    end_date: str | date | None = None,
) -> Selection:
    """Parse a selection.

    Args:
        uri: s3://bucket or s3://bucket/prefix.
        section_ids: course sections; none for all.
        start_date: first UTC day (YYYY-MM-DD), inclusive; None for no limit.
        end_date: last UTC day, inclusive; None for no limit.

    Raises:
        SettingsError: one of them is wrong.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise SettingsError(f"{uri!r} is not a prefix in S3; accepted: s3://bucket/prefix")
    sections = tuple(dict.fromkeys(section_number(section) for section in section_ids))
    return Selection(bucket, prefix, sections, *day_range(start_date, end_date))


def section_number(value: object, name: str = "section_id") -> int:
    """Parse the number of a course section.

    Args:
        value: the number, or its digits.
        name: its name in the error.

    Raises:
        SettingsError: it is not a whole number of at most 19 digits.
    """
    if not re.fullmatch(r"[0-9]{1,19}", str(value)):
        raise SettingsError(f"{name} is {quoted(value)}; accepted: a whole number")
    return int(str(value))


def day_range(start_date: object, end_date: object) -> tuple[date | None, date | None]:
    """Parse the first and the last UTC day of a range.

    Args:
        start_date: a day, or its text; None for no limit.
        end_date: likewise.

    Raises:
        SettingsError: one is not a day as YYYY-MM-DD, or they are in the wrong order.
    """
    first, last = _day(start_date, "start_date"), _day(end_date, "end_date")
    if first and last and first > last:
        raise SettingsError(f"start_date {first} is after end_date {last}")
    return first, last


def _day(value: object, name: str) -> date | None:
    if value is None or isinstance(value, date):
        return value
    try:
        # fromisoformat also reads 20250901 and 2025-W36-1.
        text = value if isinstance(value, str) and _DAY.fullmatch(value) else ""
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{name} is {quoted(value)}; accepted: a UTC day as YYYY-MM-DD"
        ) from None


def section_of(key: str) -> int | None:
    """The course section in a key: 2161 for section/2161/…; None if there is none."""
    found = _KEY_SECTION.search(key)
    return int(found[1]) if found else None


def day_of(key: str, last_modified: datetime | None) -> date | None:
    """The UTC day of an object: that of the time in its key, else of its last change.

    Args:
        key: its key.
        last_modified: when it was last changed; None if unknown.
    """
    found = re.search(KEY_TIME, key)
    if found:
        try:
            return date.fromisoformat(found[1])
        except ValueError:
            pass  # 2025-13-45 is not a day, so the time of the last change counts
    return last_modified.astimezone(UTC).date() if last_modified else None

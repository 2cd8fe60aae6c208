"""Which objects of a bucket are meant: by prefix, course sections and days."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from loader.errors import SettingsError

# The upload time in a key of Torus: 2025-10-01T00-00-15.123Z_0CC1….jsonl. Python and ClickHouse
# (extract) read this pattern alike.
KEY_TIME = r"(\d{4}-\d{2}-\d{2})T\d{2}-\d{2}-\d{2}[^/]*$"

# The folder of the course sections.
ROOT = "section/"

_KEY_SECTION = re.compile(rf"(?:^|/){ROOT}(\d+)/")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Selection:
    """The selected objects.

    Attributes:
        prefix: beginning of the keys, as S3 reads it: section/21 also selects section/210/….
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
        """Bucket and prefix as people name them."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def root(self) -> str | None:
        """The folder of the sections, if the prefix tells it: 'section/'."""
        if ROOT.startswith(self.prefix):
            return ROOT
        at = f"/{self.prefix}".rfind(f"/{ROOT}")
        return self.prefix[: at + len(ROOT)] if at >= 0 else None

    def prefixes(self) -> list[str]:
        """What to list: only the folders of the sections, where the prefix tells where they are."""
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
        """Whether the key belongs to one of the sections."""
        return not self.sections or section_of(key) in self.sections

    def of_days(self, key: str, last_modified: datetime | None) -> bool:
        """Whether the object belongs to one of the days."""
        if self.first_day is None and self.last_day is None:
            return True
        day = day_of(key, last_modified)
        if day is None:
            return False
        return (self.first_day or day) <= day <= (self.last_day or day)


@dataclass(frozen=True)
class BulkRequest:
    """A load by listing, as an event requests it.

    Attributes:
        prefixes: beginnings of keys.
        bucket: '' for the bucket of the settings.
        first_day: UTC day, inclusive; None for no limit.
        last_day: UTC day, inclusive; None for no limit.
        dry_run: only count.
        force: also load what the ledger holds, replacing it.
        after: key at which an earlier invocation stopped, of the first prefix; '' at first.
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
    """Read a selection as a person writes it.

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
        raise SettingsError(f"{uri!r} names no prefix; accepted: s3://bucket/prefix")
    sections = tuple(dict.fromkeys(section_number(section) for section in section_ids))
    return Selection(bucket, prefix, sections, *day_range(start_date, end_date))


def section_number(value: object, name: str = "section_id") -> int:
    """The number of a course section.

    Args:
        value: the number, or its digits.
        name: what the error calls it.

    Raises:
        SettingsError: it is no whole number of at most 19 digits.
    """
    if not re.fullmatch(r"[0-9]{1,19}", str(value)):
        raise SettingsError(f"{name} is {value!r}; accepted: a whole number")
    return int(str(value))


def day_range(start_date: object, end_date: object) -> tuple[date | None, date | None]:
    """The first and the last UTC day of a range; None for no limit.

    Raises:
        SettingsError: one is no day written as YYYY-MM-DD, or they are in the wrong order.
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
        raise SettingsError(f"{name} is {value!r}; accepted: a UTC day as YYYY-MM-DD") from None


def section_of(key: str) -> int | None:
    """The course section that a key names: section/2161/… is 2161."""
    found = _KEY_SECTION.search(key)
    return int(found[1]) if found else None


def day_of(key: str, last_modified: datetime | None) -> date | None:
    """The UTC day of an object: that of the time in its key, else of its last change."""
    found = re.search(KEY_TIME, key)
    if found:
        try:
            return date.fromisoformat(found[1])
        except ValueError:
            pass  # 2025-13-45 is no day, so the time of the change counts
    return last_modified.astimezone(UTC).date() if last_modified else None

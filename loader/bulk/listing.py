"""List the objects of a selection: from S3, or from an S3 Inventory."""

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from loader.aws.client import aws_errors
from loader.bulk.selection import Selection, section_of
from loader.errors import PermanentError, SettingsError
from loader.objects import SUFFIXES, S3Object, ending

# Number of endings that are counted separately; keys may have any.
_ENDINGS = 20

# Most bytes of a line of an inventory (a key has 1,024, an access list some thousands), and of its
# manifest.json.
_LONGEST_ROW, _LARGEST_MANIFEST = 1024 * 1024, 16 * 1024 * 1024

# Number of existing sections that an error names.
_SHOWN = 5


def by_ending(counts: Mapping[str, int]) -> str:
    """Numbers of objects by ending as text: '2 .json, 1 without ending'."""
    words = {"none": "without ending", "other": "with other endings"}
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count:,} {words.get(name, name)}" for name, count in ordered)


class Listing:
    """Lists the objects of a selection in the order of their keys. Iterate it only once.

    Args:
        client: client of S3.
        selection: the objects to list.

    Attributes:
        selection: the objects to list.
        requests: number of LIST or GET requests made so far.
        seen: number of JSONL objects of the prefix and sections so far, of any day.
        left_out: number of other objects of the selection so far, by the ending of their name;
            without folder markers.
    """

    def __init__(self, client: Any, selection: Selection):
        self.selection = selection
        self.requests = 0
        self.seen = 0
        self.left_out: Counter[str] = Counter()
        self._client = client
        self._sections: set[int | None] = set()

    def __iter__(self) -> Iterator[S3Object]:
        """Stream the objects; only one page at a time is in memory.

        Raises:
            SettingsError: there is no such bucket; or, at the end, nothing was listed.
            PermanentError: listing it is not permitted.
            RetryableError: S3 does not respond.
        """
        denied = "may not be listed (needs s3:ListBucket, s3:GetObject)"
        with aws_errors(self.selection.uri, denied=denied):
            for item in self._objects():
                if not item.key.startswith(self.selection.prefix):
                    continue
                if not self.selection.of_section(item.key):
                    continue
                is_selected = self.selection.of_days(item.key, item.last_modified)
                if not item.key.endswith(SUFFIXES):
                    if is_selected and not (item.key.endswith("/") and not item.size):
                        self._leave_out(item.key)
                    continue
                self.seen += 1
                if self.selection.sections:
                    self._sections.add(section_of(item.key))
                if is_selected:
                    yield item
            self._check()

    def _leave_out(self, key: str) -> None:
        """Count an object that is not read."""
        name = ending(key)
        is_counted = name in self.left_out or len(self.left_out) < _ENDINGS
        self.left_out[name if is_counted else "other"] += 1

    def _objects(self) -> Iterator[S3Object]:
        pages = self._client.get_paginator("list_objects_v2")
        # Sorted as text, like keys: '10/' comes before '9/'.
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
        """Raise an error if nothing was listed: a mistyped name must not look like success."""
        where = self.selection.uri
        left_out = f"; left out: {by_ending(self.left_out)}" if self.left_out else ""
        unknown = [str(one) for one in self.selection.sections if one not in self._sections]
        if unknown:
            names = f"section {', '.join(unknown)}"
            raise SettingsError(
                f"no objects of {names} under {where}{self._known_sections()}{left_out}"
            )
        if not self.seen:
            raise SettingsError(f"no {' or '.join(SUFFIXES)} objects under {where}{left_out}")

    def _known_sections(self) -> str:
        """The existing sections, as the end of an error message."""
        root = self.selection.root
        if root is None:
            return ""
        self.requests += 1
        answer = self._client.list_objects_v2(
            Bucket=self.selection.bucket, Prefix=root, Delimiter="/"
        )
        found = [entry["Prefix"][len(root) : -1] for entry in answer.get("CommonPrefixes", ())]
        if not found:
            return "; it has no sections"
        more = ", …" if len(found) > _SHOWN else ""
        return f"; existing sections: {', '.join(found[:_SHOWN])}{more}"


class Inventory(Listing):
    """Reads the objects of a selection from an S3 Inventory (CSV), in its order.

    An inventory is some hours old. If an object was deleted since then, its load fails; if it was
    changed, its current version is loaded. A line at a time is in memory, of 1 MiB at most; and a
    manifest of 16 MiB at most.

    Args:
        client: client of S3.
        selection: the objects to list.
        manifest: s3://…/manifest.json of the inventory.
    """

    def __init__(self, client: Any, selection: Selection, manifest: str):
        super().__init__(client, selection)
        self._manifest = S3Object.from_uri(manifest)

    def _objects(self) -> Iterator[S3Object]:
        name = self._manifest.uri
        try:
            text = self._get(self._manifest.bucket, self._manifest.key).read(_LARGEST_MANIFEST + 1)
            if len(text) > _LARGEST_MANIFEST:
                raise ValueError(f"it has more than {_LARGEST_MANIFEST:,} bytes")
            manifest = json.loads(text)
            source, form = manifest["sourceBucket"], manifest["fileFormat"]
            columns = [column.strip() for column in manifest["fileSchema"].split(",")]
            files = [file["key"] for file in manifest["files"]]
            bucket = manifest["destinationBucket"].rpartition(":")[2]
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{name} is not the manifest.json of an S3 Inventory: {error}"
            ) from None
        if form != "CSV" or "Key" not in columns:
            raise SettingsError(f"{name} is {form} of {columns}; accepted: CSV with column Key")
        if source != self.selection.bucket:
            raise SettingsError(
                f"{name} is for bucket {source}; accepted: one for {self.selection.bucket}"
            )
        for key in files:
            yield from self._named_in(bucket, key, columns)

    def _named_in(self, bucket: str, key: str, columns: list[str]) -> Iterator[S3Object]:
        """The objects of one file of the inventory."""
        try:
            body: Any = self._get(bucket, key)
            body = gzip.GzipFile(fileobj=body) if key.endswith(".gz") else io.BufferedReader(body)
            for line in iter(lambda: body.readline(_LONGEST_ROW), b""):
                if len(line) == _LONGEST_ROW:
                    raise ValueError(f"a line has more than {_LONGEST_ROW:,} bytes")
                # Keys are encoded, so no line break is part of a field.
                [row] = csv.reader([line.decode()])
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
                f"s3://{bucket}/{key} is not a file of the inventory: {error}"
            ) from None

    def _get(self, bucket: str, key: str) -> Any:
        self.requests += 1
        return self._client.get_object(Bucket=bucket, Key=key)["Body"]

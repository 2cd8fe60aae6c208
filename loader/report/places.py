"""Where a report is written, a folder or S3; a reader never sees half a page."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

from loader.aws.client import aws_errors, s3_client
from loader.errors import PermanentError, SettingsError
from loader.settings import Settings

_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


class Place(Protocol):
    """A folder, here or in S3."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def uri(self, name: str) -> str:
        """Where a file is, for messages."""


def place(settings: Settings, out: str) -> Place:
    """The place that an option names.

    Args:
        settings: how to reach S3.
        out: a folder, or s3://bucket/prefix.

    Raises:
        SettingsError: it is neither.
    """
    if out.startswith("s3://"):
        bucket, _, prefix = out.removeprefix("s3://").partition("/")
        if not bucket:
            raise SettingsError(f"{out!r} is no place for a report; accepted: s3://bucket/prefix")
        return Bucket(s3_client(settings), bucket, prefix)
    return Folder(Path(out))


class Folder:
    """A folder on this machine; it is created when the first file is written."""

    def __init__(self, path: Path):
        self._path = path

    def read(self, name: str) -> bytes | None:
        """See `Place.read`."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PermanentError(f"{self.uri(name)}: {error.strerror}") from None

    def write(self, name: str, content: bytes) -> None:
        """See `Place.write`: writes another file and renames it."""
        unfinished = ""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            handle, unfinished = tempfile.mkstemp(dir=self._path, prefix=f".{name}.")
            with open(handle, "wb") as file:
                file.write(content)
            # mkstemp makes files that only their owner reads; pages have the rights of other files.
            os.chmod(unfinished, 0o666 & ~_umask())
            os.replace(unfinished, self._path / name)
        except OSError as error:
            if unfinished:
                with contextlib.suppress(OSError):
                    os.unlink(unfinished)
            raise PermanentError(f"{self.uri(name)} cannot be written: {error.strerror}") from None

    def remove(self, name: str) -> None:
        """See `Place.remove`."""
        try:
            (self._path / name).unlink(missing_ok=True)
        except OSError as error:
            raise PermanentError(f"{self.uri(name)} cannot be removed: {error.strerror}") from None

    def uri(self, name: str) -> str:
        """See `Place.uri`."""
        return str(self._path / name)


class Bucket:
    """A prefix of an S3 bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str):
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""

    def read(self, name: str) -> bytes | None:
        """See `Place.read`."""
        with aws_errors(self.uri(name), denied="(the report needs s3:GetObject)"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            except self._client.exceptions.NoSuchKey:
                return None
            return answer["Body"].read()

    def write(self, name: str, content: bytes) -> None:
        """See `Place.write`: a PUT replaces an object as a whole."""
        with aws_errors(self.uri(name), denied="(the report needs s3:PutObject)"):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=content,
                ContentType=_TYPES[Path(name).suffix],
                CacheControl="no-cache",
            )

    def remove(self, name: str) -> None:
        """See `Place.remove`."""
        with aws_errors(self.uri(name), denied="(the report needs s3:DeleteObject)"):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def uri(self, name: str) -> str:
        """See `Place.uri`."""
        return f"s3://{self._bucket}/{self._prefix}{name}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

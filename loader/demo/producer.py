"""Send files of statements like a learning platform, in the mode XAPI_ETL_MODE."""

import json
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from loader.aws.client import aws_errors, client
from loader.aws.password import with_password
from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError, PermanentError, RetryableError, SettingsError
from loader.files import (
    MEMORY_PER_BYTE,
    BundleSource,
    bundle,
    bundle_key,
    check_lines,
    read_bundle,
)
from loader.load import load
from loader.settings import Settings

# Largest event that Lambda accepts, in bytes.
LARGEST_EVENT = 6 * 1024 * 1024

# Largest object that S3 accepts in one request, in bytes.
LARGEST_OBJECT = 5 * 1024**3

# Errors of the function that do not go away when the event is sent again.
REFUSALS = ("PermanentError", "SettingsError", "UnknownEventError")


@dataclass(frozen=True)
class Sent:
    """The result of one file.

    Attributes:
        file: its path.
        place: the key it was sent to.
        rows: number of lines loaded; None if the Lambda loads them later.
        error: why it was not sent; '' if it was.
    """

    file: str
    place: str
    rows: int | None = None
    error: str = ""


def send(
    files: list[Path],
    settings: Settings,
    section_id: int = 0,
    category: str = "video",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Sent]:
    """Send files, each as one bundle with a unique key.

    Args:
        files: .jsonl or .jsonl.gz files.
        settings: the mode, and where to send.
        section_id: the course section; 0 for none.
        category: the kind of statements, part of the key.
        now: the time.

    Yields:
        The result of each file. A file that fails does not stop the others.

    Raises:
        SettingsError: a setting of the mode is missing, or a file does not exist; nothing was sent.
    """
    for file in files:
        if not file.is_file():
            raise SettingsError(f"{file}: no such file")
        check_lines(file)
    with _deliverer(settings) as deliver:
        for file in files:
            # Only mode s3 sends gzip files unchanged.
            unzip = file.suffix == ".gz" and settings.etl_mode != "s3"
            suffix = ".jsonl.gz" if file.suffix == ".gz" and not unzip else ".jsonl"
            key = bundle_key(section_id, category, now(), uuid.uuid4().hex, suffix)
            try:
                body = read_bundle(file, unzip, _largest(settings))
                place, rows = deliver(key, body)
                yield Sent(str(file), place, rows)
            except (LoaderError, OSError, EOFError, zlib.error) as error:
                yield Sent(str(file), key, error=str(error))


def _largest(settings: Settings) -> int:
    """Largest size in bytes of a bundle in the mode of the settings."""
    if settings.etl_mode == "s3":
        return LARGEST_OBJECT
    if settings.etl_mode == "lambda":
        return LARGEST_EVENT
    return settings.load_memory // MEMORY_PER_BYTE


# Sends a bundle, given its key and content; returns its address, and its lines if they are loaded.
Deliver = Callable[[str, bytes], tuple[str, int | None]]


@contextmanager
def _deliverer(settings: Settings) -> Iterator[Deliver]:
    """The function that sends a bundle in the mode of the settings."""
    if settings.etl_mode == "s3":
        if not settings.bucket:
            raise SettingsError("XAPI_ETL_MODE is s3, so S3_XAPI_BUCKET_NAME must name the bucket")
        yield partial(_put, _client("s3"), settings.bucket)
    elif settings.etl_mode == "lambda":
        yield partial(_invoke, _client("lambda"), settings.lambda_function)
    else:
        with closing(open_warehouse(with_password(settings))) as warehouse:
            schema.init(warehouse, settings)
            yield partial(_load, warehouse, settings)


def _load(warehouse: Warehouse, settings: Settings, key: str, body: bytes) -> tuple[str, int]:
    item = bundle(body, key, datetime.now(UTC))
    source = BundleSource(warehouse, settings, body)
    [[outcome]] = load(warehouse, settings, [item], mode="file", source=source)
    if outcome.is_failed:
        raise PermanentError(outcome.error)
    return key, outcome.rows


def _put(s3: Any, bucket: str, key: str, body: bytes) -> tuple[str, None]:
    with aws_errors(f"s3://{bucket}/{key}"):
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}", None


def _invoke(lambda_: Any, function: str, key: str, body: bytes) -> tuple[str, int]:
    try:
        event = {"key": key, "body": body.decode()}
    except UnicodeDecodeError:
        raise PermanentError(
            "the file is not UTF-8 text, but an event must be; use XAPI_ETL_MODE=s3"
        ) from None
    return key, invoke(lambda_, function, event)["rows"]


def invoke(lambda_: Any, function: str, event: Any) -> Any:
    """Invoke a deployed function and wait for its answer.

    Args:
        lambda_: client of AWS Lambda (see `lambda_client`).
        function: name of the function.
        event: the event.

    Returns:
        The function's answer, parsed from JSON.

    Raises:
        RetryableError: the function failed; the text has its error message.
        PermanentError: it cannot be invoked, it refused the event, or the event is too large.
    """
    payload = json.dumps(event).encode()
    if len(payload) > LARGEST_EVENT:
        raise PermanentError(
            f"an event of {len(payload):,} bytes is too large for Lambda (at most "
            f"{LARGEST_EVENT:,}); use XAPI_ETL_MODE=s3"
        )
    with aws_errors(f"function {function}"):
        answer = lambda_.invoke(FunctionName=function, Payload=payload)
        content = json.loads(answer["Payload"].read() or b"null")
    if "FunctionError" in answer:
        about = content if isinstance(content, dict) else {}
        kind = PermanentError if about.get("errorType") in REFUSALS else RetryableError
        raise kind(f"function {function}: {about.get('errorMessage', content)}")
    return content


def lambda_client() -> Any:
    """Make a client of AWS Lambda."""
    return _client("lambda")


def _client(service: str) -> Any:
    # A function may run for fifteen minutes. If the client times out and invokes it again, the
    # function finds the bundle in the ledger and skips it.
    return client(service, connect=5, read=900, attempts=2)

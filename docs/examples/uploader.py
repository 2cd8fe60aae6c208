"""Upload a file of statements as one bundle: python uploader.py FILE SECTION CATEGORY.

Needs boto3. XAPI_ETL_MODE is s3 (put an object, with S3_XAPI_BUCKET_NAME) or lambda (invoke the
function, with XAPI_LAMBDA_FUNCTION_NAME); the credentials are those of the AWS SDK.

The first line of the output is the key. To repeat an upload that failed: uploader.py FILE KEY. With
a new key, its lines would be loaded once more.
"""

import hashlib
import json
import os
import random
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

ATTEMPTS = 5
# boto3 repeats nothing, because it leaves out some errors that go away: `send` does. A function may
# take minutes to answer.
CONFIG = Config(retries={"total_max_attempts": 1}, read_timeout=900)
# Errors of S3 that go away although their status says otherwise, and errors of the function that do
# not.
TEMPORARY = {"RequestTimeout", "OperationAborted"}
PERMANENT = {"PermanentError", "UnknownEventError", "SettingsError"}


class FunctionError(Exception):
    """The function failed."""


def key_of(body: bytes, section: str, category: str) -> str:
    """A new key in the layout of the pipeline; make it once, and keep it for retries."""
    if not re.fullmatch("[0-9]{1,19}", section) or not re.fullmatch("[A-Za-z0-9_-]+", category):
        sys.exit("SECTION must be a number, and CATEGORY a name of letters, digits, - and _")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest().upper()
    suffix = ".jsonl.gz" if body.startswith(b"\x1f\x8b") else ".jsonl"
    return f"section/{section}/{category}/{now}_{digest}{suffix}"


def put(key: str, body: bytes) -> None:
    """Put the bundle into the bucket; the pipeline loads it within seconds."""
    client("s3").put_object(Bucket=setting("S3_XAPI_BUCKET_NAME"), Key=key, Body=body)


def invoke(key: str, body: bytes) -> None:
    """Send the bundle to the function, and wait until it is committed."""
    try:
        event = json.dumps({"key": key, "body": body.decode()})
    except UnicodeDecodeError:
        sys.exit("an event must be UTF-8 text; use XAPI_ETL_MODE=s3 for gzip")
    function = setting("XAPI_LAMBDA_FUNCTION_NAME")
    answer = client("lambda").invoke(FunctionName=function, Payload=event)
    content = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        raise FunctionError(content)
    print(content)


def send(request: Any, key: str, body: bytes) -> None:
    """Send the same bytes until they are accepted; an error that does not go away ends it."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return request(key, body)
        except (ClientError, NoConnection, HTTPClientError, FunctionError) as error:
            if attempt == ATTEMPTS or not goes_away(error):
                sys.exit(f"not sent: {error}\nTo repeat it: uploader.py FILE {key}")
        time.sleep(0.2 * 2**attempt * random.random())


def goes_away(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return status >= 500 or status in (408, 429) or error.response["Error"]["Code"] in TEMPORARY
    if isinstance(error, FunctionError):
        found = re.search(r'"errorType": *"(\w+)"', str(error))
        return not found or found[1] not in PERMANENT
    return True


def client(service: str) -> Any:
    """A client of AWS; boto3 itself does not read AWS_REGION."""
    return boto3.client(service, config=CONFIG, region_name=os.environ.get("AWS_REGION") or None)


def setting(name: str) -> str:
    """A variable of the environment that must be set."""
    return os.environ.get(name) or sys.exit(f"{name} is not set")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: uploader.py FILE SECTION CATEGORY, or uploader.py FILE KEY")
    file, *rest = sys.argv[1:]
    body = Path(file).read_bytes()
    key = rest[0] if len(rest) == 1 else key_of(body, *rest)
    print(key, flush=True)
    send(invoke if os.environ.get("XAPI_ETL_MODE") == "lambda" else put, key, body)

"""Upload a file of statements as one bundle: python uploader.py FILE SECTION CATEGORY.

Needs boto3. XAPI_ETL_MODE is s3 (put an object, with S3_XAPI_BUCKET_NAME) or lambda (invoke the
function, with XAPI_LAMBDA_FUNCTION_NAME); the credentials are those of the AWS SDK.
"""

import hashlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import boto3
from botocore.config import Config

# boto3 retries at 5xx, 429 and lost connections, with growing pauses and the same bytes. A function
# may take minutes to answer.
CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 5}, read_timeout=900)


def key_of(body: bytes, section: int, category: str) -> str:
    """A new key in the layout of the pipeline; make it once, and keep it for retries."""
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest().upper()
    return f"section/{section}/{category}/{time}_{digest}.jsonl"


def put(key: str, body: bytes) -> None:
    """Put the bundle into the bucket; the pipeline loads it within seconds."""
    bucket = os.environ["S3_XAPI_BUCKET_NAME"]
    boto3.client("s3", config=CONFIG).put_object(Bucket=bucket, Key=key, Body=body)


def invoke(key: str, body: bytes) -> None:
    """Send the bundle to the function, and wait until it is committed."""
    answer = boto3.client("lambda", config=CONFIG).invoke(
        FunctionName=os.environ["XAPI_LAMBDA_FUNCTION_NAME"],
        Payload=json.dumps({"key": key, "body": body.decode()}),
    )
    content = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        raise SystemExit(f"not committed, invoke it again: {content}")
    print(content)


if __name__ == "__main__":
    file, section, category = sys.argv[1:]
    body = Path(file).read_bytes()
    key = key_of(body, int(section), category)
    (invoke if os.environ.get("XAPI_ETL_MODE") == "lambda" else put)(key, body)
    print(key)

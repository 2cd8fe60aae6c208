"""Clients of AWS and their errors; boto3 is imported only where it is needed: it takes a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loader.errors import LoaderError, PermanentError, RetryableError, SettingsError
from loader.settings import Settings

# Error codes after which the same call may succeed later; so may any with status 500 or above.
_RETRYABLE = (
    *("InternalError", "InternalServiceError", "ServiceUnavailable", "SlowDown"),
    *("RequestThrottled", "Throttling", "ThrottlingException", "TooManyRequestsException"),
)


def client(service: str, region: str = "", *, connect: int = 3, read: int, attempts: int) -> Any:
    """A client with its own time limits.

    Args:
        service: as boto3 names it, e.g. sqs.
        region: where the service is; AWS_REGION if left out (which boto3 does not read), else
            what boto3 finds.
        connect: seconds to wait for a connection.
        read: seconds to wait for an answer.
        attempts: how often a call is made at most.
    """
    import boto3
    from botocore.config import Config

    limits = Config(
        connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": attempts}
    )
    region = region or os.environ.get("AWS_REGION", "")
    return boto3.client(service, region_name=region or None, config=limits)


def s3_client(settings: Settings) -> Any:
    """A client of S3 for the endpoint of the settings. Without credentials it sends unsigned
    requests, as ClickHouse does: they reach public buckets."""
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


@contextmanager
def aws_errors(what: str, denied: str = "", hint: str = "") -> Iterator[None]:
    """Raise boto3's errors as ours; each begins with what was called.

    Args:
        what: the thing that was called, e.g. 's3://lake' or 'the queue'.
        denied: what to say of a refusal (status 403), e.g. the rights that are needed.
        hint: what to say where nobody answers.

    Raises:
        RetryableError: the service does not answer, is busy or failed.
        SettingsError: there is no such bucket or object.
        PermanentError: anything else.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refused(what, error, denied) from None
    except BotoCoreError as error:
        remedy = f" ({hint})" if hint else ""
        raise RetryableError(f"{what}: no answer: {error}{remedy}") from None


def _refused(what: str, error: Any, denied: str) -> LoaderError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("NoSuchBucket", "NoSuchKey"):
        return SettingsError(f"{what}: {error}")
    if code in _RETRYABLE or status >= 500:
        return RetryableError(f"{what}: {error}")
    return PermanentError(f"{what}{f' {denied}' if denied and status == 403 else ''}: {error}")

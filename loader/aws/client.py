"""Make AWS clients and translate their errors; boto3 is imported in functions, as it is slow."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loader.errors import LoaderError, PermanentError, RetryableError, SettingsError, describe
from loader.settings import Settings

# Error codes after which the same call may succeed later. So may any call with status 5xx.
_RETRYABLE = (
    *("InternalError", "InternalServiceError", "ServiceUnavailable", "SlowDown"),
    *("RequestThrottled", "Throttling", "ThrottlingException", "TooManyRequestsException"),
)

# Addresses in messages. An endpoint may have a password in front of its host, or a token behind it.
_ADDRESS = re.compile(r'"https?://[^"]*"|https?://\S*|(?<=url: )/\S*')
_HOST = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")

# Codes of errors whose messages may quote what was signed, and with it the session token.
_ABOUT_SIGNATURES = re.compile("signature|authorization|token", re.IGNORECASE)


def client(service: str, region: str = "", *, connect: int = 3, read: int, attempts: int) -> Any:
    """Make a client with its own time limits.

    Args:
        service: its name in boto3, e.g. sqs.
        region: where the service is; if left out, AWS_REGION (which boto3 does not read), else the
            region that boto3 finds.
        connect: seconds to wait for a connection.
        read: seconds to wait for a response.
        attempts: largest number of times that a call is made.

    Raises:
        SettingsError: there is no region.
    """
    import boto3
    from botocore.config import Config

    limits = Config(
        connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": attempts}
    )
    region = region or os.environ.get("AWS_REGION", "") or boto3.Session().region_name or ""
    if not region:
        raise SettingsError(
            f"AWS_REGION is not set, and {service} needs it; accepted: a region, e.g. eu-central-1"
        )
    return boto3.client(service, region_name=region, config=limits)


def s3_client(settings: Settings) -> Any:
    """Make a client of S3 for the endpoint of the settings.

    Without credentials it sends unsigned requests, as ClickHouse does; public buckets accept them.
    """
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
    """Translate boto3's errors into those of the loader.

    Args:
        what: what was called, e.g. 's3://lake' or 'the queue'; each message begins with it.
        denied: added to the message if access is denied (status 403), e.g. the permissions needed.
        hint: added to the message if the service does not respond.

    Raises:
        RetryableError: the service does not respond, is busy or failed.
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
        raise RetryableError(f"{what}: no response: {_harmless(error)}{remedy}") from None


def _harmless(error: Exception) -> str:
    """The text of an error of botocore if it only names addresses, regions or profiles. Others may
    quote a header, and so a key or a session token."""
    from botocore import exceptions

    known = ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "SSLError")
    known += ("ConnectionClosedError", "ProxyConnectionError", "NoCredentialsError")
    known += ("PartialCredentialsError", "NoRegionError", "ProfileNotFound", "InvalidRegionError")
    if isinstance(error, tuple(getattr(exceptions, name) for name in known)):
        return _ADDRESS.sub(_host, str(error))
    return f"{describe(error)}; check the AWS_* settings for line breaks and odd characters"


def _host(address: re.Match[str]) -> str:
    """What is shown of an address: the host, unless it may be a password."""
    found = _HOST.match(address[0].strip('"'))
    return found[0] if found and "@" not in address[0] else "an address that is not shown"


def _refused(what: str, error: Any, denied: str) -> LoaderError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = str(error)
    if _ABOUT_SIGNATURES.search(code) or "canonical" in text.lower():
        text = f"{code} ({error.operation_name}): check the AWS credentials and the clock"
    if code in ("NoSuchBucket", "NoSuchKey"):
        return SettingsError(f"{what}: {text}")
    if code in _RETRYABLE or status >= 500:
        return RetryableError(f"{what}: {text}")
    return PermanentError(f"{what}{f' {denied}' if denied and status == 403 else ''}: {text}")

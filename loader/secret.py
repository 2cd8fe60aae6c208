"""The password of ClickHouse, where it is kept in AWS Secrets Manager."""

import json
from typing import Any

from loader import aws
from loader.errors import LoaderError, PermanentError, RetryableError
from loader.settings import Settings

# Of these another attempt may not be told.
_RETRYABLE = ("ThrottlingException", "InternalServiceError", "ServiceUnavailable")


def clickhouse_password(settings: Settings, client: Any = None) -> str:
    """The password: that of the settings, or what their secret holds now.

    Args:
        client: Secrets Manager; made when needed if left out.

    Raises:
        RetryableError: Secrets Manager did not answer.
        PermanentError: it refused, or the secret holds no password. Neither says what it holds.
    """
    if not settings.secret_arn:
        return settings.password
    # Only Lambda's runtime (or a worker's environment) has these, and only a secret needs them.
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = client or aws.client("secretsmanager", _region(settings), read=5, attempts=2)
        answer = client.get_secret_value(SecretId=settings.secret_arn)
    except ClientError as error:
        raise _refusal(settings, error.response.get("Error", {})) from None
    except BotoCoreError as error:
        raise RetryableError(
            f"Secrets Manager was not asked for {settings.secret_arn}: {error} "
            "(from a VPC it needs a NAT gateway or an interface endpoint)"
        ) from None
    return _password_in(answer.get("SecretString", ""), settings)


def _password_in(text: str, settings: Settings) -> str:
    """The password in a secret: all of it, or the field `password` of a JSON object."""
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    found = content.get("password") if isinstance(content, dict) else text
    if not isinstance(found, str) or not found:
        raise PermanentError(
            f"the secret {settings.secret_arn} holds no password; accepted: the password alone, "
            'or JSON with the field "password"'
        )
    return found


def _region(settings: Settings) -> str:
    """The region in arn:aws:secretsmanager:<region>:…; '' if the text is no ARN."""
    return (settings.secret_arn.split(":") + [""] * 4)[3]


def _refusal(settings: Settings, error: dict[str, str]) -> LoaderError:
    code = error.get("Code", "unknown error")
    text = f"the secret {settings.secret_arn} (CLICKHOUSE_PASSWORD_SECRET_ARN): {code}"
    return (RetryableError if code in _RETRYABLE else PermanentError)(text)

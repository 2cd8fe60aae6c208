"""Read ClickHouse's password from the settings or from AWS Secrets Manager."""

import json
from typing import Any

from loader.aws.client import aws_errors, client
from loader.errors import PermanentError
from loader.settings import Settings


def clickhouse_password(settings: Settings, secrets: Any = None) -> str:
    """Read ClickHouse's password: that of the settings, or the current value of their secret.

    Args:
        settings: the password, or the ARN of its secret.
        secrets: client of Secrets Manager; made when needed if left out.

    Raises:
        RetryableError: Secrets Manager did not respond.
        PermanentError: access is denied, or the secret contains no password. No message quotes the
            secret.
    """
    if not settings.secret_arn:
        return settings.password
    what = f"the secret {settings.secret_arn} (CLICKHOUSE_PASSWORD_SECRET_ARN)"
    hint = "from a VPC, Secrets Manager needs a NAT gateway or an interface endpoint"
    with aws_errors(what, hint=hint):
        secrets = secrets or client("secretsmanager", _region(settings), read=5, attempts=2)
        answer = secrets.get_secret_value(SecretId=settings.secret_arn)
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
            f"the secret {settings.secret_arn} contains no password; accepted: the password "
            'alone, or JSON with the field "password"'
        )
    return found


def _region(settings: Settings) -> str:
    """The region in arn:aws:secretsmanager:<region>:…; '' if the text is not an ARN."""
    return (settings.secret_arn.split(":") + [""] * 4)[3]

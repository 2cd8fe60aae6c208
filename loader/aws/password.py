"""Read ClickHouse's password from the settings or from AWS Secrets Manager."""

import json
from dataclasses import replace
from typing import Any

from loader.aws.client import aws_errors, client
from loader.errors import PermanentError
from loader.settings import Settings
from loader.variables import is_utf8


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
    return _read(settings.secret_arn, "CLICKHOUSE_PASSWORD_SECRET_ARN", secrets)


def with_password(settings: Settings) -> Settings:
    """The settings with the password of `clickhouse_password`; the same errors. An embedded
    database has none."""
    if settings.target == "embedded":
        return settings
    return replace(settings, password=clickhouse_password(settings))


def dbt_password(settings: Settings, secrets: Any = None) -> str:
    """Read the password of dbt's user, as `clickhouse_password` does; the same errors."""
    if not settings.dbt_secret_arn:
        return settings.dbt_password
    return _read(settings.dbt_secret_arn, "CLICKHOUSE_DBT_PASSWORD_SECRET_ARN", secrets)


def _read(arn: str, variable: str, secrets: Any) -> str:
    hint = "from a VPC, Secrets Manager needs a NAT gateway or an interface endpoint"
    with aws_errors(f"the secret {arn} ({variable})", hint=hint):
        secrets = secrets or client("secretsmanager", _region(arn), read=5, attempts=2)
        answer = secrets.get_secret_value(SecretId=arn)
    return _password_in(answer.get("SecretString", ""), arn)


def _password_in(text: str, arn: str) -> str:
    """The password in a secret: the field `password` of a JSON object, or all of another text
    without the line break at its end, which `--secret-string file://…` takes from the file."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        found = content.get("password")
    else:
        found = text.removesuffix("\n").removesuffix("\r")
    if not isinstance(found, str) or not found or not is_utf8(found):
        raise PermanentError(
            f"the secret {arn} contains no password; accepted: the password "
            'alone, or JSON with the field "password", as UTF-8 text'
        )
    return found


def _region(arn: str) -> str:
    """The region in arn:aws:secretsmanager:<region>:…; '' if the text is not an ARN."""
    return (arn.split(":") + [""] * 4)[3]

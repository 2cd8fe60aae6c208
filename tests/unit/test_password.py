"""The password of ClickHouse in Secrets Manager: found, refused, unreadable; never shown."""

import io
import json
import uuid

import boto3
import jinja2
import pytest
import yaml

from loader.aws.password import clickhouse_password, dbt_password
from loader.dbt_run import Transform, dbt_environment
from loader.errors import PermanentError, RetryableError
from loader.log import Log
from loader.settings import Settings
from loader.supervisor import Limits, LocalLink
from tests.helpers.ministack import free_port
from tests.helpers.paths import ROOT

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:gone-AbCdEf"


@pytest.fixture
def secret(s3_endpoint):
    """Keep a text; its ARN."""

    def keep(text: str) -> str:
        client = boto3.client("secretsmanager")
        return client.create_secret(Name=uuid.uuid4().hex, SecretString=text)["ARN"]

    return keep


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("bare pass\\word", "bare pass\\word"),
        ("123456", "123456"),
        ('"quoted"', '"quoted"'),
        ('{"password": "from JSON", "username": "x"}', "from JSON"),
    ],
)
def test_a_secret_is_the_password_or_holds_it(secret, text, password):
    assert clickhouse_password(Settings(secret_arn=secret(text))) == password


@pytest.mark.parametrize("text", ['{"pass": "hush"}', '{"password": 7}', '{"password": ""}'])
def test_a_secret_without_a_password_is_named_and_its_value_not_shown(secret, text):
    arn = secret(text)
    with pytest.raises(PermanentError) as error:
        clickhouse_password(Settings(secret_arn=arn))
    assert arn in str(error.value)
    assert "hush" not in str(error.value)


def test_a_secret_that_is_not_there_is_named(s3_endpoint):
    with pytest.raises(PermanentError, match="ResourceNotFound") as error:
        clickhouse_password(Settings(secret_arn=ARN))
    assert ARN in str(error.value)


def test_no_answer_may_be_one_later(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RetryableError, match="Secrets Manager"):
        clickhouse_password(Settings(secret_arn=ARN))


def test_without_a_secret_the_password_is_that_of_the_settings():
    assert clickhouse_password(Settings(password="hush")) == "hush"


def dbts_password(env: dict[str, str]) -> str:
    """The password that dbt reads from profiles.yml."""
    profile = yaml.safe_load((ROOT / "profiles.yml").read_text())
    text = profile["xapi"]["outputs"]["server"]["password"]
    return jinja2.Template(text).render(env_var=lambda name, default: env.get(name, default))


@pytest.mark.parametrize("end", ["", "\n", "\r", "\r\n", "\n\n", "\n\r", " "])
def test_dbt_and_loader_read_the_same_password(secret, end):
    """From a secret as JSON with all that the password ends with; from a file or a variable without
    the line break at its end."""
    password = f"a pass{end}"
    exact = Settings(dbt_secret_arn=secret(json.dumps({"password": password})))
    assert dbts_password(dbt_environment(exact)) == dbt_password(exact) == password
    for variable in ("CLICKHOUSE_PASSWORD", "CLICKHOUSE_DBT_PASSWORD"):
        plain = Settings.from_env({variable: password})
        found = dbt_password(plain)
        assert dbts_password({variable: password}) == dbts_password(dbt_environment(plain)) == found
        # And the loader, in a process that has the environment of dbt.
        assert Settings.from_env(dbt_environment(plain)).dbt_password == found


def test_dbt_gets_the_password_of_its_own_secret_at_each_run(secret):
    arn = secret("dbt's pass")
    given = {"CLICKHOUSE_DBT_USER": "dbt", "CLICKHOUSE_DBT_PASSWORD_SECRET_ARN": arn}
    for expected in ("dbt's pass", "another one"):
        env = dbt_environment(Settings.from_env(given))
        assert (env["CLICKHOUSE_DBT_USER"], dbts_password(env)) == ("dbt", expected)
        boto3.client("secretsmanager").put_secret_value(SecretId=arn, SecretString="another one")


def test_a_secret_of_dbt_that_cannot_be_read_fails_its_run_by_name(s3_endpoint):
    output = io.StringIO()
    settings = Settings(home=str(ROOT), target="server", dbt_secret_arn=ARN)
    link = LocalLink(lambda *_, **__: None, limits=Limits())
    assert Transform(settings, Log(stream=output), link).update() == "failed"
    assert "transform_failed" in output.getvalue()
    assert "CLICKHOUSE_DBT_PASSWORD_SECRET_ARN" in output.getvalue()

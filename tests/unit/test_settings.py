"""Settings: read once, refused with a line that names the variable and the accepted values."""

import pytest

from loader.errors import SettingsError
from loader.settings import Settings, complaints
from tests.helpers.paths import ROOT
from tests.helpers.secrets import MARK

ROLE = "arn:aws:iam::123456789012:role/xapi-elt"


def test_an_empty_environment_means_the_embedded_engine():
    settings = Settings.from_env({})
    assert (settings.target, settings.chdb_path) == ("embedded", str(ROOT / ".data/clickhouse"))
    assert (settings.database, settings.raw_database) == ("xapi", "xapi_raw")
    assert settings.s3_url == "https://s3.us-east-1.amazonaws.com/"


def test_the_bucket_of_the_pipeline_is_allowed_unless_a_list_says_otherwise():
    assert Settings.from_env({"S3_XAPI_BUCKET_NAME": "lake"}).allowed_buckets == ("lake",)
    both = {"S3_XAPI_BUCKET_NAME": "lake", "XAPI_ALLOWED_BUCKETS": "a, b"}
    assert Settings.from_env(both).allowed_buckets == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("XAPI_TARGET", "cloud", "embedded, server, cluster"),
        ("XAPI_ETL_MODE", "batch", "direct, lambda, s3"),
        ("CLICKHOUSE_PORT", "http", "1 to 65535"),
        ("CLICKHOUSE_PORT", "70000", "1 to 65535"),
        ("CLICKHOUSE_SECURE", "maybe", "true, false"),
        ("CLICKHOUSE_DATABASE", "x; drop table y", "letters, digits and underscores"),
        ("XAPI_S3_COLLECTION", "a-b", "letters, digits and underscores"),
        ("CLICKHOUSE_CLUSTER", "x` (drop", "letters, digits and _ - . { }"),
        ("CLICKHOUSE_CLUSTER", "x\ny", "letters, digits and _ - . { }"),
        ("CLICKHOUSE_USER", "a:b", "a name without ':'"),
        ("CLICKHOUSE_USER", "a\nb", "a name without ':'"),
        ("CLICKHOUSE_HOST", "https://host/", "a host name or an address"),
        ("CLICKHOUSE_HOST", "host\nX: y", "a host name or an address"),
        ("XAPI_LOAD_MEMORY_MB", "63", "MiB from 64 to 1048576"),
        ("XAPI_LOAD_MEMORY_MB", "lots", "MiB from 64 to 1048576"),
        ("XAPI_LOAD_MEMORY_MB", "9" * 5000, "MiB from 64 to 1048576"),
        ("XAPI_RETRY_SECONDS", "901", "seconds from 0 to 900"),
        ("AWS_ENDPOINT_URL_S3", "localhost:9000", "http(s)://host[:port]"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_accepted(name, value, accepted):
    with pytest.raises(SettingsError) as error:
        Settings.from_env({name: value})
    assert name in str(error.value)
    assert accepted in str(error.value)


def test_the_password_does_not_show():
    assert MARK not in repr(Settings.from_env({"CLICKHOUSE_PASSWORD": MARK}))


def test_dbt_is_the_loaders_user_unless_it_has_its_own():
    loader = {"CLICKHOUSE_USER": "a", "CLICKHOUSE_PASSWORD": "p"}
    settings = Settings.from_env(loader)
    assert (settings.dbt_user, settings.dbt_password, settings.dbt_secret_arn) == ("a", "p", "")
    dbt = {"CLICKHOUSE_DBT_USER": "b", "CLICKHOUSE_DBT_PASSWORD": "q"}
    settings = Settings.from_env(loader | {"CLICKHOUSE_PASSWORD_SECRET_ARN": "arn"} | dbt)
    assert (settings.dbt_user, settings.dbt_password, settings.dbt_secret_arn) == ("b", "q", "")
    settings = Settings.from_env(loader | dbt | {"CLICKHOUSE_DBT_PASSWORD_SECRET_ARN": "arn"})
    assert (settings.user, settings.secret_arn, settings.dbt_secret_arn) == ("a", "", "arn")


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"XAPI_S3_ROLE_ARN": "role"}, "XAPI_S3_ROLE_ARN is 'role'; accepted: arn:aws:iam::"),
        (
            {"XAPI_S3_ROLE_ARN": ROLE, "XAPI_S3_COLLECTION": "c"},
            "XAPI_S3_COLLECTION and XAPI_S3_ROLE_ARN are both set",
        ),
        ({"XAPI_S3_EXTERNAL_ID": f"id-{MARK}"}, "is set, but not XAPI_S3_ROLE_ARN"),
        (
            {"XAPI_S3_ROLE_ARN": ROLE, "XAPI_S3_EXTERNAL_ID": f"{MARK}'"},
            "XAPI_S3_EXTERNAL_ID is not",
        ),
    ],
)
def test_a_role_that_cannot_be_is_refused_by_name(env, says):
    with pytest.raises(SettingsError) as error:
        Settings.from_env(env)
    assert says in str(error.value) and MARK not in str(error.value)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"XAPI_S3_COLECTION": "c"}, "no such setting; did you mean XAPI_S3_COLLECTION?"),
        ({"CLICKHOUSE_PASWORD": MARK}, "did you mean CLICKHOUSE_PASSWORD?"),
        ({"XAPI_ELSE": "1"}, "no such setting; .env.example lists all settings"),
        ({"CLICKHOUSE_HOST": "h"}, "CLICKHOUSE_HOST is set, but XAPI_TARGET is embedded"),
        ({"XAPI_S3_ROLE_ARN": ROLE}, "XAPI_S3_ROLE_ARN is set, but XAPI_TARGET is embedded"),
        (
            {"XAPI_TARGET": "server", "CLICKHOUSE_CLUSTER": "c"},
            "CLICKHOUSE_CLUSTER is set, but XAPI_TARGET is server",
        ),
        (
            {"CLICKHOUSE_PASSWORD": MARK, "CLICKHOUSE_PASSWORD_SECRET_ARN": "a"},
            "CLICKHOUSE_PASSWORD and CLICKHOUSE_PASSWORD_SECRET_ARN are both set",
        ),
        (
            {"S3_XAPI_BUCKET_NAME": "a", "XAPI_ALLOWED_BUCKETS": "b"},
            "S3_XAPI_BUCKET_NAME is 'a', which XAPI_ALLOWED_BUCKETS does not allow",
        ),
    ],
)
def test_what_is_probably_a_mistake_is_named(env, says):
    [found] = complaints(env)
    assert says in found and MARK not in found


def test_sound_environments_have_no_complaints():
    assert complaints({"PATH": "/bin", "AWS_REGION": "x", "XAPI_EMBEDDED_S3_URL": "u"}) == []
    server = {"XAPI_TARGET": "server", "CLICKHOUSE_HOST": "h", "XAPI_S3_ROLE_ARN": ROLE}
    assert complaints(server | {"CLICKHOUSE_CLUSTER": "", "XAPI_LOG_LEVEL": "INFO"}) == []

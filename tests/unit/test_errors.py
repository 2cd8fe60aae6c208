"""What an error says in logs and reports: a text of ours, or type and place, never another text."""

import json

import pytest
from botocore import exceptions

from loader.aws.client import aws_errors
from loader.aws.password import clickhouse_password
from loader.clickhouse.embedded import engine_config
from loader.clickhouse.errors import from_answer
from loader.clickhouse.reader import without_statement
from loader.errors import LoaderError, MissingRightError, PermanentError, SettingsError, describe
from loader.settings import Settings
from loader.variables import queue_address
from tests.helpers.secrets import MARK


def caught(error: Exception, call=None) -> Exception:
    """The error, raised."""
    try:
        call() if call else _raise(error)
    except Exception as found:
        return found
    raise AssertionError("nothing was raised")


def _raise(error: Exception) -> None:
    raise error


def test_an_error_of_ours_says_its_text():
    assert describe(caught(PermanentError("no such\nbucket"))) == "no such bucket"


def test_another_error_says_its_type_and_place():
    def decode() -> None:
        Settings.from_env({"CLICKHOUSE_PASSWORD": 7 * [MARK]})

    said = describe(caught(ValueError(MARK)))
    assert said.startswith("unexpected ValueError at test_errors.py:")
    said = describe(caught(ValueError(), decode))
    assert said.startswith("unexpected AttributeError at loader/variables.py:")
    assert MARK not in said
    assert describe(ValueError(MARK)) == "unexpected ValueError at unknown"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_secret_taken_from_a_file_is_the_password_without_the_line_break(secret, newline):
    assert secret(f"pass {newline}") == "pass "
    assert secret("pass\n\n") == "pass\n"
    assert Settings.from_env({"CLICKHOUSE_PASSWORD": f"pass {newline}"}).password == "pass "


def test_a_field_of_json_is_the_password_as_it_is(secret):
    assert secret(json.dumps({"password": "pass\n"}) + "\n") == "pass\n"


@pytest.mark.parametrize("text", ['{"password": "\\ud800never-shown"}', "\ud800never-shown", "\n"])
def test_a_secret_that_cannot_be_sent_is_refused_unquoted(secret, text):
    with pytest.raises(PermanentError, match="contains no password") as error:
        secret(text)
    assert MARK not in str(error.value)


def test_deep_json_is_a_password(secret):
    assert secret("[" * 100_000) == "[" * 100_000


@pytest.fixture
def secret():
    """Read a password from a secret with this text: secret(text)."""

    class Secrets:
        def __init__(self, text: str):
            self.text = text

        def get_secret_value(self, SecretId: str) -> dict:
            return {"SecretString": self.text}

    settings = Settings(secret_arn="arn:aws:secretsmanager:us-east-1:123456789012:secret:x")
    return lambda text: clickhouse_password(settings, Secrets(text))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLICKHOUSE_PASSWORD", f"{MARK}\udcff"),
        ("AWS_ENDPOINT_URL", f"http://user:{MARK}@host"),
        ("AWS_ENDPOINT_URL_S3", f"https://{MARK}@host"),
        ("CLICKHOUSE_HOST", f"user:{MARK}@host"),
        ("CLICKHOUSE_HOST", f"https://host/?password={MARK}"),
        ("CLICKHOUSE_USER", f"default:{MARK}"),
        ("AWS_ENDPOINT_URL_S3", f"https://s3.example/?X-Amz-Signature={MARK}"),
        ("XAPI_SQS_QUEUE_URL", f"http://user:{MARK}@host/1/queue"),
        ("XAPI_SQS_QUEUE_URL", f"http://host/1/queue?token={MARK}"),
        ("XAPI_SQS_QUEUE_URL", MARK),
    ],
)
def test_a_setting_with_a_secret_in_it_is_refused_unquoted(name, value):
    with pytest.raises(SettingsError, match=name) as error:
        Settings.from_env({name: value})
    assert MARK not in str(error.value)


def test_an_endpoint_is_checked_though_another_one_counts():
    given = {"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": f"http://user:{MARK}@host"}
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL is not accepted") as error:
        Settings.from_env(given)
    assert MARK not in str(error.value)


@pytest.mark.parametrize("option", ["XAPI_SQS_QUEUE_URL", "--queue-url"])
@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.eu-central-1.amazonaws.com/123456789012/xapi-elt-dev.fifo",
        "http://127.0.0.1:4566/000000000000/queue",
        "http://[::1]:4566/000000000000/queue",
        "",
    ],
)
def test_addresses_of_queues_are_accepted(option, url):
    assert queue_address(option, url) == url


@pytest.mark.parametrize("kind", ["EndpointConnectionError", "ConnectTimeoutError", "SSLError"])
@pytest.mark.parametrize(
    "endpoint",
    [
        f"http://user:{MARK}@127.0.0.1:1",
        f"http://us/er:{MARK}@127.0.0.1:1/",
        f"http://127.0.0.1:1/?token={MARK}",
        f"http://127.0.0.1:1/{MARK}#@",
    ],
)
def test_an_endpoint_in_an_error_of_botocore_is_shown_without_secrets(kind, endpoint):
    url = f"/?token={MARK}"
    cause = f"HTTPSConnectionPool(host='127.0.0.1', port=1): Max retries exceeded with url: {url}"
    with (
        pytest.raises(LoaderError, match="the queue: no response") as error,
        aws_errors("the queue"),
    ):
        raise getattr(exceptions, kind)(endpoint_url=endpoint, error=cause)
    assert MARK not in str(error.value)
    assert ("http://127.0.0.1:1" in str(error.value)) == ("@" not in endpoint)


@pytest.mark.parametrize(
    "code", ["SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "Other"]
)
def test_an_error_about_a_signature_is_shown_without_what_was_signed(code):
    text = f"The Canonical String should have been 'POST / x-amz-security-token:{MARK}'"
    answer = {"Error": {"Code": code, "Message": text}}
    with (
        pytest.raises(PermanentError, match=f"the queue: {code}") as error,
        aws_errors("the queue"),
    ):
        raise exceptions.ClientError(answer, "ReceiveMessage")
    assert MARK not in str(error.value)


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"])
@pytest.mark.parametrize("value", [f"{MARK}\n", f"ünï学{MARK}"])
def test_a_key_that_cannot_be_sent_is_not_quoted(s3_endpoint, monkeypatch, name, value):
    import boto3

    monkeypatch.setenv(name, value)
    with pytest.raises(LoaderError) as error, aws_errors("s3://lake"):
        # A session of its own: the default one keeps the keys that it found first.
        boto3.Session().client("s3").list_objects_v2(Bucket="lake")
    assert MARK not in str(error.value)


def test_a_key_with_a_line_break_is_not_given_to_the_engine(monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{MARK}\n")
    with pytest.raises(SettingsError, match="session_token") as error:
        engine_config(Settings())
    assert MARK not in str(error.value)


@pytest.mark.parametrize(
    ("grant", "right"),
    [
        ("INSERT(a, b) ON xapi_raw.loads. (ACCESS_DENIED)", "INSERT ON xapi_raw.loads"),
        (
            "SELECT ON x.y. (Missing permissions: SELECT(z) ON x.y). (ACCESS_DENIED)",
            "SELECT ON x.y",
        ),
    ],
)
def test_a_missing_right_is_named_with_the_grant_that_helps(grant, right):
    text = "Code: 497. DB::Exception: it's me: Not enough privileges. To execute this query, it's "
    error = from_answer(f"{text}necessary to have the grant {grant}")
    assert isinstance(error, MissingRightError)
    assert f"Not enough privileges: user it's me has no right {right}. " in str(error)
    assert f"grant {right} to `it's me`;" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "Unknown identifier `a`. Maybe you meant: ['b']. In scope SELECT a FROM c. (UNKNOWN)",
        "Unknown identifier `a` in scope SELECT a FROM c. Maybe you meant: ['b']. (UNKNOWN)",
        "Unknown identifier `a`: In scope SELECT 'Maybe you meant: []'. Maybe you meant: ['b'].",
    ],
)
def test_an_error_of_a_query_keeps_the_hint_without_the_statement(text):
    """As 26.9, 25.8 to 26.3, and a statement that contains the words of the hint."""
    assert without_statement(text) == "Unknown identifier `a`. Maybe you meant: ['b']"


def test_an_error_without_a_statement_stays():
    assert without_statement("Unknown table `a`. (UNKNOWN)") == "Unknown table `a`. (UNKNOWN)"

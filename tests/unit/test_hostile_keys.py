"""Keys that look like ClickHouse's errors: what an error means does not depend on them."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from loader import load as loading
from loader.clickhouse.errors import first_sentence, from_answer, words
from loader.clickhouse.http import HttpWarehouse
from loader.errors import LoaderError, RetryableError, UnavailableError
from loader.objects import S3Object
from loader.settings import Settings

KEYS = [
    "AccessDenied",
    "Access Denied",
    "NoSuchVersion",
    "InvalidArgument",
    "HTTP response code: 404",
    "HTTP response code: 503",
    "Poco::Net::x",
    "(for query)",
    "Query memory limit exceeded",
    "DB::Exception: Memory limit (for query) exceeded",
    "Code: 241. DB::Exception: Query memory limit exceeded",
    "Code: 159. DB::Exception: Timeout exceeded",
    "(version 2)",
    "x (version 26.9.2.1 (official build))",
    "Stack trace",
    "Not enough privileges. It's necessary to have the grant ALL ON x.y",
    "(in file/uri lake/other.jsonl)",
    "timed out",
]

# As 26.9 wrote them; the key is at {}.
MESSAGES = [
    "Code: 354. DB::Exception: inflate failed: data error: While reading from: lake/{}: "
    "(in file/uri lake/{}): While executing ParallelParsingBlockInputFormat. (ZLIB_INFLATE_FAILED)",
    "Code: 241. DB::Exception: Query memory limit exceeded: would use 65.33 MiB, maximum: 64.00 "
    "MiB: (in file/uri lake/{}): While executing ReadFromObjectStorage. (MEMORY_LIMIT_EXCEEDED)",
    "Code: 241. DB::Exception: (total) memory limit exceeded: would use 7.35 GiB: (in file/uri "
    "lake/{}): While executing ReadFromObjectStorage. (MEMORY_LIMIT_EXCEEDED)",
    "Code: 499. DB::Exception: Unable to parse ExceptionName: NoSuchVersion Message: The specified "
    "version does not exist: (in file/uri lake/{}): While executing ReadFromObjectStorage. "
    "(S3_ERROR)",
    "Code: 499. DB::Exception: Failed to get object info: No response body.. HTTP response code: "
    "403. Please check your AWS credentials and permissions: while reading '{}' in bucket 'lake' "
    "on disk 'StorageS3': While executing ReadFromObjectStorage. (S3_ERROR)",
    "Code: 499. DB::Exception: Access Denied: while reading key: {}, from bucket: lake: (in "
    "file/uri lake/{}): While executing ReadFromObjectStorage. (S3_ERROR)",
    "Code: 499. DB::Exception: Failed to get object info: Poco::Exception. Code: 1000, e.code() = "
    "111, Connection refused (version 26.9.2.1). HTTP response code: 18446744073709551615: while "
    "reading '{}' in bucket 'lake' on disk 'StorageS3'. (S3_ERROR)",
    "Code: 1001. DB::Exception: std::exception. Code: 1001, type: std::runtime_error, e.what() = "
    "x: (in file/uri lake/{}): While executing ReadFromObjectStorage. (STD_EXCEPTION)",
    "Code: 1001. DB::Exception: Poco::Net::MessageException: Malformed message: (in file/uri "
    "lake/{}). (STD_EXCEPTION)",
    "Code: 47. DB::Exception: Unknown expression identifier `x` in scope SELECT x WHERE _path IN "
    "('lake/{}'). (UNKNOWN_IDENTIFIER)",
]


def about(message: str, key: str) -> LoaderError:
    """The error for a message about an object, as a server ends it."""
    return from_answer(f"{message.replace('{}', key)} (version 26.9.2.1 (official build))\n")


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("key", KEYS)
def test_what_an_error_means_does_not_depend_on_the_key(message, key):
    plain, error = about(message, "plain.jsonl"), about(message, key)
    assert type(error) is type(plain)
    assert words(error.answer) == words(plain.answer)


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("key", KEYS)
def test_whether_a_version_is_missed_or_failed_does_not_depend_on_the_key(message, key):
    assert outcome_of(message, key) == outcome_of(message, "plain.jsonl")


def outcome_of(message: str, key: str) -> tuple[str, bool]:
    """The outcome of a version whose insert fails with a message."""
    error = about(message, key)

    class Versions:
        def insert_version(self, *_) -> None:
            raise error

    def clock() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    loader = loading._Loader(None, None, Versions(), "", "event", "append", False, 1, clock, uuid4)
    loader.record = lambda *_: None
    [outcome] = loader._load_version(S3Object("lake", key, "e1", 5, version_id="v"))
    return outcome.outcome, outcome.retryable


@pytest.mark.parametrize("key", KEYS)
def test_an_error_of_ours_about_an_object_is_no_answer_of_s3(key):
    """Its attempt took too long, say: its version is not missed."""
    error = RetryableError(f"loading s3://lake/{key} and its batch took 13 hours")
    assert words(error.answer) == ""


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("key", KEYS)
def test_whether_s3_responds_does_not_depend_on_the_key(message, key):
    class Source:
        def __init__(self, key: str):
            self.error = about(message, key)

        def stat(self, batch) -> None:
            raise self.error

    item = S3Object("lake", key)
    assert loading.s3_responds(Source(key), item) == loading.s3_responds(Source("plain"), item)


@pytest.mark.parametrize("key", KEYS)
def test_a_message_is_shown_to_its_end(key):
    shown = str(about(MESSAGES[0], key))
    assert f"(in file/uri lake/{key}): While executing" in shown
    assert "official build" not in shown.replace(key, "")


def test_a_stack_trace_and_the_version_are_not_shown():
    trace = "Stack trace (when copying this message, always include the lines below):\n\n0. x\n"
    for end in (
        " (version 26.9.2.1 (official build))\n",
        " (version 25.8.1.1 (official build)) (for url http://127.0.0.1:8123)",
        f", {trace} (version 26.9.2.1 (official build))",
    ):
        text = f"Code: 60. DB::Exception: no table: While executing x. (UNKNOWN_TABLE){end}"
        assert first_sentence(text) == text.removesuffix(end)


@pytest.mark.parametrize("key", KEYS)
def test_a_page_of_a_proxy_that_quotes_a_key_is_no_answer_of_clickhouse(key):
    found = HttpWarehouse(Settings())._refusal(502, None, f"<html>cannot forward {key}</html>")
    assert type(found) is UnavailableError

"""Translate ClickHouse's errors into those of the loader, the same for both clients."""

import re

from loader.errors import (
    NO_WHOLE_GZIP,
    LoaderError,
    MemoryLimitError,
    MissingRightError,
    PermanentError,
    RetryableError,
    UnavailableError,
    UnknownOutcomeError,
)

# ClickHouse error codes after which another attempt may succeed (src/Common/ErrorCodes.cpp):
# timeouts, network, memory and part limits, too many queries, read-only or lost replicas, Keeper,
# S3; a connection that broke (1000) and an object that was replaced (1009) while it was read.
RETRYABLE_CODES = {
    *(159, 202, 209, 210, 225, 236, 241, 242, 252, 279, 285, 319, 394, 425, 439, 499, 999),
    *(1000, 1009),
}

# After these it is unknown whether the statement took effect.
UNKNOWN_CODES = {159, 209, 210, 394}

# Names of network errors begin with this. The code does not always tell: 25.8 reports a connection
# to S3 that broke within the headers as 1001, an exception of the standard library.
NETWORK = "Poco::Net::"

WRONG_PASSWORD, READ_ONLY, OUT_OF_MEMORY, NO_GZIP = 516, 164, 241, 354
ACCESS_DENIED, NO_COLLECTION = 497, 669
UNKNOWN_IDENTIFIER = 47

# No such table, or no such database.
NOT_THERE = (60, 81)

# The limit of the statement itself (max_memory_usage), as old and new versions report it. The
# limits of the user and of the server depend on what else runs at the time.
_OWN_LIMIT = re.compile(r"Query memory limit exceeded|\(for query\)")

# In front of the first name of an object in a message: '(in file/uri lake/a.jsonl)', 'While reading
# from: …', "while reading 'a.jsonl' in bucket …", and in front of a statement with its values.
_BEFORE_NAMES = re.compile(r"\(in file/uri |\bwhile |\bin scope ", re.IGNORECASE)

# What ends a message in front of the name of an object, and behind it.
_END = re.compile(r"Stack trace|\(version ")
_LAST = re.compile(
    r"[, ]*Stack trace \(when copying.*"
    r"|\s*\(version \d[\d.]* \([^()]*\)\)(\s*\(for url \S*\))?\s*$",
    re.DOTALL,
)

_NO_RIGHT = re.compile(
    r"(?:DB::Exception: )?(?P<user>[^:]+): Not enough privileges"
    r".*? the grant (?P<right>.+?)\.?(?: \(|$)"
)


def from_answer(text: str, code: int | None = None) -> LoaderError:
    """The loader's error for an error that ClickHouse responded with.

    Args:
        text: ClickHouse's message.
        code: ClickHouse's error code; if left out, the one in the text.
    """
    error = _translated(text, code if code is not None else code_in(text))
    error.answer = text
    return error


def _translated(text: str, code: int | None) -> LoaderError:
    own = words(text)
    text = first_sentence(text)
    if code == OUT_OF_MEMORY and _OWN_LIMIT.search(own):
        return MemoryLimitError(
            f"more memory is needed than one statement may use: {text}; a line or an object is "
            "too large: split it, or raise XAPI_LOAD_MEMORY_MB if ClickHouse has the memory"
        )
    if code in UNKNOWN_CODES:
        return UnknownOutcomeError(text)
    if code in RETRYABLE_CODES or NETWORK in own:
        return RetryableError(text)
    if code == NO_GZIP:
        return PermanentError(f"{text}; {NO_WHOLE_GZIP}")
    if code == READ_ONLY:
        return PermanentError(f"{text}; give CLICKHOUSE_USER a profile with readonly = 0")
    if code == ACCESS_DENIED:
        return _missing_right(text)
    if code == NO_COLLECTION:
        return PermanentError(
            f"{text}; XAPI_S3_COLLECTION names it, docs/deploy.md shows how to create it"
        )
    if code in NOT_THERE:
        return PermanentError(f"{text}; create the tables: xapi-elt init")
    return PermanentError(text)


def _missing_right(text: str) -> MissingRightError:
    remedy = "xapi-elt grants prints the rights of each role"
    if not (found := _NO_RIGHT.search(text)):
        return MissingRightError(f"{text}; {remedy}")
    # Without the columns of an insert, of which there are many.
    user, right = found["user"], re.sub(r"\([^)]*\)", "", found["right"])
    name = user if user.isidentifier() else f"`{user}`"
    return MissingRightError(
        f"Not enough privileges: user {user} has no right {right}. As an administrator of "
        f"ClickHouse: grant {right} to {name}; {remedy}"
    )


def from_connection(where: str, text: str) -> LoaderError:
    """The loader's error for a connection that failed, or a response that did not come in time.

    Args:
        where: host and port.
        text: the client's message.
    """
    text = first_sentence(text)
    if "timed out" in text.lower() or "timeout" in text.lower():
        return UnknownOutcomeError(f"no answer from ClickHouse in time: {text}")
    return UnavailableError(f"ClickHouse at {where} does not answer: {text}")


def code_in(text: str) -> int | None:
    """The error code in 'Code: 60. DB::Exception: ...'; None if there is none."""
    _, found, rest = text.partition("Code: ")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return int(digits) if found and digits else None


def words(answer: str) -> str:
    """ClickHouse's own words at the beginning of a message. What follows may quote the key of an
    object, which must not decide what an error means.

    Args:
        answer: the message.
    """
    found = _BEFORE_NAMES.search(answer)
    return answer[: found.start()] if found else answer


def first_sentence(text: str, most: int = 600) -> str:
    """ClickHouse's message in one line, without stack trace and version.

    Args:
        text: the message.
        most: characters to keep.
    """
    end = _END.search(words(text))
    text = text[: end.start()] if end else _LAST.sub("", text)
    return " ".join(text.split())[:most]

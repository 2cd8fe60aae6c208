"""ClickHouse's errors as ours, the same whichever client met them."""

from loader.errors import (
    LoaderError,
    PermanentError,
    RetryableError,
    UnavailableError,
    UnknownOutcomeError,
)

# ClickHouse error codes that another attempt may not meet (src/Common/ErrorCodes.cpp): timeouts,
# network, memory and part limits, too many queries, read-only or lost replicas, Keeper, S3; a
# connection that broke (1000) and an object that was replaced (1009) while it was read.
RETRYABLE_CODES = {
    *(159, 202, 209, 210, 225, 236, 241, 242, 252, 279, 285, 319, 394, 425, 439, 499, 999),
    *(1000, 1009),
}

# Of these nobody knows whether the statement took effect.
UNKNOWN_CODES = {159, 209, 210, 394}

# What the errors of its network library are called, whatever their code: 25.8 answers 1001, an
# exception of the standard library, where a connection to S3 broke before the headers had ended.
NETWORK = "Poco::Net::"

WRONG_PASSWORD, READ_ONLY = 516, 164


def from_answer(text: str, code: int | None = None) -> LoaderError:
    """The error that ClickHouse answered with.

    Args:
        text: its message.
        code: its number; if left out, the one in the text.
    """
    code = code if code is not None else code_in(text)
    text = first_sentence(text)
    if code in UNKNOWN_CODES:
        return UnknownOutcomeError(text)
    if code in RETRYABLE_CODES or NETWORK in text:
        return RetryableError(text)
    if code == READ_ONLY:
        return PermanentError(f"{text}; give CLICKHOUSE_USER a profile with readonly = 0")
    if code in (60, 81):
        return PermanentError(f"{text}; create the tables: xapi-elt init")
    return PermanentError(text)


def from_connection(where: str, text: str) -> LoaderError:
    """The error of a connection that could not be made, or that brought no answer in time.

    Args:
        where: host and port.
        text: what went wrong.
    """
    text = first_sentence(text)
    if "timed out" in text.lower() or "timeout" in text.lower():
        return UnknownOutcomeError(f"no answer from ClickHouse in time: {text}")
    return UnavailableError(f"ClickHouse at {where} does not answer: {text}")


def code_in(text: str) -> int | None:
    """The number in 'Code: 60. DB::Exception: ...'."""
    _, found, rest = text.partition("Code: ")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return int(digits) if found and digits else None


def first_sentence(text: str, most: int = 600) -> str:
    """The error without the stack and the version that ClickHouse appends."""
    text = text.partition("Stack trace:")[0].partition("(version ")[0]
    return " ".join(text.split())[:most]

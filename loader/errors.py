"""The two families of errors: retryable and permanent."""

import traceback
from pathlib import Path
from typing import Any

# Characters of a value that an error quotes.
_QUOTED = 200


class LoaderError(Exception):
    """An error whose text says, in one line, what is wrong and what to do.

    Attributes:
        answer: ClickHouse's whole response, if it is the cause.
    """

    answer = ""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class RetryableError(LoaderError):
    """The same call may succeed later: ClickHouse or S3 is down, busy or slow."""


class UnavailableError(RetryableError):
    """ClickHouse itself cannot be reached: nothing was done, and other calls will fail as well."""


class UnknownOutcomeError(RetryableError):
    """No answer came in time, so the statement may have run; what it wrote is invisible."""


class PermanentError(LoaderError):
    """The same call will fail again: wrong name, missing object, no permission."""


class MissingRightError(PermanentError):
    """ClickHouse's user lacks a right; the text names it and how to grant it."""


class MemoryLimitError(PermanentError):
    """A statement alone needs more memory than one statement may use."""


class SettingsError(PermanentError):
    """A setting or argument is wrong; the text names it and the accepted values."""


NO_WHOLE_GZIP = (
    "this is no complete gzip file (cut off, damaged, padded with zeros, or not compressed): "
    "decompress it with gunzip, which ignores padding, compress it again and replace it"
)


def describe(error: BaseException) -> str:
    """An error for logs and reports: the text of a LoaderError; of another one only its type and
    where it was raised, because its text may quote a password.

    Args:
        error: the error.
    """
    if isinstance(error, LoaderError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    # Where it was raised, and the nearest line of this package.
    ours = [frame for frame in frames if Path(frame.filename).parent.is_relative_to(_PACKAGE)]
    places = [_place(frame) for frame in [*frames[-1:], *ours[-1:]]]
    return f"unexpected {type(error).__name__} at {', '.join(dict.fromkeys(places)) or 'unknown'}"


def quoted(value: Any) -> str:
    """A value of a call, as an error or a log may quote it: text is cut, and what may be JSON is
    described by its shape, because a call may have statements anywhere, and they are personal data.

    Args:
        value: the value, e.g. parsed from JSON.
    """
    if isinstance(value, dict | list) or may_be_json(value):
        return shape(value)
    if isinstance(value, str) and len(value) > _QUOTED:
        return f"{value[:_QUOTED]!r}…"
    return repr(value)


def may_be_json(value: Any) -> bool:
    """Whether a value is text that may be JSON, plain, in Python's form, or encoded for a URL. Few
    keys look like it."""
    return isinstance(value, str) and any(mark in value for mark in ('"', "':", "%22"))


def shape(value: Any) -> str:
    """What a value of JSON is, without what it says: 'a list of 3'."""
    kinds = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "a boolean"}
    kind = kinds.get(type(value), "a number")
    return f"{kind} of {len(value)}" if isinstance(value, dict | list | str) else kind


_PACKAGE = Path(__file__).parent


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    name = path.relative_to(_PACKAGE.parent) if path.is_relative_to(_PACKAGE) else path.name
    return f"{name}:{frame.lineno}"

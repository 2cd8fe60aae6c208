"""The two families of errors: retryable and permanent."""

import traceback
from pathlib import Path


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


_PACKAGE = Path(__file__).parent


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    name = path.relative_to(_PACKAGE.parent) if path.is_relative_to(_PACKAGE) else path.name
    return f"{name}:{frame.lineno}"

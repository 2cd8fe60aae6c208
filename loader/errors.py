"""The two families of errors: retryable and permanent."""


class LoaderError(Exception):
    """An error whose text says, in one line, what is wrong and what to do."""

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


class MemoryLimitError(PermanentError):
    """A statement alone needs more memory than one statement may use."""


class SettingsError(PermanentError):
    """A setting or argument is wrong; the text names it and the accepted values."""

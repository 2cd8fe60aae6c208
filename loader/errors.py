"""What can go wrong, in two families: what may pass, and what will not."""


class LoaderError(Exception):
    """An error whose text says what is wrong and what to do, in one line."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class RetryableError(LoaderError):
    """The same call may succeed later: ClickHouse or S3 is down, busy or slow."""


class UnavailableError(RetryableError):
    """ClickHouse itself cannot be reached: nothing was done, and no other call will fare better."""


class UnknownOutcomeError(RetryableError):
    """No answer came in time: the statement may have run. What it wrote is invisible."""


class PermanentError(LoaderError):
    """The same call will fail again: wrong name, missing object, no permission."""


class SettingsError(PermanentError):
    """A setting or argument is wrong; the text names it and the accepted values."""

"""An error as the stand-in for a ClickHouse server answers it: its code, text and HTTP status."""

import re

# The HTTP status of an error code, else 500 (ClickHouse: exceptionCodeToHTTPStatus.cpp).
STATUS = (
    dict.fromkeys((6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 321, 376, 427), 400)
    | dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115), 404)
    | {48: 501, 76: 503, 159: 408, 192: 403, 209: 503, 439: 503, 497: 403, 516: 403}
)


class Failure(Exception):
    """An error that ClickHouse answers with a code."""

    def __init__(self, code: int, message: str, text: bytes = b"") -> None:
        """Take our message, or chDB's whole text."""
        super().__init__(code, message)
        self.code = code
        self.text = text or f"Code: {code}. DB::Exception: {message}".encode()

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Read chDB's error; text that is not UTF-8 hides in a UnicodeDecodeError."""
        cause = next((e for e in (error, error.__cause__) if isinstance(e, UnicodeDecodeError)), 0)
        text = bytes(cause.object) if cause else str(error).encode()
        found = re.search(rb"Code: (\d+).*", text, re.DOTALL)
        return cls(int(found[1]), "", found[0]) if found else cls(1002, f"{error!r}")

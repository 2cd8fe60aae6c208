"""The secrets of the tests, and a search for them in what tests print and write."""

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Every secret of the tests contains these words, so one search finds all of them.
MARK = "never-shown"

PASSWORD = f"pass-{MARK}"
AWS_SECRET = f"test-secret-{MARK}"

# As it is, and as HTTP sends a password: three encodings, because base64 depends on the position.
_FORMS = [MARK.encode()] + [
    b64encode(b"x" * before + MARK.encode())[before + (before > 0) : -4] for before in range(3)
]

# Where a person or a test keeps a secret: a file, the tests in a copy of the project, and what the
# shell of tests/helpers/deploy_page.py knows.
_KEPT = {"profiles.yml", "tests", ".answers", ".state"}

# Processes whose output showed a secret, since the last look.
SHOWN: list[str] = []

# Larger files are data, not output.
_MOST_BYTES = 20_000_000


def shows_secret(content: bytes | str) -> bool:
    """Whether a secret of the tests is in some output."""
    content = content.encode() if isinstance(content, str) else content
    return any(form in content for form in _FORMS)


def files_with_secrets(folder: Path) -> Iterator[Path]:
    """The files below a folder that contain a secret of the tests."""
    for path in folder.rglob("*"):
        try:
            readable = path.is_file() and not path.is_symlink() and not _KEPT & set(path.parts)
            if readable and path.stat().st_size < _MOST_BYTES and shows_secret(path.read_bytes()):
                yield path
        except OSError:
            continue  # gone in the meantime


class SearchedPopen(subprocess.Popen):
    """A process whose output is searched when a test reads it. It replaces `subprocess.Popen` in
    the tests, so that whoever runs a command, and however its output is read, need not think of
    it."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.stdout = self.stdout and _Searched(self.stdout, self.args)
        self.stderr = self.stderr and _Searched(self.stderr, self.args)

    def communicate(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        """See `Popen.communicate`."""
        try:
            read = super().communicate(*arguments, **options)
        except subprocess.TimeoutExpired as error:
            _note(self.args, error.output, error.stderr)
            raise
        _note(self.args, *read)
        return read


class _Searched:
    """The output of a process."""

    def __init__(self, stream: Any, command: Any):
        self._stream = stream
        self._command = command

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> "_Searched":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.readline, self._stream.read(0))

    def __next__(self) -> Any:
        if not (line := self.readline()):
            raise StopIteration
        return line

    def read(self, *size: int) -> Any:
        """See `IOBase.read`."""
        return self._noted(self._stream.read(*size))

    def readline(self, *size: int) -> Any:
        """See `IOBase.readline`."""
        return self._noted(self._stream.readline(*size))

    def readlines(self) -> list[Any]:
        """See `IOBase.readlines`."""
        return list(self)

    def _noted(self, text: Any) -> Any:
        _note(self._command, text)
        return text


def _note(command: Any, *output: bytes | str | None) -> None:
    if any(shows_secret(text) for text in output if text):
        words = [command] if isinstance(command, str | bytes) else command
        # Of the whole command line a test may have made a secret a part.
        SHOWN.append(" ".join(str(word) for word in words[:2] if not shows_secret(str(word))))

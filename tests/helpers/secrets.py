"""The secrets of the tests, and a search for them in what tests print and write."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

# Every secret of the tests contains these words, so one search finds all of them.
MARK = "never-shown"

PASSWORD = f"pass-{MARK}"
AWS_SECRET = f"test-secret-{MARK}"

# As it is, and as HTTP sends a password: three encodings, because base64 depends on the position.
_FORMS = [MARK.encode()] + [
    b64encode(b"x" * before + MARK.encode())[before + (before > 0) : -4] for before in range(3)
]

# Where a person or a test keeps a secret: a file, and the tests in a copy of the project.
_KEPT = {"profiles.yml", "tests"}

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

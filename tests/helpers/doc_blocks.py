"""The code blocks of a document's sections, and the commands in them, for tests that run them."""

import re
from dataclasses import dataclass
from pathlib import Path

# A fence, its language, and what is between; and headings, which say where it is.
_PARTS = re.compile(
    r"^(?P<level>#+) (?P<title>[^\n]+)$|^```(?P<language>\w*)\n(?P<text>.*?)^```", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        section: the heading of the second level that it is below.
        language: sh, sql, …; '' if it is output.
        text: its lines.
    """

    section: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its shell commands, each with the lines that it continues on."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line for line in joined.splitlines() if line and not line.startswith("#")]

    @property
    def statements(self) -> list[str]:
        """Its SQL statements, without comments."""
        text = re.sub(r"^--.*\n", "", self.text, flags=re.M)
        return [one.strip() for one in text.split(";\n") if one.strip()]


def blocks(page: Path, section: str = "") -> list[Block]:
    """The blocks of a page, or of one of its sections.

    Args:
        page: the document.
        section: a heading of the second level; '' for all.
    """
    found, current = [], ""
    for part in _PARTS.finditer(page.read_text()):
        if part["level"] == "##":
            current = part["title"]
        elif part["level"] is None and section in ("", current):
            found.append(Block(current, part["language"], part["text"]))
    return found

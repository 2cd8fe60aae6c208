"""What a protection is to `make mutations`: the place where it is removed, and who must notice."""

from dataclasses import dataclass
from pathlib import Path

from tests.helpers.paths import ROOT


@dataclass(frozen=True)
class Mutation:
    """One protection to remove.

    Attributes:
        name: the protection.
        edits: file, its text, what replaces it; the text must occur once.
        scenarios: scenarios of which one must fail.
        tests: tests of which one must fail, where no scenario is about the protection.
    """

    name: str
    edits: tuple[tuple[str, str, str], ...]
    scenarios: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


def changed_texts(mutation: Mutation, root: Path = ROOT) -> dict[str, str]:
    """The files of a project without the protection: their texts, by path.

    Args:
        mutation: what to remove.
        root: the project.

    Raises:
        LookupError: the text to change is not there once: the mutation is out of date.
    """
    texts: dict[str, str] = {}
    for file, old, new in mutation.edits:
        text = texts.get(file) or (root / file).read_text()
        if text.count(old) != 1:
            raise LookupError(f"{mutation.name}: {file} has {text.count(old)} times: {old}")
        texts[file] = text.replace(old, new)
    return texts

"""The named questions: one file of SQL each, whose first comment describes it.

The comment's first line is the question, the next ones up to an empty one explain the answer, and
the rest are the parameters:

    -- Where do viewers leave a video?
    --
    -- section UInt64: the course section
    -- video String = '': only this video; all videos if left out
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loader.errors import SettingsError

FOLDER = Path(__file__).parent

_PARAMETER = re.compile(r"(?P<name>\w+) (?P<type>[\w()]+)(?: = (?P<default>\S+))?: (?P<meaning>.+)")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a question.

    Attributes:
        name: its name.
        type: its type in ClickHouse.
        default: its value if it is left out; None if it must be given.
        meaning: what it is for.
    """

    name: str
    type: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class Question:
    """A question that the marts answer.

    Attributes:
        name: the name of its file.
        question: the question, in one sentence.
        notes: what one has to know to read the answer; '' if nothing.
        parameters: its parameters, in order.
        sql: a select, with the parameters as {name:Type}.
    """

    name: str
    question: str
    notes: str
    parameters: tuple[Parameter, ...]
    sql: str

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all parameters: those given, else the defaults.

        Args:
            given: values by name.

        Raises:
            SettingsError: a name is unknown, or a parameter without default is missing.
        """
        known = {parameter.name: parameter.default for parameter in self.parameters}
        unknown = [name for name in given if name not in known]
        missing = [name for name in known if known[name] is None and name not in given]
        for problem, names in (("does not take", unknown), ("needs", missing)):
            if names:
                raise SettingsError(
                    f"the question {self.name} {problem} {', '.join(names)}; "
                    f"accepted: {', '.join(map(_signature, self.parameters))}"
                )
        return known | dict(given)


def names() -> list[str]:
    """The names of all questions."""
    return sorted(path.stem for path in FOLDER.glob("*.sql"))


def questions() -> list[Question]:
    """All questions, by name."""
    return [find(name) for name in names()]


def find(name: str) -> Question:
    """The question of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in names():
        raise SettingsError(f"there is no question {name!r}; accepted: {', '.join(names())}")
    return parse(name, (FOLDER / f"{name}.sql").read_text())


def parse(name: str, text: str) -> Question:
    """Read a question from the text of its file.

    Args:
        name: its name.
        text: a comment that describes it, an empty line, the SQL.
    """
    head, _, sql = text.partition("\n\n")
    about, _, parameters = re.sub(r"^-- ?", "", head, flags=re.MULTILINE).partition("\n\n")
    question, *notes = about.splitlines()
    found = (_PARAMETER.fullmatch(line) for line in parameters.splitlines())
    return Question(
        name=name,
        question=question,
        notes=" ".join(notes),
        parameters=tuple(_parameter(one) for one in found if one),
        sql=sql.strip(),
    )


def _parameter(found: re.Match[str]) -> Parameter:
    default = found["default"]
    return Parameter(found["name"], found["type"], default and default.strip("'"), found["meaning"])


def _signature(parameter: Parameter) -> str:
    return parameter.name if parameter.default is None else f"[{parameter.name}]"

"""What a page is about: a section, or a course whose statements name no section."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from loader.errors import SettingsError

# How many names an error message lists.
_SHOWN = 10


@dataclass(frozen=True, order=True)
class Scope:
    """A section with all its courses; with section 0 one course of the statements without section.

    Attributes:
        section_id: the section; 0 for none.
        course_id: the course where there is no section, else ''.
    """

    section_id: int
    course_id: str = ""

    @property
    def title(self) -> str:
        """The heading of the page."""
        if self.section_id:
            return f"Section {self.section_id}"
        return self.course_id or "Statements without section and course"

    @property
    def file(self) -> str:
        """The name of the page's file, which no two scopes share."""
        if self.section_id:
            return f"section-{self.section_id}.html"
        slug = re.sub(r"[^a-z0-9]+", "-", self.course_id.lower()).strip("-")[:60]
        digest = hashlib.sha256(self.course_id.encode()).hexdigest()[:8]
        return f"course-{slug or 'none'}-{digest}.html"

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of the page's queries."""
        return {"section": self.section_id, "course": self.course_id}


def chosen(known: Iterable[Scope], sections: Iterable[int], courses: Iterable[str]) -> list[Scope]:
    """The scopes that a call names; all that are known if it names none.

    Args:
        known: the scopes that have events.
        sections: section ids.
        courses: course ids.

    Raises:
        SettingsError: there are no events of one of them.
    """
    known = list(known)
    named = [*(Scope(section) for section in sections), *(Scope(0, course) for course in courses)]
    for scope in named:
        if scope not in known:
            option = "--section" if scope.section_id else "--course"
            value = scope.section_id or scope.course_id
            accepted = ", ".join(_values(known, bool(scope.section_id))) or "none is loaded yet"
            raise SettingsError(f"{option} {value}: it has no events; accepted: {accepted}")
    return sorted(set(named)) or sorted(known)


def _values(known: list[Scope], is_section: bool) -> Iterator[str]:
    values = sorted(
        str(one.section_id or one.course_id) for one in known if bool(one.section_id) == is_section
    )
    yield from values[:_SHOWN]
    if len(values) > _SHOWN:
        yield f"and {len(values) - _SHOWN:,} more"

"""Write a report: the pages of sections, the index and the page of the pipeline."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loader.report.html import render, require_packages
from loader.report.pipeline import pipeline_page
from loader.report.places import Place, place
from loader.report.reading import Reader, open_reader
from loader.report.scope import Scope, chosen
from loader.report.section import Options, section_page
from loader.settings import Settings

# Says which state of a section each page shows, so that an update knows what has changed.
STATE = "report.json"


@dataclass
class Written:
    """What a report consists of.

    Attributes:
        index: where the index is.
        pages: where each page is that was written, with its bytes.
        unchanged: how many pages an update left as they were.
    """

    index: str
    pages: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0


def write(
    settings: Settings,
    out: str,
    *,
    sections: Iterable[int] = (),
    courses: Iterable[str] = (),
    names: bool = False,
    only_changed: bool = False,
    on_page: Callable[[str, int, int], None] = lambda *_: None,
) -> Written:
    """Write the pages of a report.

    Args:
        settings: which ClickHouse; the smallest group to break down.
        out: a folder, or s3://bucket/prefix.
        sections: section ids; without sections and courses, all that have events.
        courses: course ids of statements that name no section.
        names: whether learners appear by name.
        only_changed: leave the pages of sections that are as they were at the last report.
        on_page: called before each page with its title, its number and the number of pages.

    Raises:
        SettingsError: a section has no events, an argument is wrong or a package is missing;
            nothing is written.
        LoaderError: ClickHouse or the place of the pages refuses.
    """
    require_packages()
    target = place(settings, out)
    options = Options(settings.report_min_group, names, datetime.now(UTC))
    with open_reader(settings) as reader:
        return write_pages(
            reader,
            target,
            options,
            sections=sections,
            courses=courses,
            only_changed=only_changed,
            on_page=on_page,
        )


def write_pages(
    reader: Reader,
    target: Place,
    options: Options,
    *,
    sections: Iterable[int] = (),
    courses: Iterable[str] = (),
    only_changed: bool = False,
    on_page: Callable[[str, int, int], None] = lambda *_: None,
) -> Written:
    """Write the pages of a database into a place; see `write`."""
    rows = reader.rows("index", "sections")
    known = {Scope(row["section_id"], row["course_id"]): row for row in rows}
    scopes = chosen(known, sections, courses)
    state = _State(target, options, only_changed)
    due = [scope for scope in scopes if state.is_due(scope, known[scope])]
    written = Written(target.uri("index.html"), unchanged=len(scopes) - len(due))

    def add(name: str, title: str, make: Callable[[], str]) -> None:
        on_page(title, len(written.pages) + 1, len(due) + 2)
        content = make().encode("utf-8", "replace")
        target.write(name, content)
        written.pages[target.uri(name)] = len(content)

    for scope in due:
        add(scope.file, scope.title, lambda scope=scope: section_page(reader, scope, options))
        state.done(scope, known[scope])
    add("pipeline.html", "Pipeline", lambda: pipeline_page(reader, options))
    shown = [known[one] | {"scope": one} for one in known if one in state]
    add("index.html", "All sections", lambda: _index(shown, options))
    # No page may outlast the events that it shows.
    for name in state.forget({scope.file for scope in known}):
        target.remove(name)
    state.save()
    return written


def _index(sections: list[dict[str, Any]], options: Options) -> str:
    return render("index", place="index", made_at=options.made_at, sections=sections)


class _State:
    """Which state of each section the pages of a place show.

    Args:
        target: the place.
        options: pages made with other options are out of date.
        only_changed: whether to compare; otherwise every page is due.
    """

    def __init__(self, target: Place, options: Options, only_changed: bool):
        self._target = target
        self._made_with = [_look(), options.min_group, options.names]
        self._pages = self._saved()
        self._only_changed = only_changed

    def is_due(self, scope: Scope, row: dict[str, Any]) -> bool:
        """Whether the page of a section has to be written."""
        return not self._only_changed or self._pages.get(scope.file) != row["fingerprint"]

    def __contains__(self, scope: Scope) -> bool:
        """Whether there is a page of a section."""
        return scope.file in self._pages

    def forget(self, known: set[str]) -> list[str]:
        """Forget the pages that are not among these files, and return them."""
        gone = sorted(self._pages.keys() - known)
        for name in gone:
            del self._pages[name]
        return gone

    def done(self, scope: Scope, row: dict[str, Any]) -> None:
        """Remember that a page shows this state."""
        self._pages[scope.file] = row["fingerprint"]

    def save(self) -> None:
        """Write the state, after the pages: an interrupted report is completed by the next one."""
        content = {"made_with": self._made_with, "pages": self._pages}
        self._target.write(STATE, json.dumps(content, indent=1, sort_keys=True).encode())

    def _saved(self) -> dict[str, str]:
        try:
            found = json.loads(self._target.read(STATE) or b"{}")
            return dict(found["pages"]) if found["made_with"] == self._made_with else {}
        except (ValueError, LookupError, TypeError):
            return {}


def _look() -> str:
    """A hash of the version, templates and queries; pages of another one are written again."""
    here = Path(__file__).parent
    digest = hashlib.sha256(version("xapi-elt").encode())
    for path in sorted(path for path in here.rglob("*") if path.suffix not in (".pyc", "")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]

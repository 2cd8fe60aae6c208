"""The page of a section: its videos, questions, pages and learners."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loader.report.charts import chart
from loader.report.html import render
from loader.report.reading import Reader
from loader.report.scope import Scope
from loader.report.tables import every_day, table

# Places of a video's curve that a page holds, and rows of its longest tables.
POINTS = 150
QUESTIONS = 15
ROWS = 200

_VIDEO = ("course_id", "video_key")
_QUESTION = ("course_id", "activity_id", "part_id")


@dataclass(frozen=True)
class Options:
    """What all pages of a report have in common.

    Attributes:
        min_group: a group of fewer learners is not broken down.
        names: whether learners appear by name.
        made_at: when the report was made, in UTC.
    """

    min_group: int
    names: bool
    made_at: datetime


def section_page(reader: Reader, scope: Scope, options: Options) -> str:
    """Make the page of a section or course.

    Args:
        reader: the database.
        scope: the section.
        options: see `Options`.

    Raises:
        LoaderError: a query fails, or a chart does not fit its query.
    """
    section = _Section(reader, scope, options)
    videos = section.videos()
    questions, small_questions = section.questions()
    overview = section.rows("overview")[0] | {
        name: sum(video[name] for video in videos) for name in ("views", "plays", "minutes_played")
    }
    is_small = overview["learners"] < options.min_group
    days = section.rows("days")
    retention, columns = section.retention(videos)
    data = {
        "charts": {
            "days": chart("section", "days", section.columns("days")),
            "retention": chart("section", "retention", columns),
        },
        "tables": {"days": table(every_day(days)), "retention": retention},
    }
    return render(
        "section",
        data,
        place="section",
        made_at=options.made_at,
        min_group=options.min_group,
        scope=scope,
        overview=overview,
        fresh=section.rows("freshness")[0],
        days=days,
        videos=videos,
        most_begun=max((video["learners_begun"] for video in videos), default=0),
        has_catalogue=any(video["position"] is not None for video in videos),
        has_chapters=any(video["chapter"] for video in videos),
        small_videos=any(video["small"] for video in videos),
        questions=questions,
        small_questions=small_questions,
        pages=section.rows("pages", limit=ROWS),
        is_small=is_small,
        away=[] if is_small else section.rows("away", limit=ROWS),
        names={} if is_small else section.names(),
        trust=section.rows("trust"),
    )


class _Section:
    """The queries of one page."""

    def __init__(self, reader: Reader, scope: Scope, options: Options):
        self._reader = reader
        self._scope = scope
        self._options = options

    def rows(self, name: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a query for this section."""
        return self._reader.rows("section", name, **self._scope.values, **values)

    def columns(self, name: str, **values: Any) -> list[str]:
        """The columns of a query."""
        return self._reader.columns("section", name, **self._scope.values, **values)

    def videos(self) -> list[dict[str, Any]]:
        """The videos with their jumps; `small` if too few learners, `open` if there are details."""
        seeks = _by(_VIDEO, self.rows("seeks"))
        videos = self.rows("videos")
        for video in videos:
            video["title"] = video["title"] or video["video_key"]
            video["small"] = video["learners"] < self._options.min_group
            video["open"] = not video["small"]
            video["seeks"] = seeks[_key(_VIDEO, video)]
        return videos

    def retention(self, videos: list[dict[str, Any]]) -> tuple[dict[int, Any], list[str]]:
        """The curves of the videos that have details, by the number of the video; and the columns.

        Args:
            videos: the videos in the order of the page.
        """
        curves = _by(_VIDEO, self.rows("retention", points=POINTS))
        shown = [name for name in self.columns("retention", points=POINTS) if name not in _VIDEO]
        tables = {
            number: table(curves[_key(_VIDEO, video)], shown)
            for number, video in enumerate(videos)
            if video["open"]
        }
        return tables, shown

    def questions(self) -> tuple[list[dict[str, Any]], int]:
        """The hardest questions with their most frequent wrong answers, and how many questions have
        too few learners."""
        group = self._options.min_group
        answers = _by(_QUESTION, self.rows("answers"))
        questions = self.rows("questions", min_group=group, limit=QUESTIONS)
        for question in questions:
            question["answers"] = answers[_key(_QUESTION, question)]
        return questions, self.rows("small_questions", min_group=group)[0]["questions"]

    def names(self) -> dict[str, str]:
        """Names by learner_id; none unless the caller wants them."""
        if not self._options.names:
            return {}
        return {
            row["learner_id"]: row["user_id"] or row["home_page"] or row["learner_id"]
            for row in self.rows("names")
        }


def _key(columns: tuple[str, ...], row: dict[str, Any]) -> tuple:
    return tuple(row[name] for name in columns)


def _by(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> dict[tuple, list[dict[str, Any]]]:
    """Rows by the values of some columns; no rows for other values."""
    groups = defaultdict(list)
    for row in rows:
        groups[_key(columns, row)].append(row)
    return groups

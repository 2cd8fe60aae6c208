"""Rows for the pages of a report without a database: what its queries would return."""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from loader.report.reading import PAGES

Rows = list[dict[str, Any]]

# A title in each direction and script, one that is very long, and ones that are code elsewhere.
TITLES = (
    "Ökologie: Räuber & Beute",
    "مقدمة في علم الأحياء",
    "自然選択と進化",
    "A very long title about everything that there is to know " * 6,
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 1'>",
    "{{7*7}} ${7*7} {% raw %}",
    '"], {"mark": "text", "url": "https://example.org/x"}',
)


class Rehearsal:
    """Answers the queries of the pages from rows that a test gives (see `Reader`).

    Args:
        answers: rows by page and query, e.g. 'section/videos'; no rows for other queries.
    """

    def __init__(self, answers: Mapping[str, Rows]):
        self.answers = dict(answers)

    def rows(self, page: str, name: str, **values: Any) -> Rows:
        """Copies of the rows, because a page may add to them."""
        return [dict(row) for row in self.answers.get(f"{page}/{name}", [])]

    def columns(self, page: str, name: str, **values: Any) -> list[str]:
        """The columns of the query's last select, as the file names them."""
        last = (PAGES / page / f"{name}.sql").read_text().rpartition("\nselect\n")[2]
        columns = last.partition("\nfrom ")[0].split(",\n")
        return [re.split(r"\s|\.", column.strip())[-1] for column in columns]


def nothing() -> Rehearsal:
    """A database in which nothing happened yet."""
    return Rehearsal(
        {
            "section/overview": [_overview(0)],
            "section/freshness": [_fresh(None)],
            "section/small_questions": [{"questions": 0}],
        }
    )


def busy(learners: int = 40, videos: int = 12, titles: tuple[str, ...] = TITLES) -> Rehearsal:
    """A section with everything that a page can show.

    Args:
        learners: how many learners it has.
        videos: how many videos.
        titles: titles of the videos and answers to questions, in turn.
    """
    title = [titles[number % len(titles)] for number in range(max(videos, len(titles)))]
    first = date(2025, 9, 1)
    return Rehearsal(
        {
            "index/sections": [_section(2161, "", learners), _section(0, titles[0], learners)],
            "section/overview": [_overview(learners)],
            "section/freshness": [_fresh("2025-11-30 19:34:36.970")],
            "section/days": [
                {"day": str(first + timedelta(days=day)), "kind": kind, "events": day % 7 + 1}
                for day in range(60)
                for kind in ("Video plays", "Page views", "Answers")
            ],
            "section/videos": [
                _video(number, title[number], learners if number != 1 else 2)
                for number in range(videos)
            ],
            "section/retention": [
                _place(number, second, learners)
                for number in range(videos)
                for second in range(150)
            ],
            "section/seeks": [_seek(number, jump) for number in range(videos) for jump in range(8)],
            "section/questions": [_question(number, learners) for number in range(15)],
            "section/small_questions": [{"questions": 3}],
            "section/answers": [_answer(number, text) for number, text in enumerate(titles)],
            "section/pages": [_page(number, learners) for number in range(10)],
            "section/away": [_away(number, learners) for number in range(min(learners, 200))],
            "section/names": [
                {"learner_id": f"{number:032x}", "home_page": "", "user_id": titles[number % 8]}
                for number in range(min(learners, 200))
            ],
            "section/trust": [_trust(titles[5])],
            "pipeline/balance": [_family("video", 0), _family("all", 3)],
            "pipeline/freshness": [_table("video_events"), _table("page_viewed_events")],
            "pipeline/days": [_day(first, day) for day in range(40)],
            "pipeline/failed": [_failed(text) for text in titles],
            "pipeline/rejected": [_rejected(text) for text in titles],
            "pipeline/duplicates": [
                {"family": "video", "events": 3, "repeats": 4, "most_objects": 2}
            ],
            "pipeline/conflicts": [_conflict(text) for text in titles],
            "pipeline/producers": [_producer(text) for text in titles],
            "pipeline/other": [
                {"verb_iri": text, "object_type": text, "statements": 1200, "last_seen_at": NOW}
                for text in titles
            ],
            "pipeline/runs": [_run("committed", 0), _run("partly", 2)],
        }
    )


NOW = "2025-12-01 06:00:00.000"


def _section(section: int, course: str, learners: int) -> dict[str, Any]:
    return {
        "section_id": section,
        "course_id": course,
        "events": 12_345,
        "learners": learners,
        "plays": 1234,
        "page_views": 55,
        "answers": 0,
        "first_event_at": "2025-09-01 08:00:00.000",
        "last_event_at": "2025-11-30 19:34:36.970",
        "last_load_at": NOW,
        "fingerprint": "1",
    }


def _overview(learners: int) -> dict[str, Any]:
    return {
        "learners": learners,
        "learners_this_week": learners // 2,
        "page_views": learners * 9,
        "attempts": learners * 20,
    }


def _fresh(at: str | None) -> dict[str, Any]:
    return {"newest_event_at": at, "newest_load_at": at, "lines_waiting": 0}


def _video(number: int, title: str, learners: int) -> dict[str, Any]:
    return {
        "course_id": "",
        "video_key": f"https://example.org/{number}",
        "title": title,
        "chapter": None if number > 9 else f"Chapter {number // 4}",
        "position": None if number > 9 else number,
        "length": 600.5 + number,
        "learners": learners,
        "learners_begun": learners,
        "watched": learners // 3,
        "watched_share": 0.33,
        "mean_share_seen": 0.61,
        "views": learners * 2,
        "plays": learners * 3,
        "minutes_played": learners * 9.5,
        "rewatch_share": 0.1,
        "drop_off_place": 600 if number == 2 else 120,
        "lost_share": 0.004,
    }


def _place(number: int, second: int, learners: int) -> dict[str, Any]:
    viewers = max(0, learners - learners * second // 160)
    return {
        "course_id": "",
        "video_key": f"https://example.org/{number}",
        "second": second * 4,
        "viewers": viewers,
        "repeat_views": viewers // 4 if 40 < second < 70 else 0,
    }


def _seek(number: int, jump: int) -> dict[str, Any]:
    return {
        "course_id": "",
        "video_key": f"https://example.org/{number}",
        "from_place": 30 + jump * 30,
        "to_place": jump * 30 + (90 if jump % 2 else 15),
        "seeks": 9 - jump,
        "learners": 5,
        "is_forward": jump % 2,
    }


def _question(number: int, learners: int) -> dict[str, Any]:
    return {
        "course_id": "",
        "activity_id": 1000 + number,
        "part_id": str(number),
        "learners": learners,
        "attempts": learners * 2,
        "first_try_correct_share": 0.05 * number,
        "eventually_correct_share": 0.05 * number + 0.2,
        "hints_per_learner": 0.5,
        "questions": 31,
    }


def _answer(number: int, text: str) -> dict[str, Any]:
    return {
        "course_id": "",
        "activity_id": 1000 + number,
        "part_id": str(number),
        "response": text,
        "learners": 3,
        "attempts": 4,
        "feedback": "",
    }


def _page(number: int, learners: int) -> dict[str, Any]:
    return {
        "course_id": "",
        "page_id": 500 + number,
        "learners": learners if number else 2,
        "views": learners * 3,
        "attempts": learners,
        "mean_best_share": 0.7,
        "completed_share": 0.9,
        "median_minutes_to_attempt": 7.55,
        "pages": 10,
    }


def _away(number: int, learners: int) -> dict[str, Any]:
    return {
        "learner_id": f"{number:032x}",
        "last_at": "2025-11-02 10:00:00.000",
        "days_away": 29,
        "active_days": 4,
        "videos_watched": 3,
        "minutes_played": 61.5,
        "attempts": 12,
        "learners": learners,
    }


def _trust(producer: str) -> dict[str, Any]:
    return {
        "producer": producer,
        "plays": 1800,
        "lost_share": 0.07,
        "reported_only_seconds": 4000.0,
        "paired_seconds": 90_000.0,
        "several_lengths": 1,
        "places_beyond_length": 0,
    }


def _family(family: str, missing: int) -> dict[str, Any]:
    names = "lines statements events duplicates rejected other blank erased voided waiting"
    zero = dict.fromkeys(("surplus", "doubled", "outdated"), 0)
    return {"family": family} | dict.fromkeys(names.split(), 1500) | zero | {"missing": missing}


def _table(name: str) -> dict[str, Any]:
    return {
        "table_name": name,
        "row_count": 3561,
        "bytes": 178_328,
        "newest_event_at": NOW,
        "events_in_future": 0,
        "newest_load_at": NOW,
        "loads_waiting": 1,
        "lines_waiting": 20,
        "lag_seconds": 5400,
    }


def _day(first: date, day: int) -> dict[str, Any]:
    return {
        "day": str(first + timedelta(days=day)),
        "loads": 12,
        "objects": 100 + day,
        "objects_replaced": 0,
        "objects_failed": day % 5 == 4,
        "lines": 2000 + 37 * day,
        "bytes": 7_814_449,
        "events": 1990,
        "duplicates": 6,
        "rejected": 4,
        "commit_seconds_median": 6.5,
    }


def _failed(text: str) -> dict[str, Any]:
    return {
        "committed_at": NOW,
        "status": "failed",
        "bucket": "lake",
        "key": f"section/2161/video/{text}",
        "error": f"s3://lake/{text}: access denied",
        "objects": 30,
    }


def _rejected(text: str) -> dict[str, Any]:
    return {
        "reason": "not JSON",
        "lines": 6,
        "different_lines": 5,
        "since": NOW,
        "example_path": text,
        "example_line": 1,
    }


def _conflict(text: str) -> dict[str, Any]:
    return {
        "statement_id": text,
        "statements": 2,
        "events": 2,
        "learners": 1,
        "verbs": [text, "paused"],
        "last_seen_at": NOW,
        "ids": 8,
    }


def _producer(text: str) -> dict[str, Any]:
    return {
        "home_page": text,
        "family": "video",
        "reject_reason": "",
        "statements": 29,
        "learners": 4,
        "share_without_section": 0.5,
        "share_with_unread_session": 0,
        "unread_session_key": "",
        "share_of_unknown_verbs": 0.001,
        "unknown_verbs": [text],
        "last_seen_at": NOW,
    }


def _run(outcome: str, failed: int) -> dict[str, Any]:
    return {
        "committed_at": NOW,
        "outcome": outcome,
        "mode": "event",
        "objects": 358,
        "objects_failed": failed,
        "lines": 6208,
        "bytes": 7_814_449,
        "duration_seconds": 3.084,
        "seconds_to_tables": 27.5,
        "tables_waiting": failed,
    }

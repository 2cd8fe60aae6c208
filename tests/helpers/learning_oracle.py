"""How learners did on questions and pages, in plain Python, for tests to compare the SQL with.

It is written from the definitions in the models' pages and shares nothing with the SQL. Rows are
those of the event tables, by column.
"""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

Row = dict[str, Any]
Mart = dict[tuple, Row]

SECTION = ("section_id", "course_id")


def is_correct(row: Row) -> bool:
    """All points, or without points the platform's word."""
    if row["score"] is not None and row["out_of"]:
        return row["score"] >= row["out_of"]
    return bool(row["success"])


def share(row: Row) -> float | None:
    """Share of the points."""
    if row["score"] is not None and row["out_of"]:
        return row["score"] / row["out_of"]
    return row["scaled_score"]


def grouped(rows: Iterable[Row], *columns: str) -> dict[tuple, list[Row]]:
    """Rows by their section, course and other columns; ids that are missing are 0 or ''."""
    groups: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in (*SECTION, *columns))].append(row)
    return groups


def with_keys(rows: Iterable[Row]) -> list[Row]:
    """Rows of attempts with ids that can be keys."""
    return [
        row | {"activity_id": row["activity_id"] or 0, "part_id": row["part_id"] or ""}
        for row in rows
    ]


def _order(row: Row, *numbers: str) -> tuple:
    halves = divmod(UUID(row["event_id"]).int, 1 << 64)
    return row["timestamp"], *(row[number] or 0 for number in numbers), halves[1], halves[0]


def _part_order(row: Row) -> tuple:
    return _order(row, "activity_attempt_number", "part_attempt_number")


def _best(shares: Iterable[float | None]) -> float | None:
    return max((one for one in shares if one is not None), default=None)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def learner_parts(attempts: Iterable[Row]) -> Mart:
    """`fct_learner_parts`."""
    made = {}
    columns = ("learner_id", "activity_id", "part_id")
    for key, rows in grouped(with_keys(attempts), *columns).items():
        rows.sort(key=_part_order)
        guids = {row["activity_attempt_guid"] for row in rows} - {None}
        made[key] = {
            "attempts": len(rows),
            "activity_attempts": len(guids),
            "hints": sum(row["hints_requested"] or 0 for row in rows),
            "correct": sum(map(is_correct, rows)),
            "first_try_correct": is_correct(rows[0]),
            "eventually_correct": any(map(is_correct, rows)),
            "best_share": _best(map(share, rows)),
            "first_response": rows[0]["response"],
            "last_response": rows[-1]["response"],
            "first_at": rows[0]["timestamp"],
            "last_at": rows[-1]["timestamp"],
        }
    return made


def questions(attempts: Iterable[Row]) -> Mart:
    """`fct_questions`."""
    parts = [
        dict(zip((*SECTION, "learner_id", "activity_id", "part_id"), key, strict=True)) | row
        for key, row in learner_parts(attempts).items()
    ]
    means = {
        key: _mean(row["first_try_correct"] for row in rows)
        for key, rows in grouped(parts, "learner_id").items()
    }
    made = {}
    for key, rows in grouped(parts, "activity_id", "part_id").items():
        tried = sum(row["attempts"] for row in rows)
        hints = sum(row["hints"] for row in rows)
        first = [float(row["first_try_correct"]) for row in rows]
        other = [means[(*key[:2], row["learner_id"])] for row in rows]
        varies = len(rows) >= 20 and len(set(first)) > 1 and len(set(other)) > 1
        made[key] = {
            "learners": len(rows),
            "attempts": tried,
            "first_try_correct_share": _mean(first),
            "eventually_correct_share": _mean(row["eventually_correct"] for row in rows),
            "relative_difficulty": (hints + tried - sum(row["correct"] for row in rows)) / tried,
            "hints_per_learner": hints / len(rows),
            "discrimination": statistics.correlation(first, other) if varies else None,
        }
    return made


def answers(attempts: Iterable[Row]) -> Mart:
    """`fct_answers`, with short answers alone."""
    firsts = Counter(
        (*key[:2], *key[3:], row["first_response"]) for key, row in learner_parts(attempts).items()
    )
    answered = [row for row in with_keys(attempts) if row["response"] is not None]
    made = {}
    for key, rows in grouped(answered, "activity_id", "part_id", "response").items():
        if len(key[-1]) < 200:
            feedbacks = Counter(row["feedback"] for row in rows if row["feedback"] is not None)
            made[key] = {
                "learners_first": firsts[key],
                "learners_ever": len({row["learner_id"] for row in rows}),
                "attempts": len(rows),
                "is_correct": int(sum(map(is_correct, rows)) * 2 > len(rows)),
                "feedback": max(
                    feedbacks,
                    key=lambda text: (feedbacks[text], len(text.encode()), text),
                    default=None,
                ),
            }
    return made


def objectives(attempts: Iterable[Row]) -> Mart:
    """`fct_objectives`."""
    rows_of: dict[tuple, list[Row]] = defaultdict(list)
    for row in with_keys(attempts):
        for objective in {str(one) for one in json.loads(row["attached_objectives"] or "[]")}:
            rows_of[row["section_id"], row["course_id"], objective].append(row)
    made = {}
    for key, rows in rows_of.items():
        pairs = [
            sorted(found, key=_part_order)
            for found in grouped(rows, "learner_id", "activity_id").values()
        ]
        hints = sum(row["hints_requested"] or 0 for row in rows)
        made[key] = {
            "learners": len({row["learner_id"] for row in rows}),
            "activities": len({row["activity_id"] for row in rows}),
            "attempts": len(rows),
            "first_try_correct_share": _mean(is_correct(found[0]) for found in pairs),
            "eventually_correct_share": _mean(any(map(is_correct, found)) for found in pairs),
            "relative_difficulty": (hints + len(rows) - sum(map(is_correct, rows))) / len(rows),
        }
    return made


def learner_pages(views: Iterable[Row], attempts: Iterable[Row]) -> Mart:
    """`fct_learner_pages`."""
    rows_of: dict[tuple, list[list[Row]]] = defaultdict(lambda: [[], []])
    for number, rows in enumerate((views, attempts)):
        keyed = [row | {"page_id": row["page_id"] or 0} for row in rows]
        for key, found in grouped(keyed, "learner_id", "page_id").items():
            rows_of[key][number] = found
    made = {}
    for key, (viewed, tried) in rows_of.items():
        tried.sort(key=lambda row: _order(row, "page_attempt_number"))
        times = [row["timestamp"] for row in (*viewed, *tried)]
        is_done = any(row["completion"] for row in viewed)
        made[key] = {
            "views": len(viewed),
            "first_at": min(times),
            "last_at": max(times),
            "attempts": len(tried),
            "best_share": _best(map(share, tried)),
            "last_share": share(tried[-1]) if tried else None,
            "is_completed": is_done or any(row["completion"] is not False for row in tried),
            "first_view_at": min((row["timestamp"] for row in viewed), default=None),
            "first_attempt_at": tried[0]["timestamp"] if tried else None,
        }
    return made


def pages(views: Iterable[Row], attempts: Iterable[Row]) -> Mart:
    """`fct_pages`."""
    rows_of: dict[tuple, list[Row]] = defaultdict(list)
    for (section, course, _, page), row in learner_pages(views, attempts).items():
        rows_of[section, course, page].append(row)
    made = {}
    for key, rows in rows_of.items():
        minutes = [
            (_time(row["first_attempt_at"]) - _time(row["first_view_at"])).total_seconds() / 60
            for row in rows
            if row["first_view_at"] and (row["first_attempt_at"] or "") >= row["first_view_at"]
        ]
        made[key] = {
            "learners": len(rows),
            "views": sum(row["views"] for row in rows),
            "attempts": sum(row["attempts"] for row in rows),
            "mean_best_share": _mean(
                row["best_share"] for row in rows if row["best_share"] is not None
            ),
            "completed_share": _mean(row["is_completed"] for row in rows),
            "median_minutes_to_attempt": statistics.median(minutes) if minutes else None,
        }
    return made


def section_days(events: Iterable[Row]) -> Mart:
    """`fct_section_days`, of events with their family."""
    return _counted(
        events,
        lambda row: (str(_time(row["timestamp"]).date()),),
        lambda rows: {
            "plays": sum(row["family"] == "video" and row["verb"] == "played" for row in rows),
            "page_views": sum(row["family"] == "page_viewed" for row in rows),
            "attempts": sum(row["family"] == "part_attempt" for row in rows),
        },
    )


def section_hours(events: Iterable[Row]) -> Mart:
    """`fct_section_hours` in UTC."""
    return _counted(
        events,
        lambda row: (_time(row["timestamp"]).isoweekday(), _time(row["timestamp"]).hour),
        lambda rows: {},
    )


def _counted(
    events: Iterable[Row], when: Callable[[Row], tuple], more: Callable[[list[Row]], Row]
) -> Mart:
    rows_of: dict[tuple, list[Row]] = defaultdict(list)
    for row in events:
        rows_of[(row["section_id"], row["course_id"], *when(row))].append(row)
    return {
        key: {"learners": len({row["learner_id"] for row in rows}), "events": len(rows)}
        | more(rows)
        for key, rows in rows_of.items()
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)

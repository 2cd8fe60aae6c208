"""The marts on the demo's statements and the development data, against independent walks."""

from dataclasses import asdict

import pytest

from tests.helpers import learning_oracle
from tests.helpers.mart_rows import differences
from tests.helpers.mart_server import event_of
from tests.helpers.video_oracle import watched

VIDEO_KEY = ("section_id", "course_id", "learner_id", "video_key")
FAMILIES = ("video", "activity_attempt", "page_attempt", "part_attempt", "page_viewed")

# What the walks of learning_oracle.py give, with the event tables that they read; the key follows
# section and course.
LEARNING = {
    "fct_learner_parts": (
        learning_oracle.learner_parts, ["part_attempt"], "learner_id activity_id part_id",
    ),
    "fct_questions": (learning_oracle.questions, ["part_attempt"], "activity_id part_id"),
    "fct_answers": (learning_oracle.answers, ["part_attempt"], "activity_id part_id response"),
    "fct_objectives": (learning_oracle.objectives, ["part_attempt"], "objective_id"),
    "fct_learner_pages": (
        learning_oracle.learner_pages, ["page_viewed", "page_attempt"], "learner_id page_id",
    ),
    "fct_pages": (learning_oracle.pages, ["page_viewed", "page_attempt"], "page_id"),
}  # fmt: skip


class Demo:
    """The built database: rows of its tables."""

    def __init__(self, database):
        self._database = database

    def rows(self, table: str) -> list[dict]:
        """All rows of a table or view."""
        return self._database.query(f"select * from xapi.{table}")

    def events(self, family: str) -> list[dict]:
        """Rows of an event table, with their learner and family."""
        return [row | {"family": family} for row in self.rows(f"{family}_events")]


@pytest.fixture
def demo(demo_database) -> Demo:
    """The demo's objects and the files of the development data, loaded; all marts built."""
    return Demo(demo_database)


def test_the_video_mart_says_what_a_walk_says(demo):
    events = [event_of(row) for row in demo.rows("video_events")]
    assert len(events) > 3500
    expected = {key: asdict(found) for key, found in watched(events).items()}
    assert differences(expected, demo.rows("fct_learner_videos"), VIDEO_KEY) == []


@pytest.mark.parametrize("mart", LEARNING)
def test_a_learning_mart_says_what_a_walk_says(demo, mart):
    walk, families, key = LEARNING[mart]
    rows = demo.rows(mart)
    if mart == "fct_answers":  # the walk leaves long ones out
        rows = [row for row in rows if len(row["response"]) != 32]
    expected = walk(*(demo.events(family) for family in families))
    assert len(expected) > 30
    assert differences(expected, rows, ("section_id", "course_id", *key.split())) == []


def test_days_and_hours_count_events_of_all_families(demo):
    events = [row for family in FAMILIES for row in demo.events(family)]
    days = learning_oracle.section_days(events)
    hours = learning_oracle.section_hours(events)
    key = ("section_id", "course_id")
    assert differences(days, demo.rows("fct_section_days"), (*key, "day")) == []
    assert differences(hours, demo.rows("fct_section_hours"), (*key, "weekday", "hour")) == []


def test_figures_of_videos_agree_with_each_other(demo):
    videos = {
        (row["section_id"], row["course_id"], row["video_key"]): row
        for row in demo.rows("fct_videos")
    }
    shares = demo.rows("fct_learner_video_shares")
    assert len(videos) == len(demo.rows("dim_videos"))
    assert len(shares) == len(demo.rows("fct_learner_videos"))
    assert sum(row["learners"] for row in videos.values()) == len(shares)
    for row in demo.rows("fct_video_retention"):
        video = videos[row["section_id"], row["course_id"], row["video_key"]]
        assert 0 <= row["viewers"] <= min(video["learners"], row["views"])
    seconds = sum(row["seconds_played"] for row in shares)
    by_section = sum(row["minutes_played"] for row in demo.rows("fct_section_videos"))
    assert by_section * 60 == pytest.approx(seconds)
    learners = {row["learner_id"] for row in demo.rows("dim_learners")}
    assert {row["learner_id"] for row in demo.rows("fct_learner_activity")} == learners

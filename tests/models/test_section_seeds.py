"""The optional seeds: the roster and the catalogue of a section."""

from contextlib import closing

import pytest

from loader import questions
from loader.clickhouse.reader import open_reader
from loader.settings import Settings

SELECTED = ("--select", "int_section_learners", "int_section_videos", "dim_section_learners",
            "dim_videos", "fct_section_videos")  # fmt: skip

ROSTER = """
insert into xapi.section_learners values
    (2161, '', 'https://LMS.example.org', '7', ''),
    (2161, '', 'https://lms.example.org', '007', ''),
    (2161, '', '', '', 'a pseudonym'),
    (2161, '', '', '', 'a pseudonym')
"""

CATALOGUE = """
insert into xapi.section_videos values
    (2161, '', 'https://lms.example.org/video/1#t=3', 'Cells', 'one', 2),
    (2161, '', 'https://lms.example.org/video/2', 'Membranes', 'one', 1)
"""


def who_has_not_watched(database) -> set[tuple]:
    """The answer to the question: title of the video, status, who is meant."""
    question = questions.find("who-has-not-watched")
    values = question.values({"section": 2161})
    database.close()
    with closing(open_reader(Settings(chdb_path=str(database.folder / "clickhouse")))) as reader:
        rows = reader.query(question.sql, **values)
    return {(row["title"], row["status"], row["learners_are"]) for row in rows}


def test_without_seeds_figures_are_of_what_statements_name(built_database):
    [row] = built_database.query("select * from xapi.fct_section_videos where section_id = 2161")
    assert (row["videos_from"], row["learners_from"]) == ("events", "events")
    assert (row["videos"], row["learners"]) == (1, 1)
    [learner] = built_database.query("select * from xapi.dim_section_learners")
    assert learner["is_enrolled"] is None
    [video] = built_database.query("select * from xapi.dim_videos")
    assert video["is_in_catalogue"] is None


def test_with_seeds_figures_are_of_the_course(database):
    database.change(ROSTER)
    database.change(CATALOGUE)
    database.dbt("run", *SELECTED)
    [row] = database.query("select * from xapi.fct_section_videos")
    assert (row["videos_from"], row["learners_from"]) == ("catalogue", "roster")
    assert (row["videos"], row["learners"]) == (2, 3)
    assert row["learners_none"] + row["learners_some"] + row["learners_all"] == 3
    # The account of the roster is the learner of the statements; 007 is somebody else.
    learners = database.query("select * from xapi.dim_section_learners order by is_active")
    assert [(one["is_enrolled"], one["is_active"]) for one in learners] == [
        (True, False), (True, False), (True, True),
    ]  # fmt: skip
    videos = database.query("select * from xapi.dim_videos order by position")
    assert [(one["title"], one["first_at"] is None) for one in videos] == [
        ("Membranes", True), ("Cells", False),
    ]  # fmt: skip
    assert ("Membranes", "not opened", "of the roster") in who_has_not_watched(database)


@pytest.mark.parametrize(
    "seed", ["section_learners", pytest.param("section_videos", marks=pytest.mark.long)]
)
def test_models_build_before_the_seeds_are_loaded(database, seed):
    database.change(f"drop table xapi.{seed}")
    database.dbt("run", *SELECTED)
    assert database.query(f"select * from xapi.int_{seed}") == []
    assert database.query("select * from xapi.fct_section_videos")

"""The named questions, as their files describe them, and the words of a call."""

import json
import re

import pytest
import yaml

from loader import questions
from loader.cli.main import app
from loader.cli.query import parameters_in, shown
from loader.errors import SettingsError
from loader.report.reading import PAGES
from tests.helpers.paths import ROOT
from tests.unit.test_docs import XAPI_ELT, options

DATASETS = ROOT / "dbt_project" / "superset" / "datasets"

EXAMPLE = """\
-- Who did it?
-- A note,
-- in two lines.
--
-- section UInt64: the course section
-- video String = '': only this video; all if left out

select {section:UInt64}, {video:String}
"""


def test_a_question_is_read_from_its_file():
    question = questions.parse("who", EXAMPLE)
    assert (question.question, question.notes) == ("Who did it?", "A note, in two lines.")
    assert question.sql == "select {section:UInt64}, {video:String}"
    assert question.parameters == (
        questions.Parameter("section", "UInt64", None, "the course section"),
        questions.Parameter("video", "String", "", "only this video; all if left out"),
    )


def test_defaults_are_used_and_wrong_parameters_are_named():
    question = questions.parse("who", EXAMPLE)
    assert question.values({"section": 1}) == {"section": 1, "video": ""}
    with pytest.raises(SettingsError, match=r"does not take sektion; accepted: section, \[video\]"):
        question.values({"section": 1, "sektion": 2})
    with pytest.raises(SettingsError, match=r"needs section; accepted: section, \[video\]"):
        question.values({})


@pytest.mark.parametrize("name", questions.names())
def test_a_question_describes_the_parameters_that_its_sql_uses(name):
    question = questions.find(name)
    used = dict(re.findall(r"\{(\w+):(\w+)\}", question.sql))
    assert {one.name: one.type for one in question.parameters} == used
    assert question.question.endswith("?")
    assert re.match(r"(with|select)\b", question.sql)
    # Otherwise `xapi-elt query` would take it for an option of its own.
    assert not {f"--{one}" for one in used} & options(XAPI_ELT.commands["query"])


def test_there_are_the_eight_questions_that_people_ask_first():
    assert app and len(questions.questions()) == 8


@pytest.mark.parametrize(
    ("words", "found", "rest"),
    [
        (["drop-off", "--step", "1", "--video=a=b"], {"step": "1", "video": "a=b"}, ["drop-off"]),
        (["--min-seconds", "2", "rewatched"], {"min_seconds": "2"}, ["rewatched"]),
        (["--a comment\nselect 1"], {}, ["--a comment\nselect 1"]),
    ],
)  # fmt: skip
def test_options_and_words_are_told_apart(words, found, rest):
    assert parameters_in(words) == (found, rest)


def test_an_option_without_a_value_is_an_error():
    with pytest.raises(SettingsError, match="--section needs a value"):
        parameters_in(["drop-off", "--section"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "true"),
        (2161, "2161"),
        (0.5, "0.5"),
        (41717.123456, "41717.12"),
        ("a\x1b[31m\nb", r"a\x1b[31m\nb"),
        ([{"from": 0, "to": 45.5}], "[(from 0, to 45.5)]"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_a_cell_is_short_and_in_one_line(value, text):
    assert shown(value) == text


def tables_in(sql: str) -> set[str]:
    """The models that SQL reads."""
    return set(re.findall(r"\b(?:from|join) ((?:dim|fct|ops)_\w+|rejected_statements)", sql))


def test_the_exposures_name_the_tables_that_are_read():
    of_questions = tables_in("\n".join(one.sql for one in questions.questions()))
    of_pages = tables_in("\n".join(path.read_text() for path in PAGES.glob("*/*.sql")))
    datasets = [yaml.safe_load(path.read_text()) for path in DATASETS.rglob("*.yaml")]
    of_superset = tables_in(
        "\n".join(one.get("sql", f"from {one['table_name']}") for one in datasets)
    )
    read = {
        "named_questions": of_questions,
        "questions_notebook": of_questions,
        "pages": of_pages,
        "superset": of_superset,
    }
    page = yaml.safe_load((ROOT / "dbt_project" / "models" / "exposures.yml").read_text())
    assert read == {
        exposure["name"]: {re.search(r"'(\w+)'", ref)[1] for ref in exposure["depends_on"]}
        for exposure in page["exposures"]
    }


def test_the_notebook_answers_every_question_with_a_plot():
    text = (ROOT / "notebooks" / "questions.ipynb").read_text()
    assert len(text) < 250_000
    assert not re.search(r"/(home|root|work|tmp|Users)/", text)
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    source = "".join("".join(cell["source"]) for cell in code)
    for name in questions.names():
        assert f'answer("{name}"' in source
    outputs = [output for cell in code for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 8
    assert all(output["output_type"] != "error" for output in outputs)

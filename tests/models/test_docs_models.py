"""docs/models.md and the models' pages say what is true of a built database."""

import functools
import json
import re

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.small_database import SmallDatabase

PAGE = (ROOT / "docs" / "models.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUESTIONS = re.findall(
    r"^```sql\n(.*?)^```",
    PAGE.partition("## Five questions")[2].partition("\n## ")[0],
    re.MULTILINE | re.DOTALL,
)
OTHER_PAGES = [page for page in (ROOT / "docs").rglob("*.md") if page.name != "models.md"]
OTHER_QUERIES = re.findall(
    r"^```sql\n(select .*?)^```",
    "".join(page.read_text() for page in OTHER_PAGES),
    re.MULTILINE | re.DOTALL,
)


@functools.cache
def manifest(database: SmallDatabase) -> dict:
    """What dbt knows of the project."""
    database.dbt("parse", artifacts=True)
    return json.loads((database.folder / "target" / "manifest.json").read_text())


def models(database: SmallDatabase) -> dict[str, dict]:
    """The models that people query, by name."""
    found = (node for node in manifest(database)["nodes"].values() if "fqn" in node)
    return {
        node["name"]: node
        for node in found
        if node["resource_type"] == "model"
        and {"events", "video", "learning", "operations"} & set(node["fqn"])
        and not node["name"].startswith("int_")
    }


def keys(database: SmallDatabase) -> dict[str, list[str]]:
    """The columns of which one_row_per holds, by model."""
    found = {}
    for node in manifest(database)["nodes"].values():
        test = node.get("test_metadata") or {}
        if test.get("name") == "one_row_per" and node["attached_node"]:
            found[node["attached_node"].rpartition(".")[2]] = test["kwargs"]["columns"]
    return found


def test_there_are_five_questions():
    assert len(QUESTIONS) == 5


@pytest.mark.parametrize("sql", QUESTIONS)
def test_each_question_has_an_answer(built_database, sql):
    assert built_database.query(sql)


@pytest.mark.parametrize("sql", [sql for sql in QUERIES if sql not in QUESTIONS])
def test_a_sound_database_has_nothing_to_repair(built_database, sql):
    assert built_database.query(sql) == []


@pytest.mark.parametrize("sql", OTHER_QUERIES)
def test_the_queries_of_the_other_pages_run(built_database, sql):
    built_database.query(sql)


def test_the_page_lists_every_table_with_its_grain_and_key(built_database):
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \| `(.*?)` \|$", PAGE, re.MULTILINE)
    listed = {name: (grain, key.split(", ")) for name, grain, key in rows}
    key_of = keys(built_database)
    assert listed == {
        name: (re.split(r"(?<=\.)\s(?=[A-Z])", node["description"])[0], key_of[name])
        for name, node in models(built_database).items()
    }


def test_the_pages_describe_the_columns_that_are_there(built_database):
    for name, node in models(built_database).items():
        if {"video", "learning", "operations"} & set(node["fqn"]) or name == "rejected_statements":
            rows = built_database.query(f"describe table xapi.{name}")
            assert list(node["columns"]) == [row["name"] for row in rows], name
            assert all(column["description"] for column in node["columns"].values()), name


def test_views_keep_their_rows_in_a_build_with_empty(built_database):
    for name, node in models(built_database).items():
        if node["config"]["materialized"] == "kept_view":
            read = re.findall(r"\b(?:ref|source)\(.*?\)\.?(\w*)", node["raw_code"])
            assert set(read) <= {"render", "identifier"}, name


def test_the_page_of_the_bookkeeping_says_what_its_ddl_says(built_database):
    sources = manifest(built_database)["sources"]
    for table in ("elt_applied_loads", "elt_tables"):
        page = sources[f"source.xapi_elt.bookkeeping.{table}"]["columns"]
        rows = built_database.query(f"describe table xapi.{table}")
        assert {row["name"]: row["comment"] for row in rows} == {
            column["name"]: column["description"] for column in page.values()
        }

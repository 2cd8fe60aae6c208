"""What analysts reach: no names, lines or left-over tables, and with a table of sections only their
own ones. The engine's user `default` has the printed rights and filters; `currentUser()` is
`default` here, so that policies of several users of one server are not tried."""

import pytest

from loader import questions
from loader.errors import MissingRightError, PermanentError
from loader.grants import IDENTIFIERS, LEARNERS, LINES, assignments, marts
from loader.pipeline import Pipeline
from loader.settings import Settings
from tests.helpers.paths import ROOT
from tests.helpers.roles import serve, written
from tests.helpers.small_database import SmallDatabase

# What an analyst may not read in any relation; with names, user_id and home_page.
PERSONAL = (*IDENTIFIERS, "line", "rejected_line", "first_half", "learner_kind")

LEFT_OVER = (
    "create table xapi.elt_new__video_events__7 as xapi.video_events",
    "create table xapi.saved_event_ids (event_id UUID) engine MergeTree order by event_id",
    "create table xapi_raw.loads_backup as xapi_raw.loads",
)

# Which rows of a mart are of the sections that the test gives to the analyst.
OWN = "(section_id, if(section_id = 0, course_id, '')) in ({own})"

# The rows of a view as one number, which depends on their values and not on their order.
ROWS = "select count() as n, sum(cityHash64(formatRow('JSONEachRow', *))) as hash from {view}"

SECTIONS = """
select section_id, course_id, count() as events
from (select section_id, course_id from xapi.int_learner_videos final where not is_deleted)
group by section_id, course_id
order by events desc
"""


def prepare(database: SmallDatabase, *more: str, **role: bool) -> list[str]:
    """Give a database the analysts' views and tables; the statements of the role."""
    printed = written("analyst", **role)
    for one in (*printed, *more):
        if one.startswith(("create database", "create table", "create or replace view", "insert")):
            database.change(one)
    database.close()
    return printed


def may_read(query, columns: str, relation: str) -> bool:
    """Whether the user may; that a relation is not there is another error."""
    try:
        query(f"select {columns} from {relation} limit 0")
    except MissingRightError:
        return False
    return True


@pytest.mark.parametrize(
    "role",
    [
        pytest.param({}, id="all"),
        pytest.param({"names": True}, id="names", marks=pytest.mark.long),
        pytest.param({"of_sections": True}, id="sections", marks=pytest.mark.long),
    ],
)
def test_an_analyst_reaches_no_other_relation_and_no_name(database: SmallDatabase, role):
    printed = prepare(database, *LEFT_OVER, **role)
    relations = database.query(
        "select database, name from system.tables where database like 'xapi%' order by all"
    )
    personal = database.query(
        "select database, table, name from system.columns "
        f"where database like 'xapi%' and name in {PERSONAL} order by all"
    )
    database.close()
    named = role.get("names", False)
    granted = {mart.name for mart in marts(ROOT)} - {LINES} - (set() if named else {LEARNERS})
    folder = database.folder
    with serve(folder / "clickhouse", folder, printed), Pipeline.from_env() as pipeline:
        query = pipeline.warehouse.query
        for one in relations:
            relation = f"`{one['database']}`.`{one['name']}`"
            reached = may_read(query, "count()", relation) or may_read(query, "*", relation)
            theirs = one["database"] == "xapi_analyst"
            assert reached == (theirs or one["name"] in granted), relation
        for one in personal:
            column, relation = one["name"], f"`{one['database']}`.`{one['table']}`"
            shown = named and column in ("user_id", "home_page") and one["table"] in granted
            assert may_read(query, f"`{column}`", relation) == shown, (column, relation)
    assert len(relations) > 60 and len(personal) > 30


@pytest.fixture(scope="module")
def demo(_demo_database: SmallDatabase, tmp_path_factory) -> SmallDatabase:
    """A copy of the demo's database, with a roster of all sections."""
    copy = _demo_database.copy(tmp_path_factory.mktemp("analysts") / "demo")
    yield copy
    copy.close()


def figures(query, printed: list[str], condition: str = "1") -> dict[str, dict]:
    """Number of rows and their hash, for every view of the analysts."""
    views = [one.split("`")[3] for one in printed if one.startswith("create or replace view")]
    return {
        view: query(ROWS.format(view=f"xapi_analyst.{view} where {condition}"))[0]
        for view in views
        if view != LEARNERS
    }


def answers(section: int) -> dict[str, list]:
    """The answers to the named questions about a section, in any order."""
    found = {}
    with Pipeline.from_env() as pipeline:
        for question in questions.questions():
            values = question.values({"section": section})
            rows = pipeline.reader.query(question.sql, **values)
            found[question.name] = sorted(map(str, rows))
    return found


def test_an_analyst_of_sections_sees_exactly_their_rows_and_figures(
    demo: SmallDatabase, monkeypatch
):
    found = demo.query(SECTIONS)
    section = next(row["section_id"] for row in found if row["section_id"])
    course = next(row["course_id"] for row in found if row["course_id"] and not row["section_id"])
    other = next(row["section_id"] for row in found if row["section_id"] not in (0, section))
    settings = Settings(home=str(ROOT))
    own = assignments(settings, "default", [section], [course])
    printed = prepare(
        demo, *own, *assignments(settings, "ann", [other], []), names=True, of_sections=True
    )
    pairs = f"({section}, ''), (0, '{course}')"
    expected = figures(demo.query, printed, OWN.format(own=pairs))
    everything = figures(demo.query, printed)
    known = "select distinct learner_id from xapi.int_learner_events"
    learners = demo.query(f"{known} where {OWN.format(own=pairs)}")
    assert len(demo.query(known)) > len(learners) > 0
    demo.close()
    monkeypatch.setenv("XAPI_CHDB_PATH", str(demo.folder / "clickhouse"))
    asked, asked_of_other = answers(section), answers(other)
    # Otherwise the test shows nothing.
    full = {view for view in expected if expected[view]["n"]}
    assert {"video_events", "fct_learner_videos", "fct_learner_activity", "dim_videos"} <= full
    assert all(everything[view]["n"] > expected[view]["n"] for view in full)
    with serve(demo.folder / "clickhouse", demo.folder, printed), Pipeline.from_env() as pipeline:
        query = pipeline.warehouse.query
        assert figures(query, printed) == expected
        assert answers(section) == asked and all(asked_of_other.values())
        assert not any(answers(other).values())
        seen = {row["learner_id"] for row in query(f"select * from xapi_analyst.{LEARNERS}")}
        assert seen == {row["learner_id"] for row in learners}
        assert query("select distinct user_name as name from xapi_analyst.analyst_sections") == [
            {"name": "default"}
        ]
        # Ways around a filter: what ClickHouse knows of a table without reading its rows.
        [times] = query("select count() as n, min(section_id) as a from xapi.video_events")
        assert times["n"] == expected["video_events"]["n"]
        for around in ("mergeTreeIndex('xapi', 'video_events')", "merge('xapi', 'rejected_.*')"):
            with pytest.raises(PermanentError):
                query(f"select count() from {around}")

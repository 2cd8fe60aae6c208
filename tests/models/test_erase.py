"""Erasing a learner in the small database: tables, counts, lines of every form, interruptions."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from loader import expire
from loader.clickhouse.connect import open_warehouse
from loader.errors import SettingsError
from loader.privacy import tombstones
from loader.privacy.erase import Erasure, overwrite_what_came_again
from loader.privacy.identity import identities
from loader.privacy.search import Search, forms_of_pseudonym
from loader.settings import Settings
from tests.helpers.dying import Killed
from tests.helpers.erasure import (
    ACCOUNT,
    HOME,
    MAIL,
    MBOX,
    STUB,
    USER,
    found_in_tables,
    lines_of_several,
    naming_others,
    of_learner,
    unreadable,
)
from tests.helpers.small_database import Attempt, SmallDatabase, statement

SEVEN = {"user": "7", "home_page": "https://LMS.example.org"}
BALANCE = "select * from xapi.ops_statement_balance order by family"
TEXT = "select line from xapi_raw.statements where key = '{}' order by source_line"


@pytest.fixture
def opened(database: SmallDatabase) -> Iterator[tuple]:
    """A connection to the database, and its settings."""
    settings = Settings(chdb_path=str(database.folder / "clickhouse"))
    with closing(open_warehouse(settings)) as warehouse:
        yield warehouse, settings


def run(opened: tuple, also_unparsed: bool = False, **names: str) -> dict:
    """Erase a learner, or what is pending."""
    warehouse, settings = opened
    search = Search(warehouse, settings, identities(**names) if names else [])
    erasure = Erasure(warehouse, settings, search)
    if names:
        erasure.write_tombstones("test")
    receipt = erasure.run(also_unparsed)
    search.close()
    return receipt


def test_an_erased_learner_is_in_no_table_and_all_counts_hold(database: SmallDatabase, opened):
    before = {row["family"]: row for row in opened[0].query(BALANCE)}
    receipt = run(opened, **SEVEN)
    assert receipt["is_complete"], receipt
    after = {row["family"]: row for row in opened[0].query(BALANCE)}
    assert after["all"]["lines"] == before["all"]["lines"]
    assert after["all"]["statements"] == before["all"]["statements"]
    assert after["all"]["erased"] == before["all"]["statements"] - before["all"]["rejected"]
    assert (after["all"]["events"], after["all"]["rejected"]) == (0, before["all"]["rejected"])
    for row in after.values():
        assert row["missing"] == row["surplus"] == row["doubled"] == 0
    for name in ("fct_learner_videos", "fct_questions", "dim_learners", "fct_section_days"):
        assert opened[0].query(f"select count() as n from xapi.{name}") == [{"n": 0}]
    # What a full refresh makes of the raw lines is what the store has.
    differ = """
    select * except (bucket, key) from xapi.stg_xapi__statements
    except select * from xapi.int_xapi__statements
    """
    assert opened[0].query(f"select count() as n from ({differ})") == [{"n": 0}]
    assert "7431" not in json.dumps(receipt) and "example" not in json.dumps(receipt)
    opened[0].close()
    database.close()
    # dbt finds its tables as it left them, and a new statement of the learner has no row.
    database.load(Attempt(30, "section/2161/video/new.jsonl", [of_learner(1, MBOX)]))
    assert "ERROR=0" in database.dbt("run", "--exclude", "operations")
    assert database.query("select count() as n from xapi.video_events") == [{"n": 1}]


def test_only_the_learners_statements_of_a_line_are_overwritten(database: SmallDatabase, opened):
    forms = lines_of_several()
    lines = [line for line, _ in forms.values()]
    rest = [*unreadable(), naming_others()]
    database.close()
    opened[0].close()
    database.load(Attempt(31, "several", [*lines, *rest], outcome="failed"))
    database.close()
    settings = opened[1]
    with closing(open_warehouse(settings)) as warehouse:
        search = Search(warehouse, settings, identities(user=USER, home_page=HOME))
        found = search.find()
        assert [row["status"] for row in found.objects] == ["uncommitted"]
        assert found.lines == len(lines) and not found.tables
        assert len(found.unparsed) == len(rest) - 1 and len(found.named) == 1
        search.close()

        receipt = run((warehouse, settings), user=USER, home_page=HOME)
        assert receipt["is_complete"] and receipt["lines_overwritten"] == len(lines)
        now = [row["line"] for row in warehouse.query(TEXT.format("several"))]
        expected = [after for _, after in forms.values()]
        assert dict(zip(forms, now, strict=False)) == dict(zip(forms, expected, strict=True))
        assert now[len(lines) :] == rest

        run((warehouse, settings), also_unparsed=True, user=USER, home_page=HOME)
        now = [row["line"] for row in warehouse.query(TEXT.format("several"))]
        assert now[len(lines) :] == [STUB] * len(unreadable()) + [naming_others()]


class DiesAfterEventsLeft:
    """A connection whose process is killed when the rows of the learner have left a table."""

    def __init__(self, warehouse, table: str):
        self.query = warehouse.query
        self._command, self._table, self._dead = warehouse.command, table, False

    def command(self, sql: str, data: bytes | None = None, **values) -> None:
        """Like `Warehouse.command`, or the end."""
        if self._dead:
            raise Killed
        self._command(sql, data=data, **values)
        self._dead = "delete where" in sql and values.get("table") == self._table


def test_a_killed_erasure_has_recorded_that_all_loads_are_to_be_compared(opened):
    """A statement of another learner reports an event of the erased one."""
    warehouse, settings = opened
    warehouse.command(
        "insert into xapi.int_xapi__statements select * replace("
        "'another' as learner_id, 'another' as user_id, 99 as source_line)"
        " from xapi.int_xapi__statements where family = 'video' limit 1"
    )
    horizon = (
        "select toString(argMax(horizon, version)) as horizon from xapi.elt_tables"
        " where model = 'video_events'"
    )
    assert warehouse.query(horizon) != [{"horizon": "1970-01-01"}]
    with pytest.raises(Killed):
        run((DiesAfterEventsLeft(warehouse, "video_events"), settings), **SEVEN)
    for _ in range(2):
        assert warehouse.query("select count() as n from xapi.video_events") == [{"n": 0}]
        assert warehouse.query(horizon) == [{"horizon": "1970-01-01"}]
        run(opened)


@pytest.mark.long
def test_an_erasure_that_is_killed_keeps_the_events_of_others(database: SmallDatabase):
    """A statement of the same id came later."""
    shared = "11111111-1111-4111-8111-111111111111"
    database.load(
        Attempt(40, "first", [statement(minute=400, id=shared, actor=ACCOUNT)]),
        Attempt(41, "second", [statement(minute=401, id=shared)]),
    )
    database.dbt("run", "--select", "+video_events")
    events = f"select user_id from xapi.video_events where statement_id = '{shared}'"
    assert database.query(events) == [{"user_id": USER}]
    database.close()
    settings = Settings(chdb_path=str(database.folder / "clickhouse"))
    with closing(open_warehouse(settings)) as warehouse:
        with pytest.raises(Killed):
            dying = DiesAfterEventsLeft(warehouse, "video_events")
            run((dying, settings), user=USER, home_page=HOME)
        assert warehouse.query(events) == []
        assert run((warehouse, settings), user=USER, home_page=HOME)["is_complete"]
    database.dbt("run", "--select", "+video_events")
    assert database.query(events) == [{"user_id": "7"}]


@pytest.mark.long
def test_events_of_others_that_the_learner_hid_are_there_after_the_next_run(
    database: SmallDatabase,
):
    """A statement of the same id came later, and one that the learner had voided."""
    shared, voided = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    voiding = {
        "actor": ACCOUNT,
        "verb": {"id": "http://adlnet.gov/expapi/verbs/voided"},
        "object": {"objectType": "StatementRef", "id": voided},
        "timestamp": "2025-10-06T10:00:00Z",
    }
    database.load(
        Attempt(40, "first", [statement(minute=400, id=shared, actor=ACCOUNT)]),
        Attempt(41, "second", [statement(minute=401, id=shared)]),
        Attempt(42, "voided", [statement(minute=402, id=voided), json.dumps(voiding)]),
    )
    database.dbt("run", "--exclude", "marts.video", "marts.learning")
    events = f"select user_id from xapi.video_events where statement_id in ('{shared}', '{voided}')"
    assert database.query(events) == [{"user_id": USER}]
    database.close()
    settings = Settings(chdb_path=str(database.folder / "clickhouse"))
    with closing(open_warehouse(settings)) as warehouse:
        assert run((warehouse, settings), user=USER, home_page=HOME)["is_complete"]
    database.dbt("run", "--exclude", "marts.video", "marts.learning")
    assert database.query(events) == [{"user_id": "7"}, {"user_id": "7"}]
    [row] = database.query("select * from xapi.ops_statement_balance where family = 'all'")
    assert row["missing"] == row["surplus"] == row["doubled"] == row["waiting"] == 0


@pytest.mark.long
def test_a_learner_whose_lines_have_expired_is_erased_and_stays_so(database: SmallDatabase):
    database.load(Attempt(60, "old", [of_learner(1), of_learner(2, MBOX), statement(minute=3)]))
    database.dbt("run", "--select", "+marts.events")
    database.close()
    settings = Settings(chdb_path=str(database.folder / "clickhouse"))
    with closing(open_warehouse(settings)) as warehouse:
        list(expire.remove(warehouse, expire.plan(warehouse, settings, "1m")))
        assert run((warehouse, settings), user=USER, home_page=HOME)["is_complete"]
        assert run((warehouse, settings), mbox=MAIL)["is_complete"]
        assert found_in_tables(warehouse) == []
    families = (
        "select family, count() as n, countIf(learner_kind != '') as known "
        "from xapi.int_xapi__statements where source_path = 'lake/old' group by family order by n"
    )
    expected = [
        {"family": "video", "n": 1, "known": 1},
        {"family": "erased", "n": 2, "known": 0},
    ]
    assert database.query(families) == expected
    database.dbt("run", "--full-refresh", "--select", "+marts.events")
    assert database.query(families) == expected
    database.close()
    with closing(open_warehouse(settings)) as warehouse:
        assert found_in_tables(warehouse) == []


@pytest.mark.long
def test_lines_that_came_again_are_overwritten_after_a_run_of_dbt(database: SmallDatabase):
    settings = Settings(chdb_path=str(database.folder / "clickhouse"))
    with closing(open_warehouse(settings)) as warehouse:
        assert overwrite_what_came_again(warehouse, settings) == 0
        run((warehouse, settings), user=USER, home_page=HOME)
        assert overwrite_what_came_again(warehouse, settings) == 0
    database.load(Attempt(50, "again", [of_learner(1), statement(minute=500)]))
    database.dbt("run", "--select", "int_xapi__statements")
    families = "select family from xapi.int_xapi__statements where source_path = 'lake/again'"
    assert {row["family"] for row in database.query(families)} == {"erased", "video"}
    database.close()
    with closing(open_warehouse(settings)) as warehouse:
        search = Search(warehouse, settings)
        assert [row["lines"] for row in search.find().objects] == [1]
        search.close()
        assert overwrite_what_came_again(warehouse, settings) == 1
        lines = [row["line"] for row in warehouse.query(TEXT.format("again"))]
        assert lines == [STUB, statement(minute=500)]
        assert overwrite_what_came_again(warehouse, settings) == 0


def test_a_pseudonym_stands_for_its_learner_and_tombstones_move_to_another_database(opened):
    warehouse, settings = opened
    [row] = warehouse.query("select distinct learner_id from xapi.video_events")
    assert {form.user_id for form in forms_of_pseudonym(warehouse, settings, **row)} == {"7"}
    with pytest.raises(SettingsError, match="no statement has this learner_id"):
        forms_of_pseudonym(warehouse, settings, "0" * 32)
    search = Search(warehouse, settings, identities(**SEVEN))
    Erasure(warehouse, settings, search).write_tombstones("art. 17")
    search.close()
    text = tombstones.exported(warehouse)
    [listed] = tombstones.listed(warehouse)
    assert listed["reason"] == "art. 17" and not listed["finished_at"]
    # A restore of an older backup: no tombstones, and another key.
    for table in ("erased_learners", "erasure_key"):
        warehouse.command(f"truncate table xapi_raw.{table}")
    warehouse.command("insert into xapi_raw.erasure_key (first_half, second_half) values (1, 2)")
    assert tombstones.import_from(warehouse, text) == 1
    assert tombstones.import_from(warehouse, text) == 0
    assert tombstones.exported(warehouse) == text
    other = text.replace('"first_half": "', '"first_half": "1')
    with pytest.raises(SettingsError, match=r"with another key|no export"):
        tombstones.import_from(warehouse, other)
    with pytest.raises(SettingsError, match="no export"):
        tombstones.import_from(warehouse, "{}")
    assert run(opened)["rows_removed"]["int_xapi__statements"] > 0


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"user": "7"},
        {"home_page": "https://lms.example.org"},
        {"user": "7", "home_page": "", "mbox": "a@example.org"},
        {"mbox": " "},
    ],
)
def test_a_call_that_does_not_name_one_learner_is_refused(names):
    with pytest.raises(SettingsError, match="exactly one learner"):
        identities(**names)

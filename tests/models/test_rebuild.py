"""Rebuilding a range of days: exactly the range, from raw, with nothing else touched.

    dbt run --select video_events --vars '{start_date: 2025-03-01, end_date: 2025-03-31}'

One database is built for the module; each test works on its own copy of it.
"""

import re
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import chdb
import pytest

from loader.pipeline import Pipeline
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.rebuild_lake import LINES, LOADS, MARCH, checksum, files, line, rebuild

TABLES = ("video_events", "page_viewed_events", "int_xapi__statements")
WINTER = "toDate(timestamp) between '2024-12-01' and '2025-01-31'"

BY_MONTH = """
select toString(toYYYYMM(timestamp)) as month, count() as n
from {database:Identifier}.video_events
group by month
order by month
"""

# A row that no line yields.
TAMPER = """
insert into {database:Identifier}.video_events
select * replace (
    toDateTime64({time:String}, 3, 'UTC') as timestamp,
    'tampered' as user_id,
    {section:UInt64} as section_id,
    generateUUIDv4(event_id) as event_id
)
from {database:Identifier}.video_events
limit 3
"""


@pytest.fixture(scope="module")
def built(empty_models, tmp_path_factory) -> Path:
    """A folder with a database in which all loads are applied, and a warm target folder."""
    folder = empty_models.copy(tmp_path_factory.mktemp("rebuild") / "copy").folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAPI_CHDB_PATH", str(folder / "clickhouse"))
        for name, text in files().items():
            path = folder / "lake" / name
            path.parent.mkdir(parents=True)
            path.write_text(text)
            with Pipeline.from_env() as pipeline:
                assert pipeline.load(path).complete
        run_dbt("run", folder=folder)
    return folder


@pytest.fixture
def copy(built, tmp_path, monkeypatch) -> Path:
    """A copy of the database for one test; the settings name it."""
    shutil.copytree(built / "clickhouse", tmp_path / "clickhouse", symlinks=True)
    shutil.copytree(built / "target", tmp_path / "target")
    monkeypatch.setenv("XAPI_CHDB_PATH", str(tmp_path / "clickhouse"))
    return tmp_path


def test_a_rebuild_with_the_same_logic_changes_nothing(copy):
    with Pipeline.from_env() as pipeline:
        before = {table: checksum(pipeline, table) for table in TABLES}
    rebuild(copy, select="int_xapi__statements+")
    with Pipeline.from_env() as pipeline:
        assert {table: checksum(pipeline, table) for table in TABLES} == before
        assert before["video_events"][0] == LOADS * LINES * 2 // 3 + 267


def test_an_object_whose_replacement_waits_is_in_a_rebuilt_table_once(built, copy):
    """The rebuilt store has no lines of the old version, so the new one has to come with it."""
    path = built / "lake" / "06" / "a.jsonl"
    old = path.read_text()
    path.write_text("\n".join(old.splitlines()[:300]))
    with Pipeline.from_env() as pipeline:
        assert pipeline.load(path, policy="replace").complete
    path.write_text(old)
    rebuild(copy, select="int_xapi__statements+")
    with Pipeline.from_env() as pipeline:
        assert checksum(pipeline, condition="endsWith(source_path, '/06/a.jsonl')")[0] == 200


@pytest.mark.long
def test_a_rebuilt_table_has_the_same_applied_loads_as_before(copy):
    applied = "select table_name, load_id from {database:Identifier}.ops_applied_loads order by all"
    with Pipeline.from_env() as pipeline:
        before = pipeline.warehouse.query(applied)
    for _ in range(2):
        rebuild(copy, select="int_xapi__statements+")
    with Pipeline.from_env() as pipeline:
        assert pipeline.warehouse.query(applied) == before
        assert {table["name"]: table["waiting_loads"] for table in pipeline.status().tables} == {
            row["table_name"]: 0 for row in before
        }
    printed = run_dbt("run", "--select", "int_xapi__statements", *TABLES[:2], folder=copy)
    assert printed.count("[nothing new in") == 3


@pytest.fixture(scope="module")
def winter(built, tmp_path_factory) -> tuple[dict, dict, dict]:
    """Checksums of the intact table, of one that was tampered with inside and outside of a range,
    and of the same after the range was rebuilt: of the range (inside), of a month in it that has
    no events (empty), of events in it that were uploaded months later (late), and of the rest."""
    folder = tmp_path_factory.mktemp("winter")
    shutil.copytree(built / "clickhouse", folder / "clickhouse", symlinks=True)
    late = f"endsWith(source_path, 'late.jsonl') and {WINTER}"
    conditions = {
        "inside": WINTER,
        "empty": "toYYYYMM(timestamp) = 202412",
        "late": late,
        "outside": f"not {WINTER}",
    }

    def checksums(pipeline) -> dict:
        return {name: checksum(pipeline, condition=sql) for name, sql in conditions.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAPI_CHDB_PATH", str(folder / "clickhouse"))
        with Pipeline.from_env() as pipeline:
            run = pipeline.warehouse.command
            intact = checksums(pipeline)
            for time in ("2024-12-01 00:00:00", "2024-12-09 09:00:00", "2025-01-31 23:59:59.999"):
                run(TAMPER, time=time, section=1)
            for time in ("2024-11-30 23:59:59.999", "2025-02-01 00:00:00"):
                run(TAMPER, time=time, section=1)
            for what in ("toHour(timestamp) = 7 and toYYYYMM(timestamp) in (202501, 202502)", late):
                run(f"delete from {{database:Identifier}}.video_events where {what}")
            tampered = checksums(pipeline)
        rebuild(folder, "{start_date: 2024-12-01, end_date: 2025-01-31}")
        with Pipeline.from_env() as pipeline:
            return intact, tampered, checksums(pipeline)


def test_rows_that_were_tampered_with_are_restored_inside_the_range(winter):
    intact, tampered, rebuilt = winter
    assert tampered["inside"] != intact["inside"]
    assert rebuilt["inside"] == intact["inside"]


def test_rows_that_were_tampered_with_outside_the_range_are_left(winter):
    intact, tampered, rebuilt = winter
    assert tampered["outside"] != intact["outside"]
    assert rebuilt["outside"] == tampered["outside"]


def test_a_month_that_should_be_empty_becomes_empty(winter):
    intact, tampered, rebuilt = winter
    assert (intact["empty"][0], tampered["empty"][0], rebuilt["empty"][0]) == (0, 6, 0)


def test_events_that_were_uploaded_months_later_are_rebuilt_with_their_days(winter):
    intact, tampered, rebuilt = winter
    assert (intact["late"][0], tampered["late"][0]) == (133, 0)
    assert rebuilt["late"] == intact["late"]


def test_with_a_section_and_part_of_a_month_only_that_is_rebuilt(copy):
    inside = "section_id = 1 and toDate(timestamp) between '2025-03-10' and '2025-04-02'"
    with Pipeline.from_env() as pipeline:
        intact = checksum(pipeline, condition=inside)
        for section in (1, 2):
            for day in ("2025-03-09", "2025-03-10", "2025-04-02", "2025-04-03"):
                pipeline.warehouse.command(TAMPER, time=f"{day} 12:00:00", section=section)
        outside = checksum(pipeline, condition=f"not ({inside})")
    rebuild(copy, "{start_date: 2025-03-10, end_date: 2025-04-02, section_id: 1}")
    with Pipeline.from_env() as pipeline:
        assert checksum(pipeline, condition=inside) == intact
        assert checksum(pipeline, condition=f"not ({inside})") == outside


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ("{start_date: 2025-03-31, end_date: 2025-03-01}", "is after end_date"),
        ("{start_date: 2025-03-01, end_date: '2025-03-32'}", "is no date; give a UTC day"),
        ("{start_date: 2025-03-01}", "var end_date is missing"),
        ("{start_date: 2025-03-01, end_date: 2025-03-31, section_id: 1 or 1}", "no whole number"),
        (
            "{start_date: 2025-03-01, end_date: 2025-03-31, section_id: 99}",
            "no statement of section",
        ),
    ],
)
def test_wrong_variables_stop_before_anything_is_touched(copy, variables, says):
    output = run_dbt(
        "run", "--select", "video_events", "--vars", variables, folder=copy, fails=True
    )
    assert says in output
    assert " OK " not in output
    with Pipeline.from_env() as pipeline:
        tables = pipeline.warehouse.query(
            "select name from system.tables where database = {database:String} "
            "and (name like '%rebuild%' or name like '%lock%')"
        )
        assert tables == []


def test_a_model_alone_sees_loads_that_were_never_staged(copy):
    new = [line(0, datetime(2025, 9, 9, tzinfo=UTC)), line(3, datetime(2025, 3, 9, tzinfo=UTC))]
    (copy / "new.jsonl").write_text("\n".join(new))
    with Pipeline.from_env() as pipeline:
        before = checksum(pipeline)[0]
        pipeline.load(copy / "new.jsonl")
    rebuild(copy)
    with Pipeline.from_env() as pipeline:
        # A rebuild has what is of its days,
        assert checksum(pipeline)[0] == before + 1
    run_dbt("run", "--select", "video_events", folder=copy)
    with Pipeline.from_env() as pipeline:
        # and a run all the rest, once.
        assert checksum(pipeline)[0] == before + 2


def test_a_forced_reload_doubles_nothing(copy, built):
    what = "select toString(groupBitXor(cityHash64(event_id))) as ids, count() as n from "
    with Pipeline.from_env() as pipeline:
        before = pipeline.warehouse.query(what + "{database:Identifier}.video_events")
        summary = pipeline.load(built / "lake" / "07", built / "lake" / "99", force=True)
        assert summary.counts == {"committed": 2}
    run_dbt("run", "--select", "video_events", folder=copy)
    with Pipeline.from_env() as pipeline:
        assert pipeline.warehouse.query(what + "{database:Identifier}.video_events") == before


def test_only_the_loads_of_the_range_are_read_from_raw(copy):
    with Pipeline.from_env() as pipeline:
        # One part, as after months of merges: order, not luck, must keep the loads together.
        pipeline.warehouse.command("optimize table {raw:Identifier}.statements final")
        whole = pipeline.warehouse.query("select count() as n from {raw:Identifier}.statements")
    rebuild(copy, "{start_date: 2025-01-01, end_date: 2025-01-09}")
    select = rebuilding_select(copy)
    with Pipeline.from_env() as pipeline:
        # Granules that hold lines of the two loads (the first of all, and the late one), and those
        # before one that begins with them: the index knows only what a granule begins with.
        granules = pipeline.warehouse.query(
            """
            with (
                select arrayCumSum(groupArray(rows_in_granule))
                from (
                    select * from mergeTreeIndex({raw:Identifier}, statements) order by mark_number
                )
            ) as ends
            select count() as n, sum(lines) as lines
            from (
                select lines, wanted or leadInFrame(begins) over (
                    order by granule rows between unbounded preceding and unbounded following
                ) as is_read
                from (
                    select
                        arrayFirstIndex(end -> _part_offset < end, ends) as granule,
                        count() as lines,
                        max(is_wanted) as wanted,
                        argMin(is_wanted, _part_offset) as begins
                    from (
                        select _part_offset,
                            key like '%/00/a.jsonl' or key like '%/99/late.jsonl' as is_wanted
                        from {raw:Identifier}.statements
                    )
                    group by granule
                )
            )
            where is_read
            """
        )[0]
        estimate = pipeline.warehouse.query(f"explain estimate {select}")
    read = {row["table"]: (row["marks"], row["rows"]) for row in estimate}
    assert read["statements"] == (granules["n"], granules["lines"])
    assert read["statements"][1] < whole[0]["n"] / 1.6
    connection = chdb.connect(str(copy / "clickhouse"))
    done = connection.query(f"select count() from ({select})", "TSV")
    connection.close()
    # All tables together: raw, and the few rows of ledger and bookkeeping.
    assert done.storage_rows_read() < granules["lines"] + 3000


def rebuilding_select(folder: Path) -> str:
    """The select of the statement with which dbt read raw, from its log."""
    log = (folder / "logs" / "dbt.log").read_text()
    found = re.findall(
        r"insert into [^\n]*elt_new__[^\n]*\n(\s*select.*?)\n\s*settings ", log, re.DOTALL
    )
    return next(text for text in found if "JSONExtract" in text or "stg_xapi" in text)


def test_a_reader_sees_all_of_a_rebuild_or_nothing_of_it(copy, monkeypatch):
    with Pipeline.from_env() as pipeline:
        intact = pipeline.warehouse.query(BY_MONTH)
        pipeline.warehouse.command(TAMPER, time="2025-03-05 12:00:00", section=1)
        pipeline.warehouse.command(TAMPER, time="2025-04-05 12:00:00", section=2)
        tampered = pipeline.warehouse.query(BY_MONTH)
    with ClickHouseHttp(copy / "clickhouse") as server:
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(server.port))
        seen, lock = [], threading.Lock()

        def read_before(sql: str) -> None:
            """Read as others do, before each statement of the rebuild."""
            if "count() as n\nfrom" not in sql:
                with lock:
                    seen.append(reader.warehouse.query(BY_MONTH))

        with Pipeline.from_env() as reader:
            seen.append(reader.warehouse.query(BY_MONTH))
            server.fault = read_before
            rebuild(copy, "{start_date: 2025-03-01, end_date: 2025-04-30}")
            server.fault = None
            seen.append(reader.warehouse.query(BY_MONTH))
    assert seen[0] == tampered and seen[-1] == intact and len(seen) > 20
    order = [[tampered, intact].index(state) for state in seen]
    assert order == sorted(order)


@pytest.mark.long
def test_a_rebuild_that_the_server_received_twice_fails(copy, monkeypatch):
    # As when a client that got no answer sends its statement again: exchanged twice is as before.
    with Pipeline.from_env() as pipeline:
        intact = pipeline.warehouse.query(BY_MONTH)
        pipeline.warehouse.command(TAMPER, time="2025-03-05 12:00:00", section=1)
        tampered = pipeline.warehouse.query(BY_MONTH)
    twice = []

    def exchange_before(sql: str) -> None:
        if re.search("exchange tables .*elt_new__", sql) and not twice:
            twice.append(sql)
            with Pipeline.from_env() as other:
                other.warehouse.command(sql)

    with ClickHouseHttp(copy / "clickhouse") as server:
        server.fault = exchange_before
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(server.port))
        said = rebuild(copy, MARCH, fails=True)
        assert "was not exchanged" in said and "run the same command again" in said
        with Pipeline.from_env() as pipeline:
            assert pipeline.warehouse.query(BY_MONTH) == tampered
        soon = MARCH[:-1] + ", lock_expires_seconds: 1}"
        rebuild(copy, soon)
        with Pipeline.from_env() as pipeline:
            assert pipeline.warehouse.query(BY_MONTH) == intact

"""Two loads of one object version, and the commit with the earlier time becomes visible later: a
server's clock that is behind, or an insert that took long. The earlier one counts, everywhere."""

from contextlib import closing

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.compare import TABLES
from tests.helpers.dbt_runs import run_dbt

LINE = (
    b'{"actor":{"account":{"name":"1"}},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},'
    b'"object":{"id":"v"},"timestamp":"2025-10-01T00:00:00Z"}\n'
)
KEY = "section/1/video/a.jsonl"
OTHER = "00000000-0000-4000-8000-000000000001"

# What another loader would have written some seconds before.
ITS_LINES = """
insert into {raw:Identifier}.statements
select * replace ({other:UUID} as load_id) from {raw:Identifier}.statements where key = {key:String}
"""
ITS_COMMIT = """
insert into {raw:Identifier}.loads
select * replace ({other:UUID} as load_id, committed_at - {seconds:UInt32} as committed_at)
from {raw:Identifier}.loads
where key = {key:String}
"""

DAYS = 86400

RUN = ("run", "--select", "+video_events", "rejected_statements")


# Loads of more than two days ago are compared only if their number has changed.
@pytest.mark.parametrize(
    ("seconds", "applied_before"),
    [
        (1, True),
        pytest.param(1, False, marks=pytest.mark.long),
        pytest.param(10 * DAYS, True, marks=pytest.mark.long),
    ],
)
def test_a_commit_that_is_seen_late_counts_once(
    chdb_path, put, bucket, tmp_path, seconds, applied_before
):
    put(KEY, LINE + b'{"verb":{"id":"x"}}\nnot json\n')
    put("section/1/video/b.jsonl", LINE)
    settings = Settings.from_env()

    def write(*statements: str) -> None:
        with closing(open_warehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
            for sql in statements:
                warehouse.command(sql, other=OTHER, key=KEY, seconds=seconds)

    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        items = [S3Object(bucket, KEY), S3Object(bucket, "section/1/video/b.jsonl")]
        assert all(o.outcome == "committed" for b in load(warehouse, settings, items) for o in b)
    write(ITS_LINES)
    if applied_before:
        run_dbt(*RUN, folder=tmp_path)
    write(ITS_COMMIT)
    for _ in range(2):
        run_dbt(*RUN, folder=tmp_path)
        with closing(open_warehouse(settings)) as warehouse:
            lines = warehouse.query(
                "select toString(load_id) = {other:String} as late, count() as lines, "
                "uniqExact(source_path, source_line) as places "
                "from {database:Identifier}.int_xapi__statements group by late order by late",
                other=OTHER,
            )
            counts = {
                table: warehouse.query(f"select count() as n from {{database:Identifier}}.{table}")
                for table in (TABLES["video"], "rejected_statements")
            }
        assert [(row["late"], row["lines"]) for row in lines] == [(0, 1), (1, 3)]
        assert {table: rows[0]["n"] for table, rows in counts.items()} == {
            "video_events": 1,
            "rejected_statements": 2,
        }

"""The stand-in for a ClickHouse server: what clickhouse-connect and dbt need from it."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.helpers.clickhouse_clients import ask, connect
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.secrets import MARK, PASSWORD

# clickhouse-connect -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("String", 'it\'s "quoted", a \\ and \t tab\nand {braces:String}'),
        ("String", "Ünïcödé 学习 🎓"),
        ("Array(String)", ["a'b", "c\\d", "", "é,\n"]),
        ("Array(UInt64)", [1, 2**63]),
        ("UUID", uuid.UUID("6f1ed002-ab5e-4d3b-9a1f-0123456789ab")),
        ("Nullable(String)", None),
        ("Array(String)", [f"bucket/section/{n}/video/é.jsonl" for n in range(1000)]),  # as a form
    ],
)
def test_a_parameter_arrives_as_it_was_sent(server: ClickHouseHttp, kind: str, value: Any) -> None:
    """Values travel beside the SQL, which is all that is recorded."""
    client = connect(server)
    server.queries.clear()
    answer = client.query(f"SELECT {{value:{kind}}}", parameters={"value": value})
    assert answer.result_rows == [(value,)]
    assert server.queries == [f"SELECT {{value:{kind}}}\n FORMAT Native"]


def test_a_parameter_ends_with_its_request(server: ClickHouseHttp) -> None:
    """Of the session, the next request does not know it."""
    client = connect(server)
    assert client.command("SELECT {a:UInt8}", parameters={"a": 1}) == 1
    with pytest.raises(DatabaseError, match="456"):
        client.query("SELECT {a:UInt8}, {b:UInt8}", parameters={"b": 2})


@pytest.mark.parametrize("compress", [False, "gzip", "lz4", "zstd"])
def test_rows_are_inserted_and_read_in_native_format(
    server: ClickHouseHttp, compress: bool | str
) -> None:
    """Rows end in `;` and white space, which chDB would cut from data in the SQL."""
    client = connect(server, compress=compress)
    rows = [(uuid.uuid4(), f"{n} ü ;\n \t;") for n in range(5000)]
    summary = client.insert("lines", rows, column_names=["load_id", "line"])
    assert summary.written_rows == 5000
    assert sorted(client.query("SELECT * FROM lines").result_rows) == sorted(rows)
    assert not any("ü" in sql for sql in server.queries)


@pytest.mark.parametrize("data", [b"a ;\nb;\n", iter([b"a ;\n", b"b;\n"])])
def test_raw_data_is_inserted(server: ClickHouseHttp, data: Any) -> None:
    """In the body behind the SQL, and streamed with the SQL in the URL."""
    client = connect(server)
    summary = client.raw_insert("lines", ["line"], data, fmt="TSV")
    assert summary.written_rows == 2
    assert client.query("SELECT line FROM lines").result_columns == [["a ;", "b;"]]


def test_input_reads_the_body(server: ClickHouseHttp) -> None:
    """The direct mode of the loader: SQL with parameters, lines in the body."""
    client, load_id = connect(server), uuid.uuid4()
    summary = client.command(
        "INSERT INTO lines SELECT {load_id:UUID}, line FROM input('line String')"
        " SETTINGS max_threads = 1 FORMAT LineAsString",
        parameters={"load_id": load_id},
        data=b'{"a": "\\n;"}\n\n  x;\n',
    )
    assert summary.written_rows == 3
    assert client.query("SELECT DISTINCT load_id FROM lines").result_rows == [(load_id,)]
    assert client.query("SELECT line FROM lines").result_columns == [["", "  x;", '{"a": "\\n;"}']]


def test_statements_answer_what_a_server_answers(server: ClickHouseHttp) -> None:
    """Values, nothing, no rows but columns."""
    client = connect(server)
    assert client.command("EXISTS TABLE lines") == 1
    assert client.command("SELECT 1 WHERE 0") == ""
    done = client.command("INSERT INTO lines SELECT generateUUIDv4(), '' FROM numbers(3)")
    assert done.written_rows == 3
    assert client.query("SELECT * FROM lines LIMIT 0").column_names == ("load_id", "line")
    assert client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'


def test_a_setting_ends_with_its_request_and_set_lasts(server: ClickHouseHttp) -> None:
    """The session keeps what SET set, and temporary tables."""
    client, sql = connect(server), "SELECT getSetting('max_block_size')"
    client.command("SET max_block_size = 1000")
    client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    assert client.query(sql, settings={"max_block_size": 7}).result_rows == [(7,)]
    assert client.query(sql).result_rows == [(1000,)]
    client.command("SET max_block_size = 2000")
    assert client.query(sql, settings={"max_block_size": 7}).result_rows == [(7,)]
    assert client.query(sql).result_rows == [(2000,)]
    assert client.command("EXISTS TEMPORARY TABLE mine") == 1
    assert connect(server).query(sql).result_rows != [(1000,)]
    assert connect(server).command("EXISTS TEMPORARY TABLE mine") == 0


def test_a_database_ends_with_its_request_and_use_lasts(server: ClickHouseHttp) -> None:
    """dbt sends its database with each request."""
    client, sql = connect(server), "SELECT currentDatabase()"
    client.command("CREATE DATABASE IF NOT EXISTS other")
    assert connect(server, database="other").command(sql) == "other"
    assert client.command(sql) == "default"
    client.command("USE other")
    assert client.command(sql) == "other"
    client.database = "absent"
    with pytest.raises(DatabaseError) as refused:
        client.query(sql)
    assert refused.value.code == 81


@pytest.mark.parametrize(
    ("sql", "code", "message"),
    [
        ("SELECT * FROM absent", 60, "UNKNOWN_TABLE"),
        ("SELECT number, throwIf(number = 3000000) FROM numbers(5000000)", 395, "throwIf"),
        ("SELECT throwIf(1, unhex('FFFE61'))", 395, r"xfea: while"),
    ],
)
def test_the_query_after_an_error_is_right(
    server: ClickHouseHttp, sql: str, code: int, message: str
) -> None:
    """chDB would answer it with what the failed query left on the session's connection."""
    sql += " SETTINGS max_block_size = 1000"
    client, session = connect(server), str(uuid.uuid4())
    with pytest.raises(DatabaseError, match=message) as refused:
        client.query(sql)
    assert refused.value.code == code
    assert client.query("SELECT 42").result_rows == [(42,)]
    assert ask(server, "POST", sql, session_id=session)[0] >= 400
    assert ask(server, "POST", "SELECT 42", session_id=session)[1] == "42\n"


def test_a_wrong_password_is_refused(server: ClickHouseHttp) -> None:
    """By the code of ClickHouse, and before anything is recorded."""
    with pytest.raises(DatabaseError, match="Authentication failed") as refused:
        connect(server, password=f"wrong-{MARK}")
    assert refused.value.code == 516
    assert server.queries == []


def test_clients_do_not_wait_for_each_other(server: ClickHouseHttp) -> None:
    """Queries of several connections run at once; the second of a busy session is refused."""
    sleep = threading.Thread(
        target=ask, args=(server, "POST", "SELECT sleep(1)"), kwargs={"session_id": "busy"}
    )
    sleep.start()
    time.sleep(0.2)
    processes = connect(server).query("SELECT query FROM system.processes").result_columns[0]
    assert "SELECT sleep(1)" in processes
    assert "Code: 373" in ask(server, "POST", "SELECT 1", session_id="busy")[1]
    assert sleep.is_alive()
    sleep.join()
    assert ask(server, "POST", "SELECT 1", session_id="busy")[:2] == (200, "1\n")


# dbt ----------------------------------------------------------------------------------------

PROJECT = {
    "dbt_project.yml": "{name: shop, profile: shop, flags: {send_anonymous_usage_stats: false}}",
    "models/numbers_view.sql": "select number as id, toString(number) as name from numbers(10)",
    "models/numbers_table.sql": """
        {{ config(materialized='table', order_by='id') }}
        select * from {{ ref('numbers_view') }}""",
    "models/increments.sql": """
        {{ config(materialized='incremental', incremental_strategy='delete_insert',
                  unique_key='id', order_by='id') }}
        select id, '{{ invocation_id }}' as run from {{ ref('numbers_table') }}
        {% if is_incremental() %} where id >= 7 {% endif %}""",
    "models/increments.yml": """
models:
  - name: increments
    columns: [{name: id, data_tests: [unique, not_null]}]
""",
}


@pytest.mark.long
def test_dbt_builds_twice(server: ClickHouseHttp, tmp_path: Path) -> None:
    """A view, a table and an increment, by dbt-clickhouse as it is."""
    profile = {"type": "clickhouse", "schema": "shop", "host": "127.0.0.1", "port": server.port}
    profile |= {"user": "default", "password": PASSWORD, "threads": 4}
    profiles = {"shop": {"target": "server", "outputs": {"server": profile}}}
    for name, text in (PROJECT | {"profiles.yml": json.dumps(profiles)}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for _ in range(2):
        dbt = Path(sys.executable).with_name("dbt")
        built = subprocess.run(
            [dbt, "build", "--no-use-colors", "--target-path", "target"],
            cwd=tmp_path,
            env=os.environ | {"DBT_PROFILES_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert "PASS=5 WARN=0 ERROR=0" in built.stdout, built.stdout
    runs = connect(server).query("SELECT count() FROM shop.increments GROUP BY run ORDER BY 1")
    assert runs.result_rows == [(3,), (7,)]
    assert not any(PASSWORD in sql for sql in server.queries)

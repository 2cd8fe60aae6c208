"""The same pipeline on a server: loader and dbt over ClickHouse's HTTP protocol."""

import re
from contextlib import closing

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.files import local_objects
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.compare import differences, readings
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.secrets import PASSWORD
from tests.helpers.small_database import TABLES_ONLY

BODY = b"""{"actor":{"account":{"name":"o'brien"}},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},"object":{"id":"v"},"context":{"extensions":{"http://oli.cmu.edu/extensions/section_id":7}},"timestamp":"2025-10-01T00:00:00Z"}
{"actor":{"account":{"name":"o'brien"}},"verb":{"id":"https://w3id.org/xapi/video/verbs/paused"},"object":{"id":"v"},"context":{"extensions":{"http://oli.cmu.edu/extensions/section_id":7}},"timestamp":"2025-10-02T00:00:00Z"}
not a statement"""

# A search of the ledger for loads that a table does not hold.
NEW_LOADS = re.compile(r"available.*from `?xapi_raw`?\.`?loads`?.*not in", re.DOTALL)

KEY = "section/7/video/it's {odd} \\ 'key' ?.jsonl"


@pytest.fixture
def server(bucket, tmp_path, monkeypatch):
    """ClickHouse over HTTP, with a password; the settings name it as target `server`."""
    config = engine_config(Settings.from_env())
    with ClickHouseHttp(tmp_path / "server", config_file=config, password=PASSWORD) as http:
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(http.port))
        monkeypatch.setenv("CLICKHOUSE_PASSWORD", PASSWORD)
        monkeypatch.setenv("CLICKHOUSE_SECURE", "false")
        yield http


def test_objects_and_uploaded_files_become_events_on_a_server(server, put, bucket, tmp_path):
    put(KEY, BODY)
    local = tmp_path / "local file.jsonl"
    local.write_bytes(BODY.replace(b'"v"', b'"w"'))
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        for items in ([S3Object(bucket, KEY)], local_objects(local)):
            outcomes = [outcome for batch in load(warehouse, settings, items) for outcome in batch]
            assert [(outcome.outcome, outcome.rows) for outcome in outcomes] == [("committed", 3)]
        run_dbt("run", folder=tmp_path)
        more = local.with_name("more.jsonl")
        more.write_bytes(BODY.replace(b'"v"', b'"x"'))
        list(load(warehouse, settings, local_objects(more)))
        server.queries.clear()
        run_dbt("run", *TABLES_ONLY, folder=tmp_path)
        bodies = {str(path): path.read_bytes() for path in (local, more)}
        expected = readings({f"{bucket}/{KEY}": BODY} | bodies)
        assert differences(warehouse, expected, "video") == []
    # Are there new loads, and which? The other tables do not ask again for the store.
    assert len([sql for sql in server.queries if NEW_LOADS.search(sql)]) == 2


def test_no_secret_and_no_value_is_in_the_sql(server, put, bucket, tmp_path):
    put(KEY, BODY)
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        outcomes = [
            outcome
            for batch in load(warehouse, settings, [S3Object(bucket, KEY), S3Object("other", "k")])
            for outcome in batch
        ]
    sent = "\n".join(server.queries)
    assert "insert into" in sent
    values = ["pass-never-shown", "test-secret-never-shown", "test-key", bucket, "it's", "o'brien"]
    values += [str(outcome.load_id) for outcome in outcomes if outcome.load_id]
    assert [value for value in values if value in sent] == []
    # What is quoted in the loader's SQL are formats, time zones and names of outcomes.
    quoted = set(re.findall(r"'([^']*)'", sent))
    assert not [text for text in quoted if bucket in text or "section" in text]


@pytest.mark.long
def test_a_second_run_waits_for_the_lock_and_takes_over_a_stale_one(server, put, bucket, tmp_path):
    put(KEY, BODY)
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        list(load(warehouse, settings, [S3Object(bucket, KEY)]))
        run_dbt("run", "--select", "+video_events", folder=tmp_path)
        put("section/7/video/more.jsonl", BODY.replace(b'"v"', b'"more"'))
        list(load(warehouse, settings, [S3Object(bucket, "section/7/video/more.jsonl")]))
        lock = (
            "create table {database:Identifier}.elt_claim__video_events__99 (load_id UUID) "
            "engine = Memory comment 'another-run video_events'"
        )

        warehouse.command(lock)
        held = {"lock_wait_seconds": 2, "lock_expires_seconds": 3600}
        output = run_dbt(
            "run", "--select", "video_events", "--vars", str(held), folder=tmp_path, fails=True
        )
        assert "is being changed by run another-run" in output

        expired = {"lock_wait_seconds": 10, "lock_expires_seconds": 0}
        output = run_dbt("run", "--select", "video_events", "--vars", str(expired), folder=tmp_path)
        assert "taking over" in output


def test_old_lines_stay_until_those_that_replace_them_are_in_the_table(
    server, put, bucket, tmp_path
):
    settings, replaced = Settings.from_env(), []

    def load_it(policy: str) -> None:
        with closing(open_warehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
            items = [S3Object(bucket, KEY)]
            assert [
                outcome.outcome
                for batch in load(warehouse, settings, items, policy=policy)
                for outcome in batch
            ] == ["committed"]

    def stored() -> list[str]:
        run_dbt("run", "--select", "int_xapi__statements", folder=tmp_path)
        with closing(open_warehouse(settings)) as warehouse:
            sql = "select object_id from {database:Identifier}.int_xapi__statements"
            return sorted(row["object_id"] for row in warehouse.query(sql))

    def replace_before(sql: str) -> None:
        # Which loads are applied is fixed by now; what is given up is about to be.
        if "status != 'visible'" in sql and not replaced:
            replaced.append(sql)
            put(KEY, line.replace(b'"v"', b'"new"'))
            load_it("replace")

    line = BODY.splitlines()[0]
    put(KEY, line)
    load_it("append")
    run_dbt("run", "--select", "+int_xapi__statements", folder=tmp_path)
    # Objects are looked at when a load of theirs was applied.
    put(KEY, line.replace(b'"v"', b'"later"'))
    load_it("append")
    server.fault = replace_before
    assert stored() == ["v"] and replaced
    assert stored() == ["new"]

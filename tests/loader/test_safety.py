"""Start-up guard: profiles that would lose or double rows are overruled or refused, for real."""

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from loader import checks
from loader.clickhouse import safety, schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.clickhouse.http import HttpWarehouse, open_http
from loader.clickhouse.safety import RULES, UnsafeEngineError
from loader.errors import LoaderError
from loader.events.trigger import Trigger
from loader.load import load
from loader.log import Log
from loader.objects import S3Object
from loader.pipeline import Pipeline
from loader.settings import Settings
from loader.sources import LOAD_SETTINGS
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.paths import ROOT

BODY = b"".join(b'{"n":%d}\n' % number for number in range(9))
KEY = "section/7/video/a.jsonl"

PARALLEL = "allow_experimental_parallel_reading_from_replicas"

# A value of each setting that is not accepted, as a profile would have it.
UNSAFE = {rule.name: "1" for rule in RULES if rule.accepted == "0"}
UNSAFE |= {rule.name: "break" for rule in RULES if rule.accepted == "throw"}
UNSAFE |= {
    "apply_deleted_mask": "0",
    "additional_table_filters": "{'xapi_raw.loads':'0'}",
    "additional_result_filter": "0",
    "insert_deduplication_token": "x",
    "join_default_strictness": "ANY",
    "s3_path_filter_limit": "2",
    "schema_inference_mode": "union",
}

# What this engine refuses by itself, and what a query has used up before it could tell of it.
MANDATORY = {"allow_experimental_analyzer"}
HIDING = {"limit", "offset", "additional_result_filter", PARALLEL}

# Limits of reading and answering that a profile may let cut short.
CUTS = {
    "result_overflow_mode": "max_result_rows",
    "read_overflow_mode": "max_rows_to_read",
    "read_overflow_mode_leaf": "max_rows_to_read_leaf",
}


def profile(folder: Path, settings: dict[str, str], constraints: str = "") -> Path:
    """The configuration of a server whose user has these settings and constraints."""
    values = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in settings.items())
    users = folder / "users.xml"
    users.write_text(
        f"<clickhouse><profiles><default>{values}<constraints>{constraints}</constraints>"
        "</default></profiles><users><default><password/><profile>default</profile>"
        "<networks><ip>::/0</ip></networks>"
        "<named_collection_control>1</named_collection_control></default></users></clickhouse>"
    )
    main = engine_config(Settings.from_env()).read_text()
    config = folder / "config.xml"
    config.write_text(
        main.replace("</clickhouse>", f"<users_config>{users}</users_config></clickhouse>")
    )
    return config


def fixed(name: str) -> str:
    """A constraint that forbids changing a setting."""
    return f"<{name}><readonly/></{name}>"


@pytest.fixture
def serve(bucket, tmp_path, monkeypatch):
    """Start the server with a profile: serve(settings, constraints). The environment names it."""
    running = []

    def start(settings: dict[str, str], constraints: str = "") -> ClickHouseHttp:
        config = profile(tmp_path, settings, constraints)
        http = ClickHouseHttp(tmp_path / "server", str(config)).__enter__()
        running.append(http)
        monkeypatch.setenv("XAPI_TARGET", "server")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(http.port))
        return http

    yield start
    for http in running:
        http.__exit__(None, None, None)


def test_a_fresh_engine_is_safe(warehouse):
    assert list(safety.unsafe(safety.probe(warehouse), Settings())) == []
    assert list(safety.advice(safety.probe(warehouse))) == []


def test_every_setting_of_the_table_is_known_to_the_engine(warehouse):
    assert set(safety.probe(warehouse)) == {safety.MEMORY, *(rule.name for rule in RULES)}


# The engine does not take the query cache together with limits that cut.
TOGETHER = {
    "limits": {name for name, value in UNSAFE.items() if value == "break"},
    "others": {name for name, value in UNSAFE.items() if value != "break"} - MANDATORY - HIDING,
}


@pytest.mark.parametrize("group", TOGETHER)
def test_each_unsafe_setting_that_cannot_be_changed_is_refused_by_name(serve, group):
    names = TOGETHER[group]
    server = serve({name: UNSAFE[name] for name in names}, "".join(map(fixed, names)))
    with pytest.raises(UnsafeEngineError) as refusal:
        _open("http", Settings.from_env())
    said = str(refusal.value)
    for rule in (rule for rule in RULES if rule.name in names):
        start = said.index(f"setting {rule.name} is {UNSAFE[rule.name]!r} for user default")
        assert f"accepted: {rule.accepted!r}" in said[start:].split("; setting")[0]
    assert said.count("setting ") == len(names)
    assert len(server.queries) == 1


@pytest.mark.parametrize("name", sorted(HIDING))
def test_a_setting_that_hides_answers_is_overruled(serve, name):
    serve({name: UNSAFE[name]})
    with closing(_open("http", Settings.from_env())) as warehouse:
        assert len(warehouse.query("select number from numbers(3)")) == 3


@pytest.mark.parametrize("name", ["limit", PARALLEL])
def test_a_setting_that_hides_answers_and_cannot_be_overruled_is_refused(serve, name):
    serve({name: "1"}, fixed(name))
    with pytest.raises(UnsafeEngineError, match=rf"setting {name} is not '0' .* accepted: '0'"):
        _open("http", Settings.from_env())


def test_bounds_that_exclude_the_accepted_value_are_refused(serve):
    serve(
        {"enable_parallel_replicas": "1"},
        "<enable_parallel_replicas><min>1</min></enable_parallel_replicas>",
    )
    with pytest.raises(UnsafeEngineError, match=r"reading_from_replicas is not .*accepted: '0'"):
        open_warehouse(Settings.from_env())


def test_a_constraint_on_an_accepted_value_is_no_harm(serve, put, bucket):
    serve({"async_insert": "0"}, fixed("async_insert") + fixed("limit"))
    put(KEY, BODY)
    with Pipeline.from_env() as pipeline:
        assert pipeline.load(f"s3://{bucket}/{KEY}").complete


@pytest.mark.parametrize("client", ["connect", "http"])
@pytest.mark.parametrize("name", ["limit", "additional_table_filters"])
def test_a_profile_that_hides_rows_does_not_change_a_load(serve, put, bucket, client, name):
    serve({name: UNSAFE[name]})
    settings = Settings.from_env()
    items = [S3Object(bucket, f"section/7/video/{number}.jsonl") for number in range(3)]
    for item in items:
        put(item.key, BODY)
    with closing(_open(client, settings)) as warehouse:
        schema.init(warehouse, settings)
        for outcome in ("committed", "skipped"):
            batches = list(load(warehouse, settings, items))
            assert [item.outcome for batch in batches for item in batch] == [outcome] * 3


@pytest.mark.parametrize("client", ["connect", "http"])
@pytest.mark.parametrize(("name", "limit"), CUTS.items())
def test_a_limit_that_would_cut_an_answer_says_so(serve, client, name, limit):
    serve({name: "break", limit: "500"})
    with (
        closing(_open(client, Settings.from_env())) as warehouse,
        pytest.raises(LoaderError, match=f"{limit}|Limit for"),
    ):
        warehouse.query("select number from numbers(3000) settings max_block_size = 100")


def _open(client: str, settings: Settings):
    if client == "connect":
        return open_warehouse(settings)
    warehouse = HttpWarehouse(settings)
    safety.require(warehouse, Settings())
    return warehouse


def test_lines_that_a_filter_hides_from_the_ledger_are_not_collected(serve, put, bucket):
    serve({"additional_table_filters": "{'xapi_raw.loads':'0'}"})
    put(KEY, BODY)
    with Pipeline.from_env() as pipeline:
        assert pipeline.load(f"s3://{bucket}/{KEY}").rows == 9
        assert pipeline.gc(age=0, even_running=True).lines == 0


# Reads everything, where the profile would cut the reading short.
WHOLE = """
select
    countIf(outcome = 'committed') as commits,
    (
        select count() from {raw:Identifier}.statements
        where load_id in (select load_id from {raw:Identifier}.loads where outcome = 'committed')
    ) as visible
from {raw:Identifier}.loads
settings max_rows_to_read = 0
"""


def test_a_load_limited_in_rows_fails_and_is_not_half_committed(serve, put, bucket):
    serve({"max_rows_to_read": "5", "read_overflow_mode": "break"})
    put(KEY, BODY)
    with Pipeline.from_env() as pipeline, pytest.raises(LoaderError, match="max_rows_to_read"):
        summary = pipeline.load(f"s3://{bucket}/{KEY}")
        assert not summary.complete
        raise LoaderError(summary.failed[0].error)
    with Pipeline.from_env() as pipeline:
        assert pipeline.warehouse.query(WHOLE) == [{"commits": 0, "visible": 0}]


@pytest.mark.parametrize(("version", "refused"), [("25.7.9.1", True), ("25.8.1.1", False)])
def test_an_engine_that_is_too_old_is_refused(warehouse, version, refused):
    rows = safety.probe(warehouse)
    old = {name: row | {"version": version} for name, row in rows.items()}
    assert [
        f"ClickHouse {version} is too old" in text for text in safety.unsafe(old, Settings())
    ] == ([True] if refused else [])


def test_the_lambda_checks_once_at_its_start_and_refuses_until_the_profile_is_fixed(
    serve, put, bucket, capsys
):
    server = serve({"async_insert": "1"}, fixed("async_insert"))
    put(KEY, BODY)
    settings = Settings.from_env()
    with closing(Trigger(settings, partial(open_http, settings, None), Log("INFO"))) as trigger:
        record = {"messageId": "1", "eventSource": "aws:sqs"}
        body = json.dumps({"bucket": bucket, "key": KEY})
        answer = trigger.answer({"Records": [record | {"body": body}]}, 20)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}
        assert "setting async_insert is '1'" in capsys.readouterr().out
        assert len(server.queries) == 1
        with pytest.raises(UnsafeEngineError):
            trigger.prepare()


@pytest.mark.parametrize("command", [["init"], ["load", "s3://{bucket}/" + KEY], ["gc"]])
def test_a_command_that_is_refused_exits_with_2_and_changes_nothing(serve, bucket, command):
    server = serve({"async_insert": "1"}, fixed("async_insert"))
    command = [part.format(bucket=bucket) for part in command]
    program = [str(Path(sys.executable).with_name("xapi-elt")), *command]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "setting async_insert is '1'" in done.stderr and "accepted: '0'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not any(re.match(r"\s*(create|insert|delete)", sql, re.I) for sql in server.queries)


def test_doctor_names_what_is_unsafe_and_what_dbt_will_refuse(serve):
    serve({"async_insert": "1", "join_use_nulls": "1"}, fixed("async_insert"))
    found = {
        (check.verdict, check.finding.split()[1])
        for check in checks.run()
        if check.name == "engine"
    }
    assert {("fail", "async_insert"), ("warn", "join_use_nulls")} <= found


def test_the_error_for_a_read_only_user_names_the_missing_right(serve):
    serve({"readonly": "2"})
    with Pipeline.from_env() as pipeline, pytest.raises(LoaderError, match="readonly = 0"):
        pipeline.init()


def test_dbt_refuses_the_same_settings_as_the_guard(warehouse):
    assert (ROOT / "macros" / "safe_settings.sql").read_text() == safety.macro()
    text = (ROOT / "macros" / "check_engine.sql").read_text()
    assert str(safety.OLDEST_ENGINE) in text
    room = re.search(r"macro least_room\(\) %}\{\{ return\((\d+)\)", text)[1]
    assert f"min_free_disk_bytes_to_perform_insert = {room}," in LOAD_SETTINGS


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root on Linux"
)
def test_dbt_does_not_begin_on_a_disk_that_is_nearly_full(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted")
    try:
        monkeypatch.setenv("XAPI_CHDB_PATH", str(disk / "clickhouse"))
        with Pipeline.from_env() as pipeline:
            pipeline.init()
        said = run_dbt("run", "--select", "+video_events", folder=tmp_path, fails=True)
        assert "MiB are free on the disk of ClickHouse, accepted: 64 MiB or more" in said
        with Pipeline.from_env() as pipeline:
            sql = "select count() as n from system.tables where database = 'xapi'"
            assert pipeline.warehouse.query(sql) == [{"n": 0}]
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_dbt_stops_before_it_touches_anything(serve, tmp_path):
    server = serve({"join_use_nulls": "1", "set_overflow_mode": "break"})
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        schema.init(warehouse, Settings.from_env())
    server.queries.clear()
    said = run_dbt("run", "--select", "video_events", folder=tmp_path, fails=True)
    assert "join_use_nulls is '1', accepted: '0'" in said
    assert "set_overflow_mode is 'break', accepted: 'throw'" in said
    assert all("video_events" not in sql for sql in server.queries)

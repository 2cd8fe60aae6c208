"""XAPI_TARGET=cluster: loader, worker and dbt against a stand-in that demands what a cluster does,
and strips it for the one engine that there is. No real cluster was used, so nothing is known of
replication itself: lag, quorum, a node that is away."""

import json
from contextlib import closing

import boto3
import pytest
from typer.testing import CliRunner

from loader.cli.main import app
from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.clickhouse_cluster import ClusterMode, stripped
from tests.helpers.clickhouse_failure import Failure
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.small_database import TABLES_ONLY, VERBS_AND_TYPES, statement
from tests.helpers.view_faults import faults
from tests.helpers.worker_queue import work

KEY = "section/2161/video/a.jsonl"
LINES = [statement(family, minute=at) for at, family in enumerate(VERBS_AND_TYPES)]


# The engine takes a node with its own address and port for itself.
ONE_NODE = """
    <tcp_port>9000</tcp_port>
    <remote_servers><default><shard><replica>
        <host>127.0.0.1</host><port>9000</port>
    </replica></shard></default></remote_servers>
"""


@pytest.fixture
def cluster(bucket, tmp_path, monkeypatch):
    """The stand-in in cluster mode; the settings name it."""
    config = tmp_path / "config.xml"
    text = engine_config(Settings.from_env()).read_text()
    config.write_text(text.replace("</clickhouse>", f"{ONE_NODE}</clickhouse>"))
    with ClickHouseHttp(tmp_path / "server", config_file=config) as http:
        http.cluster = ClusterMode()
        monkeypatch.setenv("XAPI_TARGET", "cluster")
        monkeypatch.setenv("CLICKHOUSE_CLUSTER", "default")
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        monkeypatch.setenv("CLICKHOUSE_PORT", str(http.port))
        yield http


def loaded(*keys: str, bucket: str, policy: str = "append") -> None:
    """Create what is missing, and load objects."""
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        items = [S3Object(bucket, key) for key in keys]
        outcomes = [
            one for batch in load(warehouse, settings, items, policy=policy) for one in batch
        ]
        assert [(one.outcome, one.error) for one in outcomes] == [("committed", "")] * len(keys)


def test_the_loader_says_what_a_cluster_demands(cluster, put, bucket, tmp_path):
    put(KEY, "\n".join(LINES).encode())
    loaded(KEY, bucket=bucket)
    file = tmp_path / "local.jsonl"
    file.write_text(LINES[0])
    for command in (
        ("init",),
        ("load", str(file)),
        ("backfill", f"s3://{bucket}/section/"),
        ("reconcile", f"s3://{bucket}/section/"),
        ("gc", "--older-than", "0", "--even-running"),
        ("status", "--json"),
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, (command, done.output, done.exception)
    assert cluster.cluster.refused == []
    assert {"create database", "create table", "create or"} <= cluster.cluster.seen


@pytest.mark.long
def test_dbt_and_the_worker_say_what_a_cluster_demands(cluster, put, bucket, tmp_path, monkeypatch):
    put(KEY, "\n".join([*LINES, "no JSON"]).encode())
    loaded(KEY, bucket=bucket)
    run_dbt("seed", folder=tmp_path)
    run_dbt("run", folder=tmp_path)
    # An object that replaces lines: a new table is exchanged with the old one.
    put(KEY, "\n".join([*LINES[1:], statement(minute=30)]).encode())
    loaded(KEY, bucket=bucket, policy="replace")
    run_dbt("run", folder=tmp_path)
    days = "{start_date: 2025-10-01, end_date: 2025-10-31}"
    run_dbt("run", "--select", "video_events", "--vars", days, folder=tmp_path)
    run_dbt("run", "--full-refresh", *TABLES_ONLY, folder=tmp_path)
    queue = boto3.client("sqs").create_queue(QueueName=bucket)["QueueUrl"]
    put("section/2161/video/b.jsonl", statement(minute=40).encode())
    body = json.dumps({"bucket": bucket, "key": "section/2161/video/b.jsonl"})
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=body)
    totals, _ = work(queue)
    assert totals.failed == 0
    run_dbt("run", folder=tmp_path)
    run_dbt("test", "--select", "test_type:singular", folder=tmp_path)
    assert cluster.cluster.refused == []
    assert {"exchange tables", "rename table", "drop table", "alter table"} <= cluster.cluster.seen
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        assert faults(warehouse.query) == []
        [row] = warehouse.query("select count() as n from {database:Identifier}.video_events")
        assert row == {"n": 2}


@pytest.mark.parametrize(
    ("sql", "demand"),
    [
        ("create table a.b (x UInt8) engine = ReplicatedMergeTree order by x", "ON CLUSTER"),
        ("create table a.b on cluster c (x UInt8) engine = MergeTree order by x", "replicated"),
        ("create table a.b on cluster c (x UInt8) engine = Memory", "replicated"),
        (
            "create table a.b on cluster c (x UInt8) "
            "engine = ReplicatedMergeTree('/tables/b', '{replica}') order by x",
            "path of its own",
        ),
        ("/* run */ drop table a.b", "ON CLUSTER"),
        ("alter table a.b modify comment 'x'", "ON CLUSTER"),
        ("insert into {raw:Identifier}.statements select * from s3({x:String})", "s3Cluster"),
        ("exchange tables a.b and a.c on cluster d", "SYSTEM SYNC REPLICA"),
    ],
)
def test_what_a_cluster_would_not_do_is_refused(sql, demand):
    mode = ClusterMode()
    with pytest.raises(Failure, match=demand):
        mode.local(sql.encode(), lambda text: None)


def test_what_a_cluster_accepts_is_stripped():
    mode, parsed = ClusterMode(), []
    for sql in (
        "create table a.b on cluster `c-1` (x UInt8) engine = ReplicatedMergeTree order by x",
        "create table a.elt_new__b__1 on cluster c as a.b comment 'id'",
        "alter table a.b attach partition 202510 from a.c",
        "system sync replica on cluster c a.elt_new__b__1",
        "exchange tables a.elt_new__b__1 and a.b on cluster c",
    ):
        local = mode.local(sql.encode(), parsed.append).decode()
        assert "cluster" not in local and "Replicated" not in local
    assert len(parsed) == 5
    assert stripped("select * from s3Cluster(`c`, {n:Identifier}, filename = 'x')") == (
        "select * from s3({n:Identifier}, filename = 'x')"
    )
    mode.local(b"create table a.elt_new__c__1 on cluster c engine = Memory as select 1", str)
    with pytest.raises(Failure, match="replicated table in the place"):
        mode.local(b"rename table a.elt_new__c__1 to a.c on cluster c", str)
    # A change after the synchronisation counts.
    mode.local(b"system sync replica on cluster c a.new", parsed.append)
    mode.local(b"insert into a.new select 1", parsed.append)
    with pytest.raises(Failure, match="SYSTEM SYNC REPLICA"):
        mode.local(b"exchange tables a.new and a.b on cluster c", parsed.append)

"""Every command under every role: it works, or says which right is missing (`make rights`).

The engine here has one user, so what depends on the name of a user or on granted roles is not
tried: that a role is granted, and that a policy of one role leaves the others alone.
"""

import json
import os
import re
import shlex
from itertools import count
from pathlib import Path

import boto3
import pytest

from loader.cli.main import app
from loader.errors import MissingRightError
from loader.grants import IDENTIFIERS, LEARNERS, ROLES, marts, statements
from loader.pipeline import Pipeline
from loader.settings import Settings
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.paths import ROOT
from tests.helpers.processes import shared_forks
from tests.helpers.roles import serve, written
from tests.helpers.small_database import VERBS_AND_TYPES, statement

BUCKET = "lake-of-roles"
LOADED = "loaded/a.jsonl"

# By name: a command. {new} is an object that is not loaded yet, {file} a local file, {event} an
# event that names such an object, {pages} a folder. The queue has a message with one.
COMMANDS = {
    "init": "init",
    "load an object": f"load s3://{BUCKET}/{{new}}",
    "load a file": "load {file}",
    "backfill --dry-run": f"backfill s3://{BUCKET}/section/ --dry-run",
    "backfill": f"backfill s3://{BUCKET}/section/",
    "reconcile": f"reconcile s3://{BUCKET}/loaded/",
    "reconcile --load-missing": f"reconcile s3://{BUCKET}/section/ --load-missing",
    "expire": "expire --older-than 1d --yes",
    "gc --dry-run": "gc --dry-run",
    "gc": "gc --older-than 0 --even-running",
    "status": "status",
    "doctor": "doctor",
    "redrive --status": "redrive --status",
    "redrive": "redrive --yes",
    "send": "send {file}",
    "invoke": "invoke {event}",
    "worker": "worker --once",
    "query": "query completion --section 2161",
    "report": "report --section 2161 --out {pages}",
    "erase --dry-run": "erase --user no --home-page one --dry-run",
    "erase": "erase --user no --home-page one --yes --s3",
    "erase --pending": "erase --pending",
    "erase --verify": "erase --verify",
    "erase --list": "erase --list",
}
# They need no database of the user's.
WITHOUT = {"check", "demo", "grants"}
DBT = {
    "worker --transform": "worker --once --transform",
    "transform": "transform",
    "dbt run": "dbt run",
    "dbt run, some days": (
        "dbt run --select video_events --vars '{{start_date: 2025-10-01, end_date: 2025-10-31}}'"
    ),
    "dbt run --full-refresh": "dbt run --full-refresh --select video_events",
    "dbt test": "dbt test --select test_type:singular",
    "dbt source freshness": "dbt source freshness",
}

# Last, because dbt stops afterwards.
LAST = {"rotate-key": "rotate-key --yes"}

ALL = COMMANDS | DBT | LAST
WRITE = (
    *("load an object", "load a file", "backfill", "reconcile --load-missing"),
    *("send", "invoke", "worker", "worker --transform"),
)
BUILD = (
    *("worker --transform", "transform"),
    *("dbt run", "dbt run, some days", "dbt run --full-refresh", "dbt source freshness"),
)
ERASE = ("erase --dry-run", "erase", "erase --pending", "erase --verify")
NUMBERS = count(1)

# A line that `gc` removes.
LEFTOVER = """
insert into {raw:Identifier}.statements (load_id, bucket, key, source_line, line)
values (generateUUIDv4(), 'lake-of-roles', 'died', 1, '{}')
"""

# A line that `expire` removes, and `gc` too.
OLD_LINE = """
insert into {raw:Identifier}.statements (load_id, bucket, key, source_line, line, loaded_at)
values (generateUUIDv4(), 'lake-of-roles', 'old', 1, '{}', '2020-01-01 00:00:00')
"""

# A load without lines, for which dbt has something to do.
PENDING = """
insert into {raw:Identifier}.loads (load_id, bucket, key, outcome)
values (generateUUIDv4(), 'lake-of-roles', 'pending', 'committed')
"""

WORKS = "works"
NO_LINES = "SELECT ON xapi_raw.statements"
NO_LEDGER = "SELECT ON xapi_raw.loads"
NO_INSERT = "INSERT ON xapi_raw.loads"
NO_DELETE = "ALTER DELETE ON xapi_raw.statements"
NO_KEY = "ALTER DELETE ON xapi_raw.learner_key"
NO_COLLECTION = "NAMED COLLECTION ON xapi_s3"
NO_CREATE = "CREATE TABLE ON xapi.elt_applied_loads"
NO_SEARCH = "SELECT ON xapi.stg_xapi__learners_in_raw"
NO_REQUEST = "INSERT ON xapi_raw.erasure_requests"
NO_FORGETTING = "ALTER DELETE ON xapi_raw.erasure_requests"

# The first right that is missing for a command of a role; all other commands work.
EXPECTED = {
    "loader": dict.fromkeys(BUILD, NO_CREATE)
    | dict.fromkeys(ERASE, NO_SEARCH)
    | {"status": "SELECT ON xapi.elt_tables", "dbt test": "SELECT ON xapi.ops_events"}
    | {
        "gc": NO_DELETE,
        "query": "SELECT ON xapi.dim_videos",
        "report": "SELECT ON xapi.fct_videos",
        "expire": "SELECT ON xapi.int_xapi__statements",
        "rotate-key": NO_KEY,
    },
    "dbt": dict.fromkeys(WRITE, NO_INSERT)
    | dict.fromkeys(ERASE, NO_REQUEST)
    | {"doctor": NO_COLLECTION, "gc": NO_DELETE}
    | {"expire": NO_DELETE, "rotate-key": NO_KEY},
    "worker": dict.fromkeys(ERASE, NO_FORGETTING)
    | dict.fromkeys(("erase", "erase --pending"), "TRUNCATE ON xapi_raw.erasure_learners")
    | {"gc": NO_DELETE, "expire": NO_DELETE, "rotate-key": NO_KEY},
    "operator": dict.fromkeys(BUILD, NO_CREATE)
    | dict.fromkeys(WRITE, NO_INSERT)
    | dict.fromkeys(ERASE, NO_REQUEST)
    | {"expire": "INSERT ON xapi_raw.expired_loads", "rotate-key": NO_KEY},
    "analyst": dict.fromkeys(ALL, NO_LEDGER)
    | dict.fromkeys(("invoke", "worker", "worker --transform"), NO_INSERT)
    | {"doctor": NO_LINES}
    | {"dbt test": "SELECT ON xapi.ops_events", "report": "SELECT ON xapi.ops_events"}
    | dict.fromkeys(("erase --dry-run", "erase --verify"), NO_SEARCH)
    | {"erase --list": "SELECT ON xapi_raw.erasures"}
    | {"query": WORKS, "rotate-key": "SELECT ON xapi_raw.learner_key"},
    # It loads objects that it has rewritten, and changes the tables under dbt's claims.
    "privacy": {},
}


@pytest.fixture(scope="module")
def lake(s3_endpoint, tmp_path_factory):
    """The folder of a database with a load, which dbt has built with the rights of its role, and
    with the analysts' views. The environment names the bucket."""
    folder = tmp_path_factory.mktemp("roles")
    body = "\n".join(statement(family, minute=at) for at, family in enumerate(VERBS_AND_TYPES))
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    boto3.client("s3").put_object(Bucket=BUCKET, Key=LOADED, Body=f"{body}\nbad".encode())
    database = folder / "clickhouse"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S3_XAPI_BUCKET_NAME", BUCKET)
        patch.setenv("XAPI_CHDB_PATH", str(database))
        with Pipeline.from_env() as pipeline:
            assert pipeline.load(f"s3://{BUCKET}/{LOADED}").committed == 1
        with serve(database, folder, written("dbt")):
            run_dbt("run", folder=folder)
        with Pipeline.from_env() as pipeline:
            for one in written("analyst", names=True):
                if one.startswith(("create database", "create or replace view")):
                    pipeline.warehouse.command(one)
        yield folder


def queue_with_dead_letter(name: str, body: str) -> str:
    """A queue with a message, and the same message in its dead-letter queue; its URL."""
    sqs = boto3.client("sqs")
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    about = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    redrive = {"deadLetterTargetArn": about["QueueArn"], "maxReceiveCount": 100}
    attributes = {"RedrivePolicy": json.dumps(redrive)}
    queue = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    for url in (queue, dead):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    return queue


def outcome(command: str, folder: Path) -> str:
    """Run a command; 'works', or the right that is missing."""
    number = next(NUMBERS)
    key = f"section/1/video/{number}.jsonl"
    body = statement(minute=number % 60, registration=str(number))
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body.encode())
    file, event = folder / f"{number}.jsonl", folder / "event.json"
    file.write_text(body)
    event.write_text(json.dumps({"bucket": BUCKET, "key": key}))
    queue = queue_with_dead_letter(f"roles-{number}", event.read_text())
    arguments = shlex.split(command.format(new=key, file=file, event=event, pages=folder / "pages"))
    if arguments[0] == "dbt":
        arguments += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    env = os.environ | {"XAPI_SQS_QUEUE_URL": queue}
    if arguments[0] != "dbt":
        arguments.insert(0, "xapi-elt")
    process = shared_forks(ROOT).start(arguments, env, folder)
    code, said = process.wait(300), process.output
    if code == 0:
        return WORKS
    assert "Traceback" not in said and "a bug of" not in said
    missing = re.search(r"has no right (.+?)\. As an|have the grant (.+?)\. ", said)
    return missing[1] or missing[2] if missing else said


def test_every_command_is_tried():
    all_commands = {one.name or one.callback.__name__ for one in app.registered_commands}
    tried = {command.split()[0] for command in ALL.values()} - {"dbt"}
    assert all_commands == tried | WITHOUT


@pytest.mark.parametrize(
    ("role", "commands"),
    [
        ("loader", COMMANDS),
        ("analyst", COMMANDS),
        *(pytest.param(role, ALL, marks=pytest.mark.long, id=f"{role}-all") for role in ROLES),
    ],
)
def test_every_command_works_or_names_the_missing_right(role, commands, lake):
    with Pipeline.from_env() as pipeline:
        pipeline.warehouse.command(LEFTOVER)
        pipeline.warehouse.command(OLD_LINE)
        pipeline.warehouse.command(PENDING)
    with serve(lake / "clickhouse", lake, written(role)):
        found = {name: outcome(command, lake) for name, command in commands.items()}
    print(json.dumps({role: found}, indent=1))
    assert found == {name: EXPECTED[role].get(name, WORKS) for name in commands}


def test_analysts_read_everything_of_their_database_and_nothing_else(lake):
    with serve(lake / "clickhouse", lake, written("analyst")), Pipeline.from_env() as pipeline:
        query = pipeline.warehouse.query
        views = [
            row["name"]
            for row in query("select name from system.tables where database = 'xapi_analyst'")
        ]
        assert {"video_events", "fct_videos", "voided_statements", LEARNERS} <= set(views)
        for view in views:
            if view != LEARNERS:
                query(f"select * from xapi_analyst.{view}")
        columns = query("select name from system.columns where database = 'xapi_analyst'")
        names = {row["name"] for row in columns if row["name"] in IDENTIFIERS}
        assert names == {"user_id", "home_page"}  # of dim_learners
        # Parts of columns that are granted alone are refused (`ANALYST_SETTINGS`).
        assert query("select count() > 0 as n from xapi.video_events where learner_id != ''") == [
            {"n": 1}
        ]
        for forbidden in (
            *(f"select {column} from xapi.video_events" for column in IDENTIFIERS[:4]),
            f"select * from xapi_analyst.{LEARNERS}",
            "select * from xapi.rejected_statements",
            "select * from xapi.int_xapi__statements",
            "select * from xapi_raw.learner_key",
            "select line from xapi_raw.statements",
            "select * from s3('http://127.0.0.1:9/bucket/key', 'One')",
        ):
            with pytest.raises(MissingRightError):
                query(forbidden)


def test_an_analyst_with_names_reads_who_the_learners_are(lake):
    printed = written("analyst", names=True)
    with serve(lake / "clickhouse", lake, printed), Pipeline.from_env() as pipeline:
        [learner] = pipeline.warehouse.query(f"select * from xapi_analyst.{LEARNERS}")
        assert learner["user_id"] == "7" and learner["home_page"] == "https://lms.example.org"
        with pytest.raises(MissingRightError):
            pipeline.warehouse.query("select line from xapi_raw.statements")


def test_the_engine_parses_every_statement_and_knows_every_setting(lake):
    with Pipeline.from_env({"XAPI_CHDB_PATH": str(lake / "clickhouse")}) as pipeline:
        run = pipeline.warehouse.query
        for target in ("server", "cluster"):
            settings = Settings(target=target, home=str(ROOT), cluster="{cluster}-1.a")
            of_sections = statements("analyst", settings, names=True, of_sections=True)
            for role in ROLES:
                for statement in (*statements(role, settings), *of_sections):
                    pipeline.warehouse.command(f"explain ast {statement}")
                    assert ("on cluster `{cluster}-1.a`" in statement) == (target == "cluster")
        for one in (*statements("dbt", settings), *statements("analyst", settings)):
            if found := re.search(r" settings (\w+ = .+) to ", one):
                assert run(f"select 1 as one settings {found[1]}")
        # The pages of the models list the columns that the tables have.
        found = run(
            "select table, groupArray(name) as names from system.columns "
            "where database = 'xapi' group by table"
        )
        columns = {row["table"]: row["names"] for row in found}
        found = run("select name from system.tables where database = 'xapi' and engine = 'View'")
        views = {row["name"] for row in found}
        for mart in marts(ROOT):
            assert list(mart.columns) == columns[mart.name]
            assert mart.is_table == (mart.name not in views)


def test_without_tables_the_error_says_who_creates_them(tmp_path, s3_endpoint):
    with serve(tmp_path / "empty", tmp_path, written("loader")), Pipeline.from_env() as pipeline:
        with pytest.raises(MissingRightError) as error:
            pipeline.init()
        said = str(error.value)
        assert "has no right CREATE DATABASE ON xapi.*" in said
        assert "Or run xapi-elt init as a user who has it" in said
        assert "grant show databases on `xapi`.* to the user" in said


def test_a_loader_leaves_a_missing_projection_to_who_may_add_it(lake):
    projections = (
        "select distinct name from system.projection_parts where active and table = 'loads'"
    )
    with Pipeline.from_env() as pipeline:
        before = pipeline.warehouse.query(projections)
        pipeline.warehouse.command("alter table xapi_raw.loads drop projection by_load")
    with serve(lake / "clickhouse", lake, written("loader")):
        assert outcome("load {file}", lake) == WORKS
    with Pipeline.from_env() as pipeline:
        assert len(pipeline.warehouse.query(projections)) == len(before) - 1
        pipeline.init()
        assert len(pipeline.warehouse.query(projections)) == len(before) == 3

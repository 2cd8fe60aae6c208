"""The rights that docs/deploy.md grants are enough for the loader and for dbt, and are no more."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import engine_config
from loader.errors import LoaderError
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.clickhouse_process import start_process
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.paths import ROOT

BODY = (
    b'{"actor":{"mbox":"a"},"verb":{"id":"https://w3id.org/xapi/video/verbs/played"},'
    b'"object":{"id":"v"},"timestamp":"2025-10-01T00:00:00Z"}\nnot a statement\n'
)
DAYS = "{start_date: 2025-10-01, end_date: 2025-10-31}"

# The engine here knows its user by its configuration only, so the user is called `default`.
USERS = """
<clickhouse>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password/>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>{grants}</grants>
        </default>
    </users>
</clickhouse>
"""
DIRECTORY = (
    "<user_directories replace='1'><users_xml><path>{}</path></users_xml></user_directories>"
)


def granted(user: str) -> list[str]:
    """The statements of the page, without the name of the user."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    return re.findall(rf"^(grant .+) to {user};$", page, re.MULTILINE)


@pytest.fixture
def server_of(bucket, tmp_path, monkeypatch) -> Callable:
    """ClickHouse over HTTP, in a separate process, whose user has these rights."""
    database = tmp_path / "clickhouse"
    with closing(open_warehouse(Settings(chdb_path=str(database)))) as warehouse:
        schema.init(warehouse, Settings.from_env())

    @contextmanager
    def serve(user: str) -> Iterator[Settings]:
        grants = "".join(f"<query>{grant}</query>" for grant in granted(user))
        (tmp_path / "users.xml").write_text(USERS.format(grants=grants))
        config = engine_config(Settings.from_env()).read_text()
        directory = DIRECTORY.format(tmp_path / "users.xml")
        config = config.replace("</clickhouse>", f"{directory}</clickhouse>")
        (tmp_path / "config.xml").write_text(config)
        server, port = start_process(
            "--path", str(database), "--config-file", str(tmp_path / "config.xml")
        )
        try:
            monkeypatch.setenv("XAPI_TARGET", "server")
            monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
            monkeypatch.setenv("CLICKHOUSE_PORT", str(port))
            yield Settings.from_env()
        finally:
            monkeypatch.delenv("XAPI_TARGET", raising=False)
            server.kill()
            server.communicate()

    return serve


def test_the_rights_on_the_page_are_enough_and_no_more(server_of, put, bucket, tmp_path):
    put("section/1/video/a.jsonl", BODY)
    with server_of("xapi_loader") as settings, closing(open_warehouse(settings)) as warehouse:
        items = [S3Object(bucket, "section/1/video/a.jsonl")]
        outcomes = [outcome for batch in load(warehouse, settings, items) for outcome in batch]
        assert [(outcome.outcome, outcome.rows) for outcome in outcomes] == [("committed", 2)]
        with pytest.raises(LoaderError, match="Not enough privileges"):
            warehouse.command("create table xapi.other (a UInt8) engine = Memory")

    with server_of("xapi_dbt") as settings:
        run_dbt("build", "--exclude", "test_type:generic", "test_type:unit", folder=tmp_path)
        run_dbt("run", "--select", "video_events", "--vars", DAYS, folder=tmp_path)
        run_dbt("run", "--full-refresh", "--select", "+video_events", folder=tmp_path)
        with closing(open_warehouse(settings)) as warehouse:
            assert warehouse.query("select count() as events from xapi.video_events") == [
                {"events": 1}
            ]
            with pytest.raises(LoaderError, match="Not enough privileges"):
                warehouse.command("drop table xapi_raw.statements")

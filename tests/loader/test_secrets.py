"""Odd passwords work, or are refused without being quoted, whichever way ClickHouse is reached."""

import io
import json
import logging
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import boto3
import pytest

from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.http import HttpWarehouse, open_http
from loader.dbt_run import dbt_environment
from loader.errors import LoaderError, PermanentError, RetryableError
from loader.events.trigger import Trigger
from loader.events.worker import Worker
from loader.log import Log
from loader.pipeline import Pipeline
from loader.settings import Settings
from tests.conftest import pytest_runtest_makereport
from tests.helpers.clickhouse_http import ClickHouseHttp
from tests.helpers.paths import ROOT
from tests.helpers.secrets import MARK, SHOWN, shows_secret
from tests.helpers.trigger_stage import batch, named

ODD = {
    "newline at its end": f"{MARK}\n",
    "newline inside": f"a\r\nX-Other: b\n{MARK}",
    "outside latin-1": f"学习🎓{MARK}",
    "latin-1": f"ünï{MARK}",
    "NUL": f"a\0{MARK}",
    "quotes": f"'\"`\\{{}}%20:&?#{MARK}",
    "long": f"{'x' * 20_000}{MARK}",
    "spaces": f" {MARK} ",
    "empty": "",
}

# As other text than a password they would be a number, a list, or no text at all.
TYPED = ("12345", "[1, 2]", "{{ 1 }}", "null", "1e5")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose password each test sets."""
    with ClickHouseHttp(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


def settings_for(server: ClickHouseHttp, password: str) -> Settings:
    """How to reach it with a password."""
    return Settings(target="server", host="127.0.0.1", port=server.port, password=password)


OPEN = {"standard library": open_http, "clickhouse-connect": open_warehouse}


@pytest.mark.parametrize("client", OPEN)
@pytest.mark.parametrize("password", [*ODD.values(), *TYPED], ids=[*ODD, *TYPED])
def test_an_odd_password_works(server, caplog, client, password):
    caplog.set_level(logging.DEBUG)
    server.password = password
    with closing(OPEN[client](settings_for(server, password))) as warehouse:
        assert warehouse.query("select 1 as one") == [{"one": 1}]
    assert MARK not in caplog.text


@pytest.mark.parametrize("client", OPEN)
@pytest.mark.parametrize("password", ODD.values(), ids=ODD)
def test_an_odd_password_that_is_wrong_is_refused_unquoted(server, caplog, client, password):
    caplog.set_level(logging.DEBUG)
    server.password = "another"
    with pytest.raises(PermanentError) as error:
        OPEN[client](settings_for(server, password))
    assert not shows_secret(str(error.value) + caplog.text)


def test_of_an_unknown_error_the_trigger_logs_and_reports_type_and_place(server):
    server.password = ""
    output = io.StringIO()

    def connect(deadline):
        raise ValueError(f"Invalid header value b'{MARK}'")

    trigger = Trigger(settings_for(server, ""), connect, Log("INFO", output))
    event = named("lake", "a.jsonl")
    assert trigger.answer(batch(event))["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    with pytest.raises(RetryableError, match="unexpected ValueError at") as error:
        trigger.answer({"bucket": "lake", "key": "a.jsonl"})
    with pytest.raises(RetryableError, match="unexpected ValueError") as checked:
        trigger.answer({"health_check": True})
    assert not shows_secret(f"{error.value} {checked.value} {output.getvalue()}")
    assert "unexpected ValueError at test_secrets.py" in output.getvalue()


def test_of_an_unknown_error_the_worker_logs_type_and_place():
    output = io.StringIO()
    log = Log("INFO", output)

    class Queue:
        url = "https://queue"
        receipts = ()

        def visibility(self):
            return 30

        def receive(self, most, wait):
            records = [] if self.receipts else batch(named("lake", "a.jsonl"))["Records"]
            self.receipts = [*self.receipts, *records]
            return records

        def delete(self, receipts):
            assert list(receipts) == []

        def delay(self, delays):
            pass

        def depth(self):
            return 0, 0

    class Broken(Trigger):
        def prepare(self):
            pass

        def answer(self, event, seconds=None):
            raise KeyError(MARK)

    Worker(Queue(), Broken(Settings(), None, log), log, window=0).run(once=True)
    assert "batch_broke" in output.getvalue()
    assert "unexpected KeyError at test_secrets.py" in output.getvalue()
    assert MARK not in output.getvalue()


def test_of_an_unknown_error_a_command_prints_type_and_place(tmp_path: Path):
    code = (
        "import sys, loader.pipeline as p, loader.cli.main as m\n"
        f"def broken(*_): raise ValueError('{MARK}')\n"
        "p.Settings.from_env = classmethod(broken)\n"
        "sys.argv = ['xapi-elt', 'status']\n"
        "m.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "unexpected ValueError" in done.stderr
    assert MARK not in done.stdout + done.stderr


def dbt_debug(environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Let dbt connect."""
    command = [Path(sys.executable).with_name("dbt"), "debug", "--connection", "--no-use-colors"]
    command += ["--profiles-dir", ROOT, "--project-dir", ROOT]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("kind", ["newline at its end", "quotes"])
def test_dbt_reads_an_odd_password_as_the_loader_does(server, tmp_path, monkeypatch, kind):
    server.password = ODD[kind].removesuffix("\n")
    environment = {
        "XAPI_TARGET": "server",
        "CLICKHOUSE_HOST": "127.0.0.1",
        "CLICKHOUSE_PORT": str(server.port),
        "CLICKHOUSE_PASSWORD": ODD[kind],
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with closing(HttpWarehouse(Settings.from_env())) as warehouse:
        assert warehouse.query("select 1 as one") == [{"one": 1}]
    done = dbt_debug()
    assert "OK connection ok" in done.stdout, done.stdout
    assert not shows_secret(done.stdout + done.stderr)
    assert not shows_secret((tmp_path / "logs" / "dbt.log").read_text())


def test_dbt_gets_a_password_that_ends_with_a_line_break(server, s3_endpoint, tmp_path):
    """From a secret as JSON, as docs/security.md says."""
    server.password = f"{MARK}\n"
    secret = json.dumps({"password": server.password})
    client = boto3.client("secretsmanager")
    arn = client.create_secret(Name=uuid4().hex, SecretString=secret)["ARN"]
    environment = dbt_environment(replace(settings_for(server, ""), dbt_secret_arn=arn))
    environment |= {"XAPI_TARGET": "server", "CLICKHOUSE_HOST": "127.0.0.1"}
    environment |= {"CLICKHOUSE_PORT": str(server.port), "DBT_LOG_PATH": str(tmp_path / "logs")}
    environment |= {"DBT_TARGET_PATH": str(tmp_path / "target")}
    done = dbt_debug(environment)
    assert "OK connection ok" in done.stdout, done.stdout
    assert not shows_secret(done.stdout + done.stderr)


def read_lines(**how) -> None:
    """Read the output of a process line by line."""
    with subprocess.Popen(LEAK, stdout=subprocess.PIPE, **how) as process:
        assert process.stdout.readline()
        assert not list(process.stdout)


LEAK = [sys.executable, "-c", "import os; print('leak', os.environ['AWS_SECRET_ACCESS_KEY'])"]
TO_STDERR = [*LEAK[:2], LEAK[2].replace("print(", "import sys; print(file=sys.stderr, *(") + ")"]
TIMED_OUT = [*LEAK[:2], f"{LEAK[2][:-1]}, flush=True); import time; time.sleep(60)"]


def time_out() -> None:
    """Stop a process that has printed something."""
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(TIMED_OUT, capture_output=True, timeout=2)


@pytest.mark.parametrize(
    "read",
    [
        lambda: subprocess.run(LEAK, capture_output=True),
        lambda: subprocess.run(LEAK, capture_output=True, text=True),
        lambda: subprocess.run(TO_STDERR, stderr=subprocess.PIPE),
        lambda: subprocess.check_output(LEAK, text=True),
        lambda: subprocess.Popen(LEAK, stdout=subprocess.PIPE).stdout.read(),
        lambda: read_lines(text=True),
        read_lines,
        time_out,
    ],
)
def test_a_secret_in_the_output_of_a_process_is_noticed(read):
    """Whoever started it, and however its output is read."""
    assert SHOWN == []
    read()
    assert set(SHOWN) == {f"{sys.executable} -c"}
    assert outcome_of_a_test() == "failed"
    assert outcome_of_a_test() == "passed"


def outcome_of_a_test() -> str:
    """What becomes of a test that passed, after what its processes printed."""
    hook = pytest_runtest_makereport(SimpleNamespace(nodeid="a test"))
    next(hook)
    report = SimpleNamespace(sections=[], passed=True, outcome="passed")
    with pytest.raises(StopIteration):
        hook.send(report)
    return report.outcome


def test_the_search_for_secrets_finds_a_header():
    assert shows_secret("Authorization: Basic ZGVmYXVsdDpwYXNzLW5ldmVyLXNob3du")
    assert not shows_secret("never mind what was shown")


def test_a_loader_error_is_no_place_for_secrets():
    assert LoaderError("one\nline").args == ("one line",)


def test_values_of_statements_are_not_in_the_url(server):
    """Proxies log URLs. An erasure, for one, names a learner."""
    server.password = ""
    server.urls.clear()
    with closing(open_warehouse(settings_for(server, ""))) as warehouse:
        assert warehouse.query("select {name:String} as name", name=MARK) == [{"name": MARK}]
        warehouse.command("select {name:String}", name=MARK)
    assert server.urls
    assert not [url for url in server.urls if shows_secret(url)]


def test_commands_read_the_password_in_a_secret(server, s3_endpoint):
    server.password = MARK
    arn = boto3.client("secretsmanager").create_secret(Name=uuid4().hex, SecretString=MARK)["ARN"]
    with Pipeline(replace(settings_for(server, ""), secret_arn=arn)) as pipeline:
        assert pipeline.warehouse.query("select 1 as one") == [{"one": 1}]
        assert pipeline.reader.count("select 1") == 1

"""Another dbt project installs this one as a package and builds on its tables."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.small_database import ATTEMPTS, SmallDatabase

CONSUMER = Path(__file__).with_name("consumer")


class Consumer:
    """The project `consumer` in a folder, with a package source, and the database it works on."""

    def __init__(self, folder: Path, package: str):
        self.folder = folder / "project"
        self.database = SmallDatabase(folder)
        shutil.copytree(CONSUMER, self.folder)
        (self.folder / "packages.yml").write_text(f"packages:\n  - {package}\n")

    def dbt(self, *arguments: str, fails: bool = False) -> str:
        """Run dbt in the project's folder and return what it printed."""
        self.database.close()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("dbt")), "--no-use-colors", *arguments],
            cwd=self.folder,
            env=os.environ | {"XAPI_CHDB_PATH": str(self.folder.parent / "clickhouse")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def consumer(tmp_path_factory, _clean_environment):
    """The project with this one installed from its folder, and all models of both built."""
    consumer = Consumer(tmp_path_factory.mktemp("package"), f"local: {ROOT}")
    consumer.database.load(*ATTEMPTS)
    consumer.dbt("deps")
    consumer.dbt("run", "--select", "+plays_by_learner", "int_xapi__statements")
    yield consumer
    consumer.database.close()


def test_a_model_of_the_consumer_reads_an_event_table(consumer):
    events = consumer.database.query("select count() as n from xapi.video_events")
    assert events == [{"n": 4}]
    assert consumer.database.query("select * from xapi.plays_by_learner") == [
        {"user_id": "7", "verb_iri": "https://w3id.org/xapi/video/verbs/played", "plays": 4}
    ]


def test_models_of_one_name_do_not_mix(consumer):
    rows = consumer.database.query("select * from xapi.statements_of_the_consumer")
    assert rows == [{"statements": 1}]
    lines = consumer.database.query("select count() as n from xapi.int_xapi__statements")
    assert lines[0]["n"] > 4


def test_the_consumer_sets_a_variable_of_the_package(consumer):
    slices = consumer.database.query(
        "select uniqExact(recorded_at) as n from xapi.elt_applied_loads "
        "where model = 'int_xapi__statements'"
    )
    assert slices[0]["n"] > 1


@pytest.mark.long
def test_its_own_models_and_tests_run_alone(consumer):
    said = consumer.dbt("run", "--select", "package:consumer")
    assert "Finished running 1 project hook, 2 view models" in said
    assert "PASS=3 " in consumer.dbt("test", "--select", "package:consumer")


@pytest.mark.long
def test_variables_with_the_prefix_start_a_rebuild(consumer):
    # The start_date of the consumer's own dbt_project.yml has started none.
    days = "{xapi_start_date: 2025-10-01, xapi_end_date: 2025-10-31, xapi_section_id: 2161}"
    said = consumer.dbt("run", "--select", "video_events", "--vars", days)
    assert "[rebuilt days of 1 month in" in said
    assert consumer.database.query("select count() as n from xapi.video_events") == [{"n": 4}]


@pytest.mark.long
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the git repository")
def test_the_package_installs_from_git(tmp_path):
    head = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    revision = subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
    source = f"git: {ROOT.as_uri()}\n    revision: {revision}"
    consumer = Consumer(tmp_path, source)
    assert f"Installed from revision {revision}" in consumer.dbt("deps")
    installed = consumer.folder / "dbt_packages" / "xapi_elt"
    assert (installed / "dbt_project" / "models" / "marts" / "events" / "video_events.sql").exists()

"""An erasure claims tables as dbt does."""

import re
from typing import Any

import pytest
import yaml

from loader.errors import RetryableError
from loader.privacy import claims
from loader.settings import Settings
from tests.helpers.paths import ROOT


class OneClaim:
    """A connection to a ClickHouse that has the latest claim of one table and nothing else."""

    def __init__(self) -> None:
        self.number, self.holder = 0, ""
        self.sent: list[str] = []

    def query(self, sql: str, **_: Any) -> list[dict[str, Any]]:
        """The latest claim, or a count of nothing."""
        if "silent" in sql and self.number:
            return [{"number": self.number, "comment": self.holder, "silent": 0}]
        return [{"number": 0, "queries": 0}] if "max(claim)" in sql else []

    def command(self, sql: str, **values: Any) -> None:
        """Create a claim, or write its comment."""
        self.sent.append(sql)
        if found := re.search(r"comment '(.*)'", sql):
            self.number, self.holder = int(values["name"].rpartition("__")[2]), found[1]


@pytest.fixture
def held(monkeypatch):
    """A connection, claims of an erasure, and a clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    warehouse = OneClaim()
    return warehouse, claims.Claims(warehouse, Settings(target="server"), "7"), now


def test_claims_expire_and_are_waited_for_as_dbt_does():
    variables = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
    assert variables["lock_expires_seconds"] == claims.EXPIRES
    assert variables["lock_wait_seconds"] == claims.LONGEST_WAIT


def test_an_erasure_shows_before_a_statement_that_it_is_alive(held):
    warehouse, ours, now = held
    with ours.hold("video_events"):
        for seconds, sent in ((1, ["delete"]), (9, ["comment", "delete"])):
            now[0] += seconds
            warehouse.sent.clear()
            ours.command("delete from t")
            assert [next(word for word in sent if word in sql) for sql in warehouse.sent] == sent
        assert warehouse.holder == "erase-7 video_events"
    assert warehouse.holder == "free"


def test_an_erasure_whose_table_was_taken_over_sends_nothing(held):
    warehouse, ours, now = held
    with pytest.raises(RetryableError, match="taken over by another run"), ours.hold("t"):
        now[0] += 61
        warehouse.number, warehouse.holder = 2, "another t"
        warehouse.sent.clear()
        ours.command("delete from t")
    assert (warehouse.sent, warehouse.holder) == ([], "another t")

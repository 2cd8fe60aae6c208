"""What stops a bulk load soon: S3 or a server that does not answer."""

from collections import Counter

import pytest

from loader.bulk import backfill
from loader.bulk.backfill import Plan, Throttle
from loader.bulk.selection import Selection
from loader.errors import RetryableError, UnavailableError
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings


class DeadSource:
    """A place where every request fails as a dead endpoint does; counts them."""

    def __init__(self, error="Connection refused"):
        self.error, self.calls = RetryableError(error), Counter()
        self.error.answer = error

    def check(self, item):
        """All names are fine."""

    def stat(self, batch):
        """Fail."""
        self.calls["stat"] += 1
        raise self.error

    def insert(self, batch, load_id, compression):
        """Fail."""
        self.calls["insert"] += 1
        raise self.error


@pytest.mark.parametrize("etag", ["", "x"])
def test_a_dead_endpoint_gets_two_requests_not_two_for_each_object(warehouse, etag):
    source = DeadSource()
    items = [S3Object("lake", f"{number}.jsonl", etag=etag) for number in range(1000)]
    outcomes = [one for done in load(warehouse, Settings(), items, source=source) for one in done]
    assert {(one.outcome, one.retryable) for one in outcomes} == {("failed", True)}
    assert len(outcomes) == 1000
    assert source.calls.total() == 2


def test_a_refused_object_is_still_found_among_others(warehouse):
    source = DeadSource("HTTP response code: 403")
    items = [S3Object("lake", f"{number}.jsonl", etag="x") for number in range(4)]
    list(load(warehouse, Settings(), items, source=source))
    assert source.calls["insert"] == 7


def test_a_dead_endpoint_stops_the_backfill_after_one_batch(warehouse, monkeypatch):
    source = DeadSource()
    monkeypatch.setattr("loader.load.source_for", lambda *_: source)
    monkeypatch.setattr("loader.bulk.backfill.source_for", lambda *_: source)
    plan = Plan(Selection("lake"))
    for number in range(50):
        plan.add(S3Object("lake", f"{number}.jsonl", etag="x"))
    summary = backfill.run(warehouse, Settings(), plan, throttle=Throttle(most=10))
    assert summary.counts == {"failed": 10}
    assert "S3 does not answer" in summary.stopped
    assert not summary.complete


class DownWarehouse:
    """A warehouse whose server is down."""

    version = (26, 9)

    def query(self, *_, **__):
        """Fail."""
        raise UnavailableError("ClickHouse at localhost:9 does not answer")

    command = query


def test_a_server_that_is_down_stops_the_backfill():
    plan = Plan(Selection("lake"), in_flight=4)
    plan.add(S3Object("lake", "a.jsonl", etag="x"))
    summary = backfill.run(DownWarehouse(), Settings(), plan)
    assert (summary.done, summary.requested) == (0, 1)
    assert "does not answer" in summary.stopped

"""The prefix of keys: outside of it nothing is read, whoever names it."""

from contextlib import closing
from dataclasses import replace

import pytest

from loader.errors import SettingsError
from loader.pipeline import Pipeline
from tests.helpers.trigger_stage import LINE, Stage, named


@pytest.fixture
def scoped(lake_server, settings):
    """A trigger that may load keys below section/ only."""
    opened = Stage(replace(settings, key_prefix="section/"))
    with closing(opened.trigger):
        yield opened


def test_a_key_outside_fails_by_name_and_soon_and_its_neighbour_loads(scoped, put, bucket):
    put("section/1/video/a.jsonl", LINE)
    put("private/a.jsonl", LINE)
    failed = scoped.deliver(
        named(bucket, "section/1/video/a.jsonl"), named(bucket, "private/a.jsonl")
    )
    assert failed == ["m1"]
    assert scoped.visible() == {"section/1/video/a.jsonl": 1}
    [row] = [row for row in scoped.ledger() if row["key"] == "private/a.jsonl"]
    assert "'private/a.jsonl' is not allowed" in row["error"]
    assert scoped.delays == {"r1": 30}


def test_a_bulk_request_outside_is_refused(scoped):
    for prefix in ("", "private/"):
        with pytest.raises(SettingsError, match="XAPI_KEY_PREFIX"):
            scoped.trigger.answer({"mode": "bulk", "prefix": prefix, "dry_run": True}, 20)
    assert scoped.trigger.answer({"mode": "bulk", "prefix": "section/1/", "dry_run": True}, 20)


def test_a_plan_outside_is_refused(settings):
    pipeline = Pipeline(replace(settings, key_prefix="section/"))
    with pytest.raises(SettingsError, match="XAPI_KEY_PREFIX"):
        pipeline.plan(f"s3://{settings.bucket}/private/")


def test_the_check_of_s3_asks_for_a_key_below_the_prefix(scoped, put):
    answer = scoped.trigger.answer({"diagnostics": True}, 20)
    assert answer["status"] == "ok"
    assert answer["settings"]["key_prefix"] == "section/"

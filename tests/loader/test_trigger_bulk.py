"""Bulk loads that an event requests: which objects, in how many steps, and what stops them."""

import time
from functools import partial

import pytest

from loader.errors import PermanentError, RetryableError, SettingsError
from loader.load import pieces
from loader.settings import Settings
from tests.helpers.trigger_stage import INSERT, LINE, Stage, named


@pytest.fixture
def lake(put) -> list[str]:
    """Objects of three days and two sections, one with braces in its folder."""
    keys = [
        f"section/{section}/video/2025-10-0{day}T00-00-15.123456Z_{number}.jsonl"
        for section in (1, 2)
        for day in (1, 2, 3)
        for number in range(2)
    ]
    keys += ["section/2/{a}/2025-10-02T00-00-15.1Z_{b,c}.jsonl", "section/21/video/late.jsonl"]
    for key in keys:
        put(key, LINE)
    put("section/1/video/notes.txt", b"no statements")
    return keys


def test_a_dry_run_of_bulk_reports_what_it_would_do(stage, lake, bucket):
    stage.deliver(named(bucket, lake[0]))
    answer = stage.trigger.answer({"mode": "bulk", "dry_run": True}, 20)
    assert (answer["objects"], answer["held"], answer["to_load"]) == (14, 1, 13)
    assert answer["bytes"] == 14 * len(LINE)
    nothing = {"mode": "bulk", "dry_run": True, "section_ids": [8, 9]}
    assert stage.trigger.answer(nothing, 20)["bytes"] == 0
    assert len(stage.visible()) == 1


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 14),
        ({"section_id": 2}, 7),
        ({"section_ids": [1, 2]}, 13),
        ({"prefix": "section/2"}, 8),
        ({"prefix": "section/2/{a}/"}, 1),
        ({"start_date": "2025-10-02", "end_date": "2025-10-02"}, 5),
        ({"section": 1, "start_date": "2025-10-03"}, 2),
        ({"end_date": "2025-10-01"}, 4),
        ({"section": 9}, 0),
    ],
)
def test_bulk_loads_the_selected_objects_once(stage, lake, fields, count):
    event = {"mode": "bulk"} | fields
    answer = stage.trigger.answer(event, 20)
    assert answer["objects"] == ({"committed": count} if count else {})
    assert (answer["complete"], answer["left"], answer["next"]) == (True, 0, None)
    assert len(stage.visible()) == count
    assert stage.trigger.answer(event, 20)["objects"] == {}


def test_bulk_lists_prefixes_with_any_characters(stage, put):
    folders = [
        "pre fix/",
        " leading/",
        "100%/",
        "%C3%A4/",
        "pre%20fix/",
        "pre#fix/",
        "pre+fix/",
        "prä/日本/",
        "a&b=c;d@e:f/",
        "a?versionId=b/",
        "what?/",
        'it\'s "quoted"/',
        "~!$(),[]^`|\\/",
        "{a,b}*/ ü#/",
        "ü 100%/a$b^/",
    ]
    for folder in folders:
        put(f"{folder}ü x%20#1.jsonl", LINE)
        put(f"{folder}sub/2.jsonl", LINE)
    for folder in folders:
        answer = stage.trigger.answer({"mode": "bulk", "prefix": f"{folder}ü x%20#"}, 20)
        assert answer["objects"] == {"committed": 1}, folder
        answer = stage.trigger.answer({"mode": "bulk", "prefix": folder}, 20)
        assert answer["objects"] == {"committed": 1}, folder
    assert len(stage.visible()) == 2 * len(folders)


def test_bulk_stops_in_time_and_continues_where_it_stopped(stage, lake, lake_server, monkeypatch):
    monkeypatch.setattr("loader.bulk.resumable.pieces", partial(pieces, most_bytes=3 * len(LINE)))
    # Each insert takes long on the trigger's clock; how busy the machine is does not matter.
    passed = []
    stage.trigger.clock = lambda: time.monotonic() + sum(passed)
    lake_server.fault = lambda sql: passed.append(100) if INSERT.match(sql) else None
    event, answers = {"mode": "bulk", "section_ids": [1, 2]}, []
    while event and len(answers) < 9:
        answers.append(stage.trigger.answer(event, 450 if not answers else 2000))
        event = answers[-1]["next"]
    assert [answer["complete"] for answer in answers] == [False, True]
    assert answers[0]["left"] > 0 and answers[0]["objects"]["committed"] > 0
    assert sum(answer["objects"].get("committed", 0) for answer in answers) == 13
    assert set(stage.visible()) == set(lake[:13])


def test_bulk_with_force_loads_again(stage, lake):
    event = {"mode": "bulk", "section": 1}
    stage.trigger.answer(event, 20)
    assert stage.trigger.answer(event | {"force": True}, 20)["objects"] == {"committed": 6}


def test_bulk_names_what_failed_and_what_stopped_it(
    stage, lake, put, lake_server, settings, bucket
):
    put("section/1/video//odd.jsonl", LINE)
    answer = stage.trigger.answer({"mode": "bulk", "section": 1}, 20)
    assert answer["objects"] == {"committed": 6, "failed": 1}
    assert answer["failures"][0]["object"] == f"s3://{bucket}/section/1/video//odd.jsonl"
    with pytest.raises(PermanentError, match="not allowed"):
        stage.trigger.answer({"mode": "bulk", "bucket": "elsewhere"}, 20)
    with pytest.raises(SettingsError, match="S3_XAPI_BUCKET_NAME"):
        Stage(Settings(target="server")).trigger.answer({"mode": "bulk"}, 20)
    lake_server.fault = lambda sql: "refuse"
    with pytest.raises(RetryableError):
        stage.trigger.answer({"mode": "bulk"}, 20)

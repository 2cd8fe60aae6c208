"""The sample lake: what it promises to those who compare a pipeline with it."""

import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from loader.demo.sample import OLI, SampleObject, SamplePlan, objects, summarise

PLAN = SamplePlan()
LAKE = list(objects(PLAN))
SUMMARY = summarise(PLAN)
KEY = re.compile(
    r"section/\d+/(video|attempt_evaluated|page_viewed)/"
    r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6})Z_[0-9A-F]{32}( copy\+1)?\.jsonl(\.gz)?"
)
TYPES = {
    "https://w3id.org/xapi/video/activity-type/video": "video",
    f"{OLI}activity_attempt": "activity_attempt",
    f"{OLI}page_attempt": "page_attempt",
    "http://adlnet.gov/expapi/activities/question": "part_attempt",
    f"{OLI}types/page": "page_viewed",
}


def lines_of(sample: SampleObject) -> list[bytes]:
    """The lines of an object as a loader sees them."""
    body = gzip.decompress(sample.body) if sample.key.endswith(".gz") else sample.body
    return [line for line in body.split(b"\n") if line]


def moment(text: str) -> datetime:
    """The instant of a timestamp with any offset."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def statement_or_reason(line: bytes) -> dict[str, Any] | str:
    """Judge a line as the pipeline should, with nothing but the standard library."""
    try:
        statement = json.loads(line)
    except ValueError:  # bytes that are not UTF-8 end here too
        return "not JSON"
    if not isinstance(statement, dict):
        return "not an object"
    try:
        moment(statement.get("timestamp") or "")
    except ValueError:
        return "no usable timestamp"
    if not (statement.get("verb") or {}).get("id"):
        return "no verb"
    return statement if statement.get("actor") else "no actor"


def family_of(statement: dict[str, Any]) -> str:
    """The family by the type of the object, which the sample always names."""
    return TYPES.get(statement["object"]["definition"]["type"], "other")


def good_statements() -> list[dict[str, Any]]:
    """Every statement of the lake that is none of the bad lines."""
    judged = (statement_or_reason(line) for sample in LAKE for line in lines_of(sample))
    return [statement for statement in judged if isinstance(statement, dict)]


def test_same_plan_gives_the_same_bytes() -> None:
    """Tests and benchmarks compare runs, so a run must be repeatable."""
    assert list(objects(SamplePlan())) == LAKE


def test_another_process_gives_the_same_bytes() -> None:
    """Nothing depends on the hash seed of the process."""
    code = (
        "import hashlib; from loader.demo.sample import *; h = hashlib.sha256();"
        "[h.update(o.key.encode() + o.body) for o in objects(SamplePlan(sections=1))];"
        "print(h.hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]


def test_another_seed_gives_another_lake() -> None:
    """Two lakes can be loaded side by side."""
    keys = {sample.key for sample in objects(SamplePlan(seed=8))}
    assert keys.isdisjoint(sample.key for sample in LAKE)


def test_default_plan_has_the_size_of_a_demo() -> None:
    """Large enough to plot, small enough to load in a moment."""
    assert 250 <= SUMMARY.objects <= 400
    assert 5_000 <= SUMMARY.lines <= 8_000
    assert all(SUMMARY.families.values())


def test_keys_are_those_of_torus_and_name_the_upload_time() -> None:
    """A backfill reads section and day out of the key."""
    for sample in LAKE:
        stamp = KEY.fullmatch(sample.key)[2]
        assert stamp == sample.uploaded_at.strftime("%Y-%m-%dT%H-%M-%S.%f")
    assert len({sample.key for sample in LAKE}) == len(LAKE)


def test_objects_are_uploaded_seconds_after_their_last_statement() -> None:
    """As the platform does, replays aside."""
    bodies = set()
    for sample in LAKE:
        judged = [statement_or_reason(line) for line in lines_of(sample)]
        times = [moment(s["timestamp"]) for s in judged if isinstance(s, dict)]
        if times and sample.body not in bodies:  # a replay comes much later
            assert timedelta(0) < sample.uploaded_at - max(times) < timedelta(minutes=1)
        bodies.add(sample.body)


def test_summary_agrees_with_an_independent_count() -> None:
    """The summary counts while making; here every line is read again."""
    judged = [statement_or_reason(line) for sample in LAKE for line in lines_of(sample)]
    reasons = Counter(item for item in judged if isinstance(item, str))
    good = [item for item in judged if isinstance(item, dict)]
    distinct = {json.dumps(statement, sort_keys=True): statement for statement in good}

    assert len(LAKE) == SUMMARY.objects
    assert len(judged) == SUMMARY.lines
    assert reasons == SUMMARY.reasons
    assert reasons.total() == SUMMARY.bad_lines == PLAN.bad_lines
    assert Counter(map(family_of, distinct.values())) == SUMMARY.families
    assert len(good) - len(distinct) == SUMMARY.duplicate_lines


@pytest.mark.parametrize(
    "plan",
    [
        SamplePlan(sections=1, months=1, learners=1),
        SamplePlan(bad_lines=500, duplicates=500, replays=5, lines_per_object=5),
        SamplePlan(bad_lines=0, duplicates=0, replays=0, foreign_sessions=0, odd_objects=False),
    ],
    ids=["tiny", "dirty", "clean"],
)
def test_summary_adds_up_for_other_plans(plan: SamplePlan) -> None:
    """Also where bad lines, repeats and replays meet in one object."""
    summary = summarise(plan)
    lines = [line for sample in objects(plan) for line in lines_of(sample)]
    good = [s for s in map(statement_or_reason, lines) if isinstance(s, dict)]
    distinct = {json.dumps(statement, sort_keys=True): statement for statement in good}
    assert summary.lines == len(lines)
    assert summary.bad_lines == len(lines) - len(good)
    assert summary.duplicate_lines == len(good) - len(distinct)
    assert +Counter(summary.families) == Counter(map(family_of, distinct.values()))


def test_first_object_arrives_without_generating_all() -> None:
    """A thousand years of it would never end."""
    endless = SamplePlan(sections=10, months=12_000, learners=30)
    first = list(islice(objects(endless), 3))
    assert first[0].body


def test_one_object_is_replayed_months_later_under_a_new_key() -> None:
    """A failed upload comes again: same bytes, another name."""
    by_body = {}
    for sample in LAKE:
        by_body.setdefault(sample.body, []).append(sample)
    [(original, replay)] = [same for same in by_body.values() if len(same) == 2]
    assert original.key != replay.key
    assert replay.uploaded_at - original.uploaded_at > timedelta(days=59)


def test_lake_holds_one_gzip_one_empty_and_one_oddly_named_object() -> None:
    """Each is one that a loader has stumbled over."""
    assert sum(sample.key.endswith(".jsonl.gz") for sample in LAKE) == 1
    assert sum(sample.body == b"" for sample in LAKE) == 1
    assert sum(" " in sample.key and "+" in sample.key for sample in LAKE) == 1


def test_bundles_end_with_and_without_a_newline() -> None:
    """No loader may count on the last newline."""
    assert {sample.body[-1:] == b"\n" for sample in LAKE if sample.body} == {True, False}


def test_progress_and_segments_follow_the_clock() -> None:
    """Between play and pause, as much video passes as time."""
    media = "https://w3id.org/xapi/video/extensions/"
    played = {}
    for sample in sorted(LAKE, key=lambda sample: sample.uploaded_at):
        for line in lines_of(sample):
            statement = statement_or_reason(line)
            if not isinstance(statement, dict) or family_of(statement) != "video":
                continue
            verb, result = statement["verb"]["id"].rsplit("/", 1)[1], statement["result"]
            at, result = moment(statement["timestamp"]), result["extensions"]
            viewing = json.dumps(statement["actor"]), statement["object"]["id"]
            if verb == "played":
                played[viewing] = at, float(result[f"{media}time"])
            elif verb == "paused" and viewing in played:
                started_at, position = played.pop(viewing)
                watched = result[f"{media}time"] - position
                assert abs((at - started_at).total_seconds() - watched) < 2
                assert 0 < result[f"{media}progress"] <= 1
                segments = result[f"{media}played-segments"].split("[,]")
                assert float(segments[-1].split("[.]")[1]) == result[f"{media}time"]


def test_odd_spellings_of_torus_all_occur() -> None:
    """A parser that reads the sample has met them all."""
    raw = b"\n".join(line for sample in LAKE for line in lines_of(sample))
    statements = [s for s in good_statements() if OLI in json.dumps(s)]
    extensions = [s["context"]["extensions"] for s in statements]
    parts = [s for s in statements if family_of(s) == "part_attempt"]

    def kinds(values: Iterable[Any]) -> set[str]:
        return {type(value).__name__ for value in values}

    def of(name: str) -> list[Any]:
        return [e[OLI + name] for e in extensions if OLI + name in e]

    assert kinds(s["actor"]["account"]["name"] for s in statements) == {"int", "str"}
    assert kinds(of("page_attempt_number")) == {"int", "NoneType"}
    assert kinds(of("hints_requested")) == {"int", "list"}
    assert kinds(of("session_id")) == {"str", "NoneType"}
    assert kinds(part["result"]["response"] for part in parts) == {"dict", "str"}
    feedbacks = [part["result"]["extensions"][f"{OLI}feedback"] for part in parts]
    assert kinds(feedbacks) == {"dict", "NoneType"}
    plays = [s["result"]["extensions"] for s in statements if "played" in s["verb"]["id"]]
    times = [play["https://w3id.org/xapi/video/extensions/time"] for play in plays]
    assert kinds(times) == {"float", "str"}
    assert any(s["timestamp"].endswith("+02:00") for s in statements)
    assert {f"{OLI}page_id", f"{OLI}resource_id"} <= {
        name
        for s in statements
        if s["verb"]["id"].endswith("video/verbs/completed")
        for name in s["context"]["extensions"]
    }
    experienced = [s for s in statements if s["verb"]["id"].endswith("experienced")]
    assert set(map(family_of, experienced)) == {"video", "page_viewed"}
    assert b"https:\\/\\/" in raw
    assert "自然選択".encode() in raw
    assert b'\\"Enzyme\\"' in raw


def test_other_producers_name_a_course_and_no_section() -> None:
    """They follow the generic video profile and have statement ids."""
    foreign = [s for s in good_statements() if "id" in s]
    assert foreign
    assert all(OLI not in json.dumps(statement) for statement in foreign)
    places = {place for s in foreign for place in s["context"]["contextActivities"]}
    assert places == {"parent", "grouping"}
    actors = {name for s in foreign for name in s["actor"]}
    assert actors == {"account", "mbox", "mbox_sha1sum", "openid"}


def test_one_statement_id_is_shared_by_two_different_statements() -> None:
    """Whoever keeps one row per id loses an event."""
    contents = {}
    for statement in good_statements():
        if "id" in statement:
            text = json.dumps(statement, sort_keys=True)
            contents.setdefault(statement["id"], set()).add(text)
    assert sorted(map(len, contents.values()))[-2:] == [1, 2]

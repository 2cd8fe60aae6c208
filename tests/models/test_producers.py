"""Statements of all known producers, in the forms in which they come again: how many events they
are, and that no session is split between tables."""

import gzip
import json
from contextlib import closing
from pathlib import Path

import pytest

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.files import local_objects
from loader.load import load
from loader.settings import Settings
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.paths import SHARED

FUN = SHARED / "fun_mooc_video.jsonl.gz"
SHAPES = SHARED / "torus_shapes.jsonl"
# The first lines of the file; all of them in `make proofs`.
SOME = 1500

EVENTS = """
select uniqExact(event_id) as events, count() as lines
from {database:Identifier}.stg_xapi__statements
where family not in ('rejected', 'other', 'blank') and match(source_path, {files:String})
"""
SPLIT = """
select session_id, groupUniqArray(family) as families
from {database:Identifier}.stg_xapi__statements
where session_id != ''
group by session_id
having uniqExact(family) > 1
"""

VIDEO = "https://w3id.org/xapi/video/"


def a_session(name: str, context: dict, objects: list[dict], verbs: list[str]) -> list[dict]:
    """Statements of one session: each verb on each object."""
    return [
        {
            "id": f"{name}-{number}-{verb}",
            "actor": {"account": {"homePage": "https://lms.example.org", "name": name}},
            "verb": {"id": verb},
            "object": about,
            "context": context,
            "timestamp": f"2025-10-01T10:0{number}:00Z",
        }
        for number, about in enumerate(objects)
        for verb in verbs
    ]


ADL = "http://adlnet.gov/expapi/verbs/"
VERBS = [f"{VIDEO}verbs/played", f"{ADL}completed", f"{ADL}experienced", f"{ADL}interacted"]
# Sessions of made-up producers: what a player says of its medium, with and without its type.
SESSIONS = [
    *a_session(
        "video",
        {"extensions": {f"{VIDEO}extensions/session-id": "video"}},
        [{"id": "v", "definition": {"type": f"{VIDEO}activity-type/video"}}, {"id": "v"}],
        VERBS,
    ),
    *a_session(
        "audio",
        {"extensions": {f"{VIDEO}extensions/session-id": "audio"}},
        [{"id": "a", "definition": {"type": "http://activitystrea.ms/schema/1.0/audio"}}],
        VERBS,
    ),
    *a_session(
        "edx",
        {
            "extensions": {
                "https://w3id.org/xapi/openedx/extensions/session-id": "edx",
                "http://w3id.org/xapi/video/extensions/length": 10,
            }
        },
        [{"id": "v", "definition": {"type": f"{VIDEO}activity-type/video"}}, {"id": "v"}],
        VERBS,
    ),
    *a_session(
        "h5p",
        {
            "contextActivities": {
                "category": {"id": "https://h5p.org/libraries/H5P.InteractiveVideo-1.22"}
            },
            "extensions": {"https://w3id.org/xapi/cmi5/context/extensions/sessionid": "h5p"},
        },
        [{"id": "h", "definition": {"name": "Interactive"}}],
        VERBS[1:],
    ),
]


def forms_of(lines: list[bytes]) -> dict[str, list[bytes]]:
    """Statements with ids as they come again, and without or with other ids."""
    statements = [json.loads(line) for line in lines]
    without = [{name: one[name] for name in one if name != "id"} for one in statements]
    return {
        "as they are": lines,
        "without ids": [json.dumps(one).encode() for one in without],
        "derived ids": [
            json.dumps(one | {"id": f"00000000-0000-5000-8000-{number // 2:012x}"}).encode()
            for number, one in enumerate(without)
        ],
        "rewritten by an LRS": [
            json.dumps(
                dict(reversed((one | {"stored": "2026-01-01T00:00:00Z", "authority": {}}).items())),
                separators=(",", ":"),
            ).encode()
            for one in statements
        ],
        "cut to milliseconds": [
            json.dumps(one | {"timestamp": one["timestamp"][:23] + "Z"}).encode()
            for one in statements
        ],
    }


# Forms that are loaded together, and how many events a statement with a random id is in them.
TOGETHER = {
    "as they are": 1,
    "as they are|rewritten by an LRS|cut to milliseconds": 1,
    "without ids": 1,
    "as they are|without ids": 2,
    "as they are|derived ids": 2,
}


@pytest.fixture(scope="module", params=[SOME, pytest.param(None, marks=pytest.mark.long)])
def lines(request, tmp_path_factory: pytest.TempPathFactory, _clean_environment):
    """The staging view of a database with all forms, one file for each; how many lines one has."""
    folder = tmp_path_factory.mktemp("producers")
    (folder / "lines").mkdir()
    (folder / "lines" / "sessions.jsonl").write_text("\n".join(map(json.dumps, SESSIONS)))
    count = 0
    if SHARED.is_dir():
        fun = gzip.decompress(FUN.read_bytes()).splitlines()[: request.param]
        count = len(fun)
        for name, form in forms_of(fun).items():
            (folder / "lines" / f"{name}.jsonl").write_bytes(b"\n".join(form))
        (folder / "lines" / "torus.jsonl").write_bytes(SHAPES.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAPI_CHDB_PATH", str(folder / "clickhouse"))
        current = Settings.from_env()
        with closing(open_warehouse(current)) as warehouse:
            schema.init(warehouse, current)
            list(load(warehouse, current, local_objects(folder / "lines"), mode="file"))
        run_dbt("run", "--select", "stg_xapi__statements", folder=folder)
        with closing(open_warehouse(current)) as warehouse:
            yield warehouse, count


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared statements are not here")
@pytest.mark.parametrize("together", TOGETHER)
def test_statements_that_come_again_in_another_form_are_as_many_events(lines, together):
    warehouse, count = lines
    files = f"/({together})[.]jsonl$"
    (found,) = warehouse.query(EVENTS, files=files)
    assert found["lines"] == count * (together.count("|") + 1)
    assert found["events"] == count * TOGETHER[together]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared statements are not here")
def test_shapes_without_ids_are_an_event_for_each_text(lines):
    warehouse, _ = lines
    different = len(set(Path(SHAPES).read_bytes().splitlines()))
    (found,) = warehouse.query(EVENTS, files="/torus[.]jsonl$")
    # One text belongs to no event table, and one line of an event is there twice.
    assert found == {"events": different - 1, "lines": different}


def test_no_session_is_split_between_tables(lines):
    warehouse, _ = lines
    assert warehouse.query(SPLIT) == []

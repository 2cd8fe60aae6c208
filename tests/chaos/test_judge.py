"""The verdict over a world notices what it is there to notice."""

import pytest

from tests.chaos.harness import World
from tests.chaos.judge import visible_versions

FIRST = "(select min(event_id) from {database:Identifier}.video_events)"


@pytest.fixture
def world(yard, request):
    with yard.world(str(hash(request.node.name)), "embedded", filled=True) as world:
        yield world


def change(world: World, statement: str) -> None:
    with world.warehouse() as warehouse:
        warehouse.command(statement)


def found(world: World) -> tuple[bool, bool, bool]:
    verdict = world.check()
    assert verdict.statements > 1000
    return bool(verdict.lost), bool(verdict.doubled), bool(verdict.wrong)


@pytest.mark.parametrize(
    "commits, visible",
    [
        ("v1 v1", {"v1": "0"}),
        ("v1 v2", {"v1": "0", "v2": "1"}),
        ("v1 v2:replace", {"v2": "1"}),
        ("v1 v2:replace v1:replace", {"v1": "2"}),
        ("v1 v2 v1:forced", {"v1": "2", "v2": "1"}),
        ("v1 v2:replace v2:forced", {"v2": "2"}),
    ],
)
def test_the_verdict_knows_which_load_shows_a_version(commits, visible):
    rows = []
    for at, (etag, _, how) in enumerate(one.partition(":") for one in commits.split()):
        policy = "replace" if how == "replace" else "append"
        rows.append(
            {"bucket": "b", "key": "k", "etag": etag, "load_id": str(at)}
            | {"policy": policy, "forced": how == "forced"}
        )
    assert visible_versions(rows)["b", "k"] == visible


def test_a_sound_world_has_nothing_lost_doubled_or_wrong(world):
    assert found(world) == (False, False, False)


def test_a_lost_event_is_lost(world):
    change(world, f"delete from {{database:Identifier}}.video_events where event_id = {FIRST}")
    assert found(world) == (True, False, False)


def test_an_event_twice_is_doubled(world):
    change(
        world,
        "insert into {database:Identifier}.video_events "
        "select * replace (section_id + 1 as section_id) from {database:Identifier}.video_events "
        f"where event_id = {FIRST}",
    )
    # Which of the two rows is looked at for the cell is open.
    assert found(world)[:2] == (False, True)


def test_one_wrong_cell_is_wrong(world):
    change(
        world,
        "alter table {database:Identifier}.video_events update video_title = 'another' "
        f"where event_id = {FIRST} settings mutations_sync = 2",
    )
    assert found(world) == (False, False, True)


def test_a_raw_line_that_is_not_there_is_lost(world):
    change(
        world,
        "delete from {raw:Identifier}.statements where (load_id, key, source_line) = "
        "(select load_id, key, source_line from {raw:Identifier}.statements "
        "order by key, source_line limit 1)",
    )
    lost, doubled, wrong = found(world)
    assert (lost, doubled) == (True, False)
    assert wrong  # reconcile names it as well


def test_an_object_that_was_never_loaded_is_lost(world):
    world.put("section/1/video/2025-09-01T00-00-00.000000Z_new.jsonl", b'{"verb": {"id": "x"}}')
    assert found(world)[0]


def test_a_commit_that_vanished_is_lost(world):
    (_, key), etag = next(iter(world.current.items()))
    change(
        world,
        "alter table {raw:Identifier}.loads delete where key = '" + key + "' "
        "settings mutations_sync = 2",
    )
    assert (key, etag) in world.held
    assert found(world)[0]

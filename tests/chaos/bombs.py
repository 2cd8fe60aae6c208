"""Objects that take too much memory to read, among ordinary ones."""

import gzip
import random

from tests.chaos.harness import World, scenario
from tests.chaos.kills import fill
from tests.helpers.bombs import LIMIT_MB, many_values, one_line

KINDS = {
    "one long line": lambda dice: one_line(dice.choice((400, 600))),
    "long line after good ones": lambda dice: one_line(400, before=b'{"verb":{"id":"x"}}\n' * 50),
    "long lines": lambda dice: gzip.compress((b"a" * (100 << 20) + b"\n") * 3, 1, mtime=0),
}


@scenario("load", "memory bomb")
def bomb(world: World, dice: random.Random) -> None:
    """One or two bombs in a backfill: they fail by name, and everything else is loaded."""
    fill(world, dice, lines=300)
    _explode(world, dice, "backfill", world.prefix)


@scenario("load", "memory bomb, server", target="server")
def bomb_on_a_server(world: World, dice: random.Random) -> None:
    """The same over HTTP, where several INSERTs run at a time."""
    fill(world, dice, lines=300)
    _explode(world, dice, "backfill", world.prefix, "--batch-objects", str(dice.choice((7, 1000))))


@scenario("transform", "memory bomb", filled=True)
def bomb_for_dbt(world: World, dice: random.Random) -> None:
    """Small objects with very many values in a line: dbt applies them as any other."""
    fill(world, dice, lines=300)
    lines = many_values(dice.choice((20_000, 100_000)))
    for number, line in enumerate(dice.sample(lines, 2)):
        key = f"section/9/video/values{number}_{dice.random()}.jsonl.gz"
        world.put(key, gzip.compress(line, 1, mtime=0))
        world.hit(f"{len(line)} bytes in a line of many values")
    world.load()


def _explode(world: World, dice: random.Random, *command: str) -> None:
    bombs = {}
    for number, kind in enumerate(dice.sample(sorted(KINDS), dice.randint(1, 2))):
        key = f"section/{dice.choice((1, 9, 9999))}/video/bomb{number}_{dice.random()}.jsonl.gz"
        # Not `World.put`: no line of it may ever be visible.
        world.s3.put_object(Bucket=world.bucket, Key=key, Body=KINDS[kind](dice))
        bombs[key] = kind
    world.env["XAPI_LOAD_MEMORY_MB"] = str(LIMIT_MB)
    output = world.run("xapi-elt", *command, code=1)
    failures = [line for line in output.splitlines() if line.startswith("failed: ")]
    for key, kind in bombs.items():
        named = [line for line in failures if key in line]
        world.hit(f"{kind} broke the limit", "XAPI_LOAD_MEMORY_MB" in "".join(named))
        world.s3.delete_object(Bucket=world.bucket, Key=key)
    if len(failures) != len(bombs):
        raise AssertionError(f"{len(bombs)} bombs, but these failed: {failures}")
    # Only the bombs were left out: what follows finds everything else loaded.
    world.held |= {(key, etag) for (_, key), etag in world.current.items()}
    world.look()
    del world.env["XAPI_LOAD_MEMORY_MB"]

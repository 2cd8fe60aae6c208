"""Several commands at once on one server, without coordination."""

import random
import time

from tests.chaos.harness import World, scenario
from tests.chaos.kills import fill, load_in_pieces

TWICE = """
select count() as n
from (
    select key, etag
    from {raw:Identifier}.loads
    where outcome = 'committed'
    group by key, etag
    having count() > 1
)
"""


@scenario("load", "two at once", target="server")
def loads_at_once(world: World, dice: random.Random) -> None:
    """Two or three loads of the same objects: several may commit a version, one is seen."""
    world.commits_twice = True
    fill(world, dice, lines=1000)
    batch = str(dice.choice((10, 1000)))
    command = ("xapi-elt", "backfill", world.prefix, "--batch-objects", batch)
    processes = []
    for _ in range(dice.randint(2, 3)):
        processes.append(world.start(*command))
        time.sleep(dice.choice((0, 0, dice.uniform(0, 0.5))))
    for process in processes:
        assert process.wait() == 0, process.output
    with world.warehouse() as warehouse:
        twice = warehouse.query(TWICE)[0]["n"]
    world.hit(f"{twice} versions committed more than once", twice > 0)


@scenario("transform", "two at once", target="server", filled=True)
def dbt_runs_at_once(world: World, dice: random.Random) -> None:
    """An overlapping schedule: two dbt runs, while objects are loaded."""
    load_in_pieces(world, dice, 1000)
    lines = f"{{slice_lines: {dice.choice((200, 1000000))}}}"
    only = ("run", "--select", "+marts.events", "--vars", lines)
    refresh = ("--full-refresh",) if dice.random() < 0.3 else ()
    runs = [world.start_dbt(*only)]
    time.sleep(dice.uniform(0, 1))
    runs.append(world.start_dbt(*only, *refresh))
    fill(world, dice, shape="few", lines=500)
    world.load()
    together = all(process.poll() is None for process in runs)
    for process in runs:
        assert process.wait() == 0, process.output[-3000:]
    world.hit("two dbt runs at once", together)


@scenario("gc", "load and dbt in flight", target="server", filled=True)
def gc_in_flight(world: World, dice: random.Random) -> None:
    """`xapi-elt gc` as it is scheduled, again and again beside a load and a dbt run."""
    fill(world, dice, lines=1000)
    batch = str(dice.choice((5, 20)))
    others = [world.start("xapi-elt", "backfill", world.prefix, "--batch-objects", batch)]
    others.append(world.start_dbt("run", "--select", "+marts.events"))
    rounds = 0
    while any(process.poll() is None for process in others):
        world.run("xapi-elt", "gc")
        rounds += 1
    for process in others:
        assert process.wait() == 0, process.output[-3000:]
    world.hit(f"gc {rounds} times", rounds > 0)
    world.look(models=True)

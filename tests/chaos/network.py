"""Faults of the network between ClickHouse and S3: each scenario loads a lake while S3 fails."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.harness import World, scenario
from tests.chaos.lakes import blocks, huge, key_of, lake
from tests.chaos.s3_faults import (
    Cut,
    Edit,
    Fault,
    Meanwhile,
    Refuse,
    S3Faults,
    Shorten,
    Slow,
    Status,
)

# Lines of a large object: enough that ClickHouse reads it in several ranges.
LARGE = 60_000


@contextmanager
def through(world: World) -> Iterator[S3Faults]:
    """S3 by way of the proxy, for the commands in the `with`."""
    direct = world.env["AWS_ENDPOINT_URL"]
    with S3Faults(direct) as proxy:
        world.env["AWS_ENDPOINT_URL"] = proxy.url
        try:
            yield proxy
        finally:
            world.env["AWS_ENDPOINT_URL"] = direct


def fill(world: World, dice: random.Random, shape: str = "") -> list[str]:
    """Put a lake (see `lakes.lake`); its keys."""
    made = lake(dice, shape, dice.choice((300, 1000, 3000)))
    for key, body in made.items():
        world.put(key, body)
    return list(made)


def load_under(world: World, dice: random.Random, proxy: S3Faults, what: str) -> None:
    """Load with one of the commands; note what hit, and look at what is visible at once."""
    if dice.random() < 0.5:
        command = ["backfill", world.prefix, "--policy", world.policy]
    else:
        keys = [f"s3://{bucket}/{key}" for bucket, key in world.current]
        command = ["load", "--policy", world.policy, *keys]
    process = world.start("xapi-elt", *command)
    code = process.wait(120)
    proxy.clear()
    world.hit(f"{what}: {proxy.hits} requests of {command[0]}, exit {code}", proxy.hits > 0)
    if code == 0 and not any(isinstance(r.fault, Meanwhile | Edit) for r in proxy.rules):
        world.held |= {(key, etag) for (_, key), etag in world.current.items()}
    world.look()


def passing_fault(dice: random.Random, fault: Fault, what: str, methods=("GET", "HEAD")):
    """A scenario's body: a fault meets a number of requests, then no more."""

    def play(world: World) -> None:
        keys = fill(world, dice)
        with through(world) as proxy:
            for _ in range(dice.randint(1, 3)):
                key = dice.choice(["", "", dice.choice(keys)])
                times = dice.choice((1, 1, 2, 5, 12))
                proxy.rule(dice.choice(methods), key, fault, dice.randint(0, 2), times)
            load_under(world, dice, proxy, what)

    return play


@scenario("S3", "slow answers")
def slow(world: World, dice: random.Random) -> None:
    """Answers wait, and bodies come in drops."""
    fault = Slow(dice.uniform(0, 0.6), dice.choice((1, 5, 20)), dice.uniform(0, 0.03))
    passing_fault(dice, fault, "slow", ("GET", "HEAD", "LIST"))(world)


@scenario("S3", "5xx and throttling")
def failing(world: World, dice: random.Random) -> None:
    """Errors that S3 gives when it is busy, once or several times."""
    passing_fault(dice, Status(dice.choice((500, 503))), "5xx", ("GET", "HEAD", "LIST"))(world)


@scenario("S3", "503 without end")
def dead(world: World, dice: random.Random) -> None:
    """One object cannot be requested during the whole load; the others load."""
    keys = fill(world, dice)
    with through(world) as proxy:
        proxy.rule("HEAD", dice.choice(keys), Status(503), times=float("inf"))
        load_under(world, dice, proxy, "HEAD answers 503")


@scenario("S3", "access denied")
def denied(world: World, dice: random.Random) -> None:
    """No right to read some objects, for a while."""
    keys = fill(world, dice)
    with through(world) as proxy:
        for key in dice.sample(keys, min(len(keys), dice.randint(1, 3))):
            proxy.rule(dice.choice(("GET", "HEAD")), key, Status(403), times=float("inf"))
        load_under(world, dice, proxy, "403")


@scenario("S3", "connection lost in the body")
def cut(world: World, dice: random.Random) -> None:
    """The connection ends, or is reset, before or in the middle of a body."""
    fault = dice.choice((Refuse(), Cut(dice.random()), Cut(dice.random(), reset=True)))
    passing_fault(dice, fault, type(fault).__name__)(world)


@scenario("S3", "body cut for ever")
def cut_on(world: World, dice: random.Random) -> None:
    """No attempt to read one object gets to its end."""
    keys = [key for key in fill(world, dice) if world.bodies.lines(key, _etag(world, key))]
    with through(world) as proxy:
        proxy.rule("GET", dice.choice(keys), Cut(dice.random()), times=float("inf"))
        load_under(world, dice, proxy, "cut")


@scenario("S3", "shorter body, same ETag")
def shorten(world: World, dice: random.Random) -> None:
    """Something on the way hands out the beginning of an object as the whole."""
    keys = [key for key in fill(world, dice) if world.bodies.lines(key, _etag(world, key))]
    with through(world) as proxy:
        for key in dice.sample(keys, min(len(keys), dice.randint(1, 3))):
            proxy.rule("GET", key, Shorten(dice.choice((0.0, 0.5, 0.999, dice.random()))))
        load_under(world, dice, proxy, "shortened")


@scenario("S3", "large object cut and shortened")
def large(world: World, dice: random.Random) -> None:
    """An object of 60,000 lines and more, read in ranges at a time, of which some fail."""
    world.put(key_of(1, dice), huge(dice.randint(1, 2), LARGE))
    fill(world, dice)
    with through(world) as proxy:
        for _ in range(dice.randint(1, 4)):
            fault = dice.choice((Cut(dice.random()), Shorten(dice.random()), Status(503)))
            proxy.rule("GET", "00000001", fault, dice.randint(0, 1))
        load_under(world, dice, proxy, "ranges")


@scenario("S3", "replaced between HEAD and GET")
def replaced(world: World, dice: random.Random) -> None:
    """Objects are overwritten while they are read: of the same length, and of another."""
    world.policy = dice.choice(("append", "append", "replace"))
    # Read by the new version, an object may be loaded as such twice.
    world.commits_twice = True
    keys = [key for key in fill(world, dice) if key.endswith(".jsonl")]
    with through(world) as proxy:
        for key in dice.sample(keys, min(len(keys), dice.randint(1, 4))):
            act = Meanwhile(lambda key=key: world.put(key, dice.choice(blocks(100))))
            proxy.rule(dice.choice(("GET", "HEAD")), key, act, dice.randint(0, 1))
        load_under(world, dice, proxy, "replaced")


@scenario("S3", "large object replaced between ranges")
def replaced_ranges(world: World, dice: random.Random) -> None:
    """A large object is overwritten after some of its ranges were read."""
    key = key_of(1, dice)
    world.commits_twice = True
    world.put(key, huge(1, LARGE))
    with through(world) as proxy:
        act = Meanwhile(lambda: world.put(key, huge(2, LARGE)))
        proxy.rule("GET", key, act, dice.randint(0, 3))
        load_under(world, dice, proxy, "replaced")


@scenario("S3", "deleted between HEAD and GET")
def deleted(world: World, dice: random.Random) -> None:
    """Objects disappear while they are read; some come back."""
    keys = fill(world, dice)
    gone = dice.sample(keys, min(len(keys), dice.randint(1, 3)))
    with through(world) as proxy:
        for key in gone:
            act = Meanwhile(lambda key=key: world.delete(key))
            proxy.rule(dice.choice(("GET", "HEAD")), key, act, dice.randint(0, 1))
        load_under(world, dice, proxy, "deleted")
    for key in gone[: dice.randint(0, 2)]:
        world.put(key, dice.choice(blocks(10)))


@scenario("S3", "listing misses objects")
def unlisted(world: World, dice: random.Random) -> None:
    """A page of the listing lacks objects; the next listing has them."""
    keys = fill(world, dice)
    missed = dice.sample(keys, min(len(keys), dice.randint(1, 9)))

    def without(page: bytes) -> bytes:
        first, *entries = page.decode().split("<Contents>")
        kept = [entry for entry in entries if not any(key in entry for key in missed)]
        last = entries[-1].partition("</Contents>")[2]
        kept = [entry.partition("</Contents>")[0] + "</Contents>" for entry in kept]
        return (first + "".join("<Contents>" + entry for entry in kept) + last).encode()

    with through(world) as proxy:
        rule = proxy.rule("LIST", "", Edit(without), times=float("inf"))
        code = world.start("xapi-elt", "backfill", world.prefix).wait(120)
        proxy.clear()
    world.hit(f"{len(missed)} objects not listed, exit {code}", rule.hits > 0)
    world.look()


def _etag(world: World, key: str) -> str:
    return world.current[world.bucket, key]

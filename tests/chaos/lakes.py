"""Objects for the worlds: lakes of many shapes, cut from one realistic sample."""

import functools
import gzip
import random
from datetime import date

from loader.demo.sample import SamplePlan, objects

# Keys as Torus writes them, from the number of an object.
KEY = "section/{section}/video/2025-{month:02}-{day:02}T00-00-00.{number:06}Z_0CC1{number:08x}"

SHAPES = ("tiny", "few", "mixed")


@functools.cache
def sample_lines(seed: int = 7, learners: int = 12) -> tuple[bytes, ...]:
    """Lines of a realistic lake, bad ones, repeats and foreign producers' among them."""
    plan = SamplePlan(seed=seed, learners=learners, start=date(2025, 9, 1))
    lines: list[bytes] = []
    for item in objects(plan):
        if not item.key.endswith(".gz"):
            lines += [line for line in item.body.split(b"\n") if line]
    random.Random(seed).shuffle(lines)  # each object then holds all months
    return tuple(lines)


@functools.cache
def blocks(size: int) -> tuple[bytes, ...]:
    """The sample in bodies of so many lines. Worlds draw from the same blocks, which are read by
    the oracle once."""
    lines = sample_lines()
    return tuple(b"\n".join(lines[at : at + size]) for at in range(0, len(lines), size))


@functools.cache
def huge(number: int, lines: int) -> bytes:
    """One large body of so many lines, most of them other events than the sample's."""
    plan = SamplePlan(seed=100 + number, sections=12, learners=100, months=3, bad_lines=60)
    found: list[bytes] = []
    for item in objects(plan):
        if not item.key.endswith(".gz"):
            found += [line for line in item.body.split(b"\n") if line]
            if len(found) >= lines:
                break
    return b"\n".join(found[:lines])


def key_of(number: int, dice: random.Random, suffix: str = ".jsonl") -> str:
    """A key for the object of that number."""
    section, month, day = dice.choice((2161, 2174, 2188)), dice.randint(9, 11), dice.randint(1, 28)
    return KEY.format(section=section, month=month, day=day, number=number) + suffix


def lake(dice: random.Random, shape: str = "", lines: int = 2000) -> dict[str, bytes]:
    """Bodies by key.

    Args:
        shape: tiny (many objects of some ten lines), few (of hundreds), mixed; by the dice if
            left out. Some are compressed, empty, or bodies that are there already.
        lines: about how many lines in all.
    """
    shape = shape or dice.choice(SHAPES)
    sizes = {"tiny": (10, 20), "few": (400, 1000), "mixed": (10, 100, 1000)}[shape]
    made: dict[str, bytes] = {}
    count = 0
    while count < lines:
        size = dice.choice(sizes)
        body = dice.choice(blocks(size))
        kind = dice.random()
        if kind < 0.03:
            body = b""
        elif kind < 0.08:
            made[key_of(len(made), dice, ".jsonl.gz")] = gzip.compress(body, mtime=0)
            count += size
            continue
        elif kind < 0.13 and made:
            key = dice.choice(list(made))
            if key.endswith(".jsonl"):
                body = made[key]
        elif kind < 0.3 and body:
            body += b"\n"
        made[key_of(len(made), dice)] = body
        count += body.count(b"\n") + 1
    return made

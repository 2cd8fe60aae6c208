"""The core of the fault injection: worlds in which something fails, and the record of each run.

    @scenario("load", "killed")
    def load_killed(world, dice):
        world.fill(dice)
        process = world.start("xapi-elt", "backfill", world.prefix)
        time.sleep(dice.uniform(0, 1))
        world.hit("killed", process.kill())

After a scenario the ordinary commands run (`World.recover`), and the tables are compared with
the oracle (`World.check`). Nothing else repairs anything.
"""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from tests.chaos.world import World, Yard
from tests.helpers.secrets import files_with_secrets, shows_secret


@dataclass(frozen=True)
class Scenario:
    """A fault at a place: what `function` does to a world."""

    place: str
    fault: str
    function: Callable[[World, random.Random], None]
    target: str = "embedded"
    filled: bool = False

    @property
    def name(self) -> str:
        """The name that the command line takes."""
        return f"{self.place}/{self.fault}"


SCENARIOS: list[Scenario] = []


def scenario(place: str, fault: str, target: str = "embedded", filled: bool = False) -> Callable:
    """Register a scenario.

    Args:
        place: what is hit: load, commit, transform, rebuild, withdraw, gc, queue, backfill.
        fault: what happens to it, e.g. 'killed', 'S3 answers 503'.
        target: embedded, or server (the stand-in for one, as a process).
        filled: whether a lake is loaded and built already; else the tables are empty.
    """

    def register(function: Callable[[World, random.Random], None]) -> Callable:
        SCENARIOS.append(Scenario(place, fault, function, target, filled))
        return function

    return register


class Unfit(Exception):
    """This machine cannot play a scenario; says why. No run, no failure."""


@dataclass
class Record:
    """One run of a scenario.

    Attributes:
        rounds: how often it was played in the world.
        happened: what the fault did, e.g. 'killed after 0.41 s'.
        faults: how many faults really hit.
        statements: visible lines in the end.
        lost, doubled, wrong: see `judge.Verdict`.
        repairs: steps that a person had to take beyond ordinary commands; there is no way to
            take one here, so a run that needs one fails.
        error: what went wrong otherwise; '' if nothing.
    """

    place: str
    fault: str
    target: str
    seed: str
    rounds: int = 0
    happened: list[str] = field(default_factory=list)
    faults: int = 0
    statements: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    repairs: int = 0
    notes: list[str] = field(default_factory=list)
    error: str = ""
    skipped: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was lost, doubled or wrong."""
        return not (self.lost or self.doubled or self.wrong or self.error)

    def as_dict(self) -> dict:
        """The record, for JSON."""
        return asdict(self) | {"ok": self.ok}


def run_scenario(yard: Yard, chosen: Scenario, seed: str, rounds: int = 1) -> Record:
    """Play a scenario in a new world: fault, ordinary recovery, verdict.

    Args:
        seed: decides everything that is left to chance.
        rounds: how often it is played in that world, each time with other objects; after each
            the ordinary commands run, and the verdict is about all of them together. Where a
            round leaves another way to load behind (a policy, a queue), it is the last.
    """
    record = Record(chosen.place, chosen.fault, chosen.target, seed)
    started = time.monotonic()
    name = f"{chosen.place}-{chosen.fault}-{seed}".replace(" ", "_").replace("/", "-")
    shutil.rmtree(yard.folder / name, ignore_errors=True)
    with yard.world(name, chosen.target, chosen.filled) as world:
        try:
            for number in range(rounds):
                record.rounds = number + 1
                chosen.function(world, random.Random(f"{chosen.name}/{seed}/{number}"))
                if number + 1 == rounds or not world.loads_as_usual:
                    break
                world.recover() if chosen.filled else world.load()
            world.recover()
            verdict = world.check()
            for part in ("statements", "lost", "doubled", "wrong", "notes"):
                setattr(record, part, getattr(verdict, part))
            if world.too_early:
                record.error = f"visible before recovery: {world.too_early[:5]}"
        except Unfit as reason:
            record.skipped = str(reason)
        except Exception as error:
            record.error = f"{type(error).__name__}: {error}"[-3000:]
        record.happened, record.faults = world.happened, world.faults
        record.seconds = round(time.monotonic() - started, 1)
    shown = [path.name for path in files_with_secrets(yard.folder / name)]
    shown += ["this record"] if shows_secret(str(record)) else []
    if shown:
        record.error = f"a secret is in {', '.join(shown)}; {record.error}"
    if record.ok:
        shutil.rmtree(yard.folder / name, ignore_errors=True)
    return record

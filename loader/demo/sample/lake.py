"""Generate the objects of the lake: bundles of lines, some repeated, bad or uploaded twice."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import md5
from operator import attrgetter
from random import Random

from loader.demo.sample.others import foreign_events
from loader.demo.sample.plan import SamplePlan
from loader.demo.sample.statements import REPEAT, Event, encode, new_guid, stamp_of
from loader.demo.sample.torus import section_id_of, section_week

FAMILIES = ("video", "activity_attempt", "page_attempt", "part_attempt", "page_viewed", "other")
REASONS = ("not JSON", "not an object", "no usable timestamp", "no verb", "no actor")

# A bundle is uploaded after this time even if it is not full.
PATIENCE = timedelta(days=4)


@dataclass(frozen=True)
class SampleObject:
    """One object of the lake."""

    key: str
    body: bytes
    uploaded_at: datetime


@dataclass(frozen=True)
class SampleSummary:
    """Counts of what a plan generates: lines of each kind, and distinct events by family."""

    objects: int
    lines: int
    bad_lines: int
    duplicate_lines: int
    families: dict[str, int]
    reasons: dict[str, int]  # of the bad lines


def objects(plan: SamplePlan) -> Iterator[SampleObject]:
    """Generate the lake; only one week of one section is in memory at a time."""
    return _lake(plan, Counter())


def summarise(plan: SamplePlan) -> SampleSummary:
    """Count what `objects(plan)` yields."""
    tally: Counter[str] = Counter()
    count = sum(1 for _ in _lake(plan, tally))
    reasons = {reason: tally[reason] for reason in REASONS}
    families = {family: tally[family] for family in FAMILIES}
    bad_lines = sum(reasons.values())
    return SampleSummary(count, tally.total(), bad_lines, tally[REPEAT], families, reasons)


def _lake(plan: SamplePlan, tally: Counter[str]) -> Iterator[SampleObject]:
    rng = Random(f"{plan.seed}/lake")
    units, replays = plan.weeks * plan.sections, []
    made = 0  # stays 0 if the plan has no odd objects
    for unit in range(units):
        week, section = divmod(unit, plan.sections)
        bundles = _bundles(section_week(plan, section, week), plan.lines_per_object)
        for _ in _share(plan.duplicates, unit, units):
            _repeat_a_line(rng, rng.choice(bundles))
        for number in _share(plan.bad_lines, unit, units):
            _insert_bad_line(rng, rng.choice(bundles), number)
        batch = [(section_id_of(section), events) for events in bundles]
        if unit == units // 2:
            foreign = _bundles(foreign_events(plan, week), plan.lines_per_object)
            batch += [(0, events) for events in foreign]
        for section_id, events in batch:
            made += plan.odd_objects
            suffix = {3: ".jsonl.gz", 5: " copy+1.jsonl"}.get(made, ".jsonl")
            text = "\n".join(event.line for event in events) + rng.choice(("", "\n"))
            body = text.encode(errors="surrogateescape")
            body = gzip.compress(body, mtime=0) if suffix.endswith("gz") else body
            uploaded_at = events[-1].at + timedelta(seconds=rng.uniform(2, 25))
            place = f"section/{section_id}/{events[0].category}"
            tally.update(event.kind for event in events)
            yield _object(place, uploaded_at, body, suffix)
            if made == 7:
                yield _object(place, uploaded_at + timedelta(seconds=1), b"")
            if len(replays) < plan.replays and "video" in place and suffix == ".jsonl":
                replays.append((place, uploaded_at, body, events))
    for place, uploaded_at, body, events in replays:
        tally.update(event.kind if event.kind in REASONS else REPEAT for event in events)
        yield _object(place, uploaded_at + timedelta(days=rng.uniform(60, 90)), body)


def _object(place: str, at: datetime, body: bytes, suffix: str = ".jsonl") -> SampleObject:
    stamp, digest = stamp_of(at).replace(":", "-"), md5(f"{place}/{at}".encode()).hexdigest()
    return SampleObject(f"{place}/{stamp}_{digest.upper()}{suffix}", body, at)


def _share(total: int, unit: int, units: int) -> range:
    return range(total * unit // units, total * (unit + 1) // units)


def _bundles(events: list[Event], size: int) -> list[list[Event]]:
    """Split events into bundles of one category each, in the order of their uploads."""
    bundles, open_ones = [], {}
    for event in sorted(events, key=attrgetter("at")):
        bundle = open_ones.get(event.category)
        if not bundle or len(bundle) >= size or event.at - bundle[0].at > PATIENCE:
            bundle = open_ones[event.category] = []
            bundles.append(bundle)
        bundle.append(event)
    return sorted(bundles, key=lambda bundle: bundle[-1].at)


def _repeat_a_line(rng: Random, events: list[Event]) -> None:
    place = rng.randrange(len(events))
    repeat = events[place]._replace(kind=REPEAT, at=events[-1].at)
    events.insert(rng.randint(place + 1, len(events)), repeat)


def _insert_bad_line(rng: Random, events: list[Event], number: int) -> None:
    model = rng.choice([event for event in events if event.kind in FAMILIES])
    line, good = model.line, json.loads(model.line)
    without = {name: encode({k: v for k, v in good.items() if k != name}) for name in good}
    reason, bad = (
        ("not JSON", f"502 Bad Gateway, request {new_guid(rng)}"),
        ("not JSON", line[: len(line) * 2 // 3]),
        ("not JSON", line.replace('"timestamp":', '"note":"\udcff\udcfe","timestamp":')),
        ("not an object", json.dumps(line)),
        ("no usable timestamp", without["timestamp"]),
        ("no usable timestamp", encode({**good, "timestamp": "yesterday evening"})),
        ("no verb", without["verb"]),
        ("no verb", encode({**good, "verb": {}})),
        ("no actor", without["actor"]),
    )[number % 9]
    # The last line stays last, because its time determines the upload time.
    events.insert(rng.randrange(len(events)), model._replace(kind=reason, line=bad))

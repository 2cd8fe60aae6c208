"""Malformed and odd lines: each is accounted for, and every table is as the oracle reads it.

    XAPI_CHAOS=1 XAPI_CHAOS_SEED=7 python -m pytest tests/chaos/test_fuzz.py    # 100,000 lines

Real shapes (the sample's, and those of the shared data where it is) and made-up ones of other
producers are changed member by member and byte by byte, and some lines hold several statements.
"""

import gzip
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from loader.clickhouse import schema
from loader.clickhouse.connect import Warehouse, open_warehouse
from loader.demo.sample import SamplePlan, objects
from loader.files import local_objects
from loader.load import load
from loader.settings import Settings
from tests.chaos.line_changes import CHANGES, Raw, Twice, one_in
from tests.chaos.odd_values import BYTES, OTHER_IDS, RANDOM_ID, STATEMENTS, TIMES
from tests.helpers.compare import FAMILY_TABLES, Place, differences, place_of, raw_lines, readings
from tests.helpers.dbt_runs import run_dbt
from tests.helpers.oracle import Reading
from tests.helpers.paths import SHARED


def real_lines() -> list[dict[str, Any]]:
    """Statements of all shapes that there are."""
    plan = SamplePlan(sections=2, learners=25, bad_lines=0, duplicates=0)
    texts = [
        line
        for item in objects(plan)
        for line in (gzip.decompress(item.body) if item.key.endswith(".gz") else item.body).split(
            b"\n"
        )
    ]
    if SHARED.is_dir():
        texts += (SHARED / "torus_shapes.jsonl").read_bytes().split(b"\n") * 40
        texts += gzip.decompress((SHARED / "fun_mooc_video.jsonl.gz").read_bytes()).split(b"\n")[
            :1500
        ]
    found = []
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def corpus(dice: random.Random, count: int) -> list[bytes]:
    """Lines, none with a line feed."""
    shapes = real_lines()
    lines: list[bytes] = []
    while len(lines) < count:
        statement = json.loads(json.dumps(dice.choice(STATEMENTS if one_in(dice, 5) else shapes)))
        _identify(dice, statement, len(lines))
        for _ in range(dice.choice([0, 1, 1, 1, 2, 4])):
            dice.choice(CHANGES)(dice, statement)
        line = written(dice, statement)
        lines.append(line)
        if dice.random() < 0.05:
            # The same event again: to the byte, written otherwise, or as an LRS stored it.
            stored = statement | {"stored": "2025-10-02T00:00:00.5Z", "version": "1.0.3"}
            again = dice.choice([statement, stored])
            lines.append(line if one_in(dice, 3) else written(dice, again))
        elif dice.random() < 0.35:
            lines[-1] = broken(dice, lines[-1])
        elif one_in(dice, 20):
            lines[-1] = several(dice, [*lines[-dice.choice([1, 2, 3]) :]])
        if dice.random() < 0.01:
            lines.append(dice.choice(SPECIAL)(dice))
    return [line.replace(b"\n", b"") for line in lines[:count]]


def _identify(dice: random.Random, statement: dict[str, Any], number: int) -> None:
    """Give a statement a random id, another one, an empty one, or none."""
    statement.pop("id", None)
    kind = dice.randrange(10)
    if kind < 4:
        random_id = RANDOM_ID.format(number)
        statement["id"] = random_id.upper() if one_in(dice, 4) else random_id
    elif kind < 7:
        # Some ids are shared by different statements.
        shared = number // 2 if one_in(dice, 3) else number
        statement["id"] = dice.choice(OTHER_IDS).format(shared)
    elif kind == 7:
        statement["id"] = dice.choice(["", None])
    about = statement.get("object")
    if isinstance(about, dict) and about.get("objectType") == "StatementRef":
        # What is voided comes before or after.
        about["id"] = RANDOM_ID.format(dice.randrange(number + 100)).upper()


REPAIRED = re.compile(rb"\\u[dD]|[0-9][eE][+-]?[0-9]{3}|[0-9]{300}")


def written(dice: random.Random, value: Any) -> bytes:
    """A value as JSON, in one of the many ways to write it."""
    gap = dice.choice(["", "", "", " ", "\t", "  "])
    ascii_only, slashes = dice.random() < 0.5, dice.random() < 0.2

    def text(part: str) -> str:
        quoted = json.dumps(str(part), ensure_ascii=ascii_only)
        return quoted.replace("/", "\\/") if slashes else quoted

    def write(part: Any) -> str:
        if isinstance(part, Raw):
            return str(part)
        if isinstance(part, str):
            return text(part)
        if isinstance(part, dict):
            members = list(part.items())
            if not any(isinstance(name, Twice) for name, _ in members) and dice.random() < 0.3:
                dice.shuffle(members)
            inner = f",{gap}".join(f"{text(name)}:{gap}{write(one)}" for name, one in members)
            return f"{{{gap}{inner}{gap}}}"
        if isinstance(part, list):
            return f"[{gap}{f',{gap}'.join(map(write, part))}{gap}]"
        return json.dumps(part)

    return write(value).encode("utf-8", "surrogatepass")


def several(dice: random.Random, lines: list[bytes]) -> bytes:
    """One line of several: a list, an LRS's answer, one after another, or an envelope."""
    # What only the engine refuses is repaired before a line is split, which shows in the id of a
    # statement without an id (docs/decisions/0023-ids-that-never-change.md).
    lines = [line for line in lines if not REPAIRED.search(line)] or [b'{"id":"nothing else"}']
    listed = dice.choice([b",", b" , "]).join(lines)
    kind = dice.randrange(7)
    if kind == 0:
        return b"[" + listed + b"]"
    if kind == 1:
        return b'{"more":"","statements": [' + listed + b"]}"
    if kind == 2:
        return b'{"statement":' + lines[0] + b"}"
    if kind == 3:
        return b'{"timestamp":"2025-10-01T10:00:00Z","message":' + lines[0] + b"}"
    if kind == 4:
        try:
            return json.dumps({"message": lines[0].decode(), "source_type": "file"}).encode()
        except UnicodeDecodeError:
            return lines[0]
    return dice.choice([b"", b" ", b"\t\r"]).join(lines)


def broken(dice: random.Random, line: bytes) -> bytes:
    """A line with bytes lost, changed or added."""
    at = dice.randrange(len(line) + 1)
    kind = dice.randrange(8)
    if kind == 0:
        return line[:at]
    if kind == 1:
        return line[at:]
    if kind == 2:
        return line[:at] + bytes([dice.randrange(256)]) + line[at + 1 :]
    if kind in (3, 4):
        return line[:at] + dice.choice(BYTES) + line[at:]
    if kind == 5:
        return dice.choice([b"\xef\xbb\xbf", b" ", b"\t", b"\r", b"\x00", b"\xc2\xa0", b"x"]) + line
    if kind == 6:
        return line + dice.choice([b"\r", b" ", b"\x00", b",", b"{}", b" // end", b"\x1a", b"]"])
    other = dice.randrange(len(line) + 1)
    return line[: min(at, other)] + line[max(at, other) :]


SPECIAL: list[Callable[[random.Random], bytes]] = [
    lambda dice: b"",
    lambda dice: b"\r",
    lambda dice: b" " * dice.randint(1, 9),
    lambda dice: b"\x00" * dice.randint(1, 9),
    lambda dice: b"\xef\xbb\xbf",
    lambda dice: dice.choice([b"null", b"true", b"1", b'"x"', b"[]", b"{}", b"[{}]", b"{}{}"]),
    lambda dice: dice.choice(
        [b'{"statements":[]}', b'{"message":""}', b'{"message":"x"}', b"[[]]"]
    ),
    lambda dice: dice.choice([b'{"statements":{}}', b'{"statement":"x"}', b'[{"statement":{}},7]']),
    lambda dice: bytes(dice.randrange(256) for _ in range(dice.randint(1, 60))),
    lambda dice: b"[" * (depth := dice.randint(1, 4000)) + b"]" * depth,
    lambda dice: b'{"verb":{"id":"' + b"x" * dice.choice([10**5, 10**6, 3 * 10**6]) + b'"}}',
    lambda dice: b'{"timestamp":"' + dice.choice(TIMES).encode() + b'"}',
]


def run(seed: int, count: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Load a corpus into the database of the environment and build the tables.

    Args:
        seed: of the lines.
        count: of the lines.
        folder: where files may lie.

    Returns:
        Lines by family, and what is wrong with the tables; empty if nothing is.
    """
    dice = random.Random(seed)
    lines = corpus(dice, count)
    (folder / "lines").mkdir()
    written_: dict[str, bytes] = {}
    for at in range(0, count, 10_000):
        path = folder / "lines" / f"{at}.jsonl"
        # The last line of a file has no end.
        written_[str(path)] = b"\n".join([*lines[at : at + 10_000], b"the last line"])
        path.write_bytes(written_[str(path)])
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        outcomes = [
            outcome
            for batch in load(
                warehouse, settings, local_objects(folder / "lines"), mode="file", policy="append"
            )
            for outcome in batch
        ]
        faults = [str(one) for one in outcomes if one.outcome != "committed"]
        if sum(one.rows for one in outcomes) != count + len(written_):
            faults.append(f"{sum(one.rows for one in outcomes)} lines loaded")
    run_dbt("run", folder=folder)
    expected = readings(written_)
    with closing(open_warehouse(settings)) as warehouse:
        faults += _wrong(warehouse, written_, expected)
    return Counter(reading.family for reading in expected.values()), faults


STORED = """
select source_path, source_line, source_item, family, reject_reason
from {database:Identifier}.int_xapi__statements
"""
REJECTED = """
select source_path, source_line, source_item, reason, lower(hex(MD5(line))) as digest
from {database:Identifier}.rejected_statements
"""
# What the engine's JSON reader does not take: half a surrogate pair, a number beyond Float64.
REPAIRED = re.compile(rb"\\u[dD]|[eE]\+?\d{3}|\d{300}")
RAW = """
select key, source_line, lower(hex(MD5(line))) as digest from {raw:Identifier}.statements
"""


def _wrong(
    warehouse: Warehouse, bodies: dict[str, bytes], expected: dict[Place, Reading]
) -> Iterator[str]:
    """Where tables and oracle differ."""
    digests = {(row["key"], row["source_line"]): row["digest"] for row in warehouse.query(RAW)}
    put = {(path, number) for path, number, _ in raw_lines(bodies)}
    if digests.keys() != put:
        yield f"raw holds {len(digests)} of {len(put)} lines"
    stored = {
        place_of(row): (row["family"], row["reject_reason"]) for row in warehouse.query(STORED)
    }
    for place, reading in expected.items():
        if stored.get(place) != (reading.family, reading.reason or ""):
            yield f"{place}: {stored.get(place)}, expected {reading.family}, {reading.reason}"
    rejected = {place_of(row): (row["reason"], row["digest"]) for row in warehouse.query(REJECTED)}
    wanted = {
        place: (reading.reason, digests.get(place[:2]))
        for place, reading in expected.items()
        if reading.reason
    }
    for place, (reason, digest) in rejected.items():
        # Of a line with several statements the rejected part is kept, as the reader takes it.
        reading = expected.get(place)
        is_same = reading and digest == hashlib.md5(reading.identity[1]).hexdigest()
        if reading and place[2] and (is_same or REPAIRED.search(reading.identity[1])):
            rejected[place] = reason, digests.get(place[:2])
    if rejected != wanted:
        odd = {
            place
            for place in rejected.keys() | wanted.keys()
            if rejected.get(place) != wanted.get(place)
        }
        yield f"rejected_statements differs in {len(odd)} lines: {sorted(odd)[:3]}"
    for family in FAMILY_TABLES:
        yield from differences(warehouse, expected, family)

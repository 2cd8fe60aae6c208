"""The verdict over a world: its tables against the independent reading of what was put there.

Nothing of the project's SQL is shared: which object versions count is worked out from the rows
of the ledger, and what they say by `tests/helpers/oracle.py`.
"""

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

from loader.clickhouse.connect import Warehouse
from tests.helpers.compare import FAMILY_TABLES, typed, without_voided
from tests.helpers.oracle import Reading, read_lines, same_value

# In the order of UUIDs, which is not that of their text, should two commits share a millisecond.
COMMITS = """
select
    toString(load_id) as load_id, bucket, key, etag, rows, policy, forced,
    toString(committed_at) as at
from {raw:Identifier}.loads
where outcome = 'committed'
order by commit_number, committed_at, toUUID(load_id)
"""

# Each committed object as raw holds it, in one digest. Lines may hold any bytes.
RAW_OBJECTS = """
select
    toString(load_id) as load_id, bucket, key, any(etag) as version, uniqExact(etag) as versions,
    count() as lines,
    lower(hex(MD5(arrayStringConcat(arrayMap(x -> x.2, arraySort(groupArray((source_line, line)))), '\n')))) as digest
from {raw:Identifier}.statements
where (load_id, bucket, key) in (
    select load_id, bucket, key from {raw:Identifier}.loads where outcome = 'committed'
)
group by load_id, bucket, key
"""  # noqa: E501

STORED = """
select toString(load_id) as load_id, source_path, source_line, source_item, family
from {database:Identifier}.int_xapi__statements
where family != 'blank'
"""

REJECTED = """
select toString(load_id) as load_id, source_path, source_line, source_item, reason
from {database:Identifier}.rejected_statements
"""

# A statement: (load_id, path of its object, number of its line from 1, its item in the line).
Place = tuple[str, str, int, int]


@dataclass
class Verdict:
    """What a comparison found.

    Attributes:
        statements: lines that are to be seen.
        lost: rows that a table lacks.
        doubled: rows that a table has once too often, or must not have at all.
        wrong: cells, objects or commands that differ otherwise.
        notes: what is wrong, the first findings in words.
    """

    statements: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all is as it should be."""
        return not (self.lost or self.doubled or self.wrong)

    def add(self, kind: str, count: int, note: str) -> None:
        """Count a finding as lost, doubled or wrong."""
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            if len(self.notes) < 20:
                self.notes.append(f"{kind} {count}: {note}"[:500])


class Bodies:
    """Every object version that was ever put, by key and etag, and what its lines mean."""

    _read: dict[bytes, list[list[Reading]]] = {}  # noqa: RUF012 - of all worlds: their lines recur

    def __init__(self):
        self._lines: dict[tuple[str, str], list[bytes]] = {}

    def add(self, key: str, etag: str, body: bytes) -> None:
        """Remember a version of an object."""
        self._lines[key, etag] = lines_of(body, key)

    def __contains__(self, version: tuple[str, str]) -> bool:
        """Whether a version (key, etag) was ever put."""
        return version in self._lines

    def lines(self, key: str, etag: str) -> list[bytes]:
        """The lines of a version."""
        return self._lines[key, etag]

    def digest(self, key: str, etag: str) -> str:
        """The digest that RAW_OBJECTS makes of it."""
        return md5(b"\n".join(self._lines[key, etag])).hexdigest()

    def readings(self, key: str, etag: str) -> list[list[Reading]]:
        """What the statements of each line mean."""
        lines = self._lines[key, etag]
        digest = md5(b"\n".join(lines)).digest()
        if digest not in self._read:
            self._read[digest] = read_lines(lines)
        return self._read[digest]


def lines_of(body: bytes, key: str = "") -> list[bytes]:
    """The lines of an object's body."""
    if key.endswith(".gz"):
        body = gzip.decompress(body)
    lines = body.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def visible_versions(commits: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, str]]:
    """Which load shows which version of each object: the rule of the ledger, written independently.

    Args:
        commits: rows of COMMITS, in the order of their numbers.

    Returns:
        For each (bucket, key) the load of each etag that is to be seen.
    """
    seen: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for commit in commits:
        of_key = seen[commit["bucket"], commit["key"]]
        etag, load_id = commit["etag"], commit["load_id"]
        if commit["policy"] == "replace":
            for other in of_key.keys() - {etag}:
                del of_key[other]
        if commit["forced"]:
            of_key[etag] = load_id
        else:
            of_key.setdefault(etag, load_id)
    return seen


def judge(
    warehouse: Warehouse,
    bodies: Bodies,
    current: dict[tuple[str, str], str],
    held: set[tuple[str, str]],
    *,
    policy: str = "append",
    commits_twice: bool = False,
    models: bool = True,
) -> Verdict:
    """Compare all tables with what was put.

    Args:
        bodies: every version ever put.
        current: (bucket, key) of the objects that lie there now, with their etag.
        held: (key, etag) of versions whose load was reported as done.
        policy: with 'ignore', another version of a held object is not to be loaded.
        commits_twice: whether two loads may have committed one version (at the same time, or
            forced); otherwise it must be committed once.
        models: whether dbt has run since; else only raw and the ledger are compared.
    """
    verdict = Verdict()
    commits = warehouse.query(COMMITS)
    visible = visible_versions(commits)
    for (bucket, key), etag in current.items():
        versions = visible.get((bucket, key), {})
        if etag not in versions and not (policy == "ignore" and versions):
            verdict.add("lost", max(len(bodies.lines(key, etag)), 1), f"{key}: not in the ledger")
    known = {(commit["key"], commit["etag"]) for commit in commits}
    verdict.add(
        "lost", len(held - known), f"commits that were reported: {sorted(held - known)[:3]}"
    )
    verdict.add("wrong", sum(version not in bodies for version in known), "versions never put")
    if not commits_twice:
        often = Counter((commit["bucket"], commit["key"], commit["etag"]) for commit in commits)
        again = [version for version, count in often.items() if count > 1]
        verdict.add("wrong", len(again), f"committed more than once: {again[:3]}")
    commits = [commit for commit in commits if (commit["key"], commit["etag"]) in bodies]
    _judge_raw(warehouse, bodies, commits, verdict)
    seen = [
        (load_id, bucket, key, etag)
        for (bucket, key), versions in visible.items()
        for etag, load_id in versions.items()
        if (key, etag) in bodies
    ]
    verdict.statements = sum(len(bodies.lines(key, etag)) for _, _, key, etag in seen)
    if not models:
        return verdict
    expected: dict[Place, Reading] = {}
    for load_id, bucket, key, etag in seen:
        path = f"{bucket}/{key}" if bucket else key
        for number, line in enumerate(bodies.readings(key, etag), 1):
            for reading in line:
                expected[load_id, path, number, reading.item] = reading
    _judge_places(warehouse, expected, verdict)
    shown = without_voided(expected)
    for family, table in FAMILY_TABLES.items():
        _judge_events(warehouse, shown, family, table, verdict)
    return verdict


def _judge_raw(warehouse: Warehouse, bodies: Bodies, commits: list[dict], verdict: Verdict) -> None:
    """Every committed object is in raw whole and once, line by line."""
    raw = {(row["load_id"], row["bucket"], row["key"]): row for row in warehouse.query(RAW_OBJECTS)}
    for commit in commits:
        key, etag = commit["key"], commit["etag"]
        row = raw.pop((commit["load_id"], commit["bucket"], key), None)
        count = len(bodies.lines(key, etag))
        found = row["lines"] if row else 0
        place = f"raw {key} of load {commit['load_id']}"
        verdict.add("lost", max(count - found, 0), place)
        verdict.add("doubled", max(found - count, 0), place)
        verdict.add("wrong", int(commit["rows"] != count), f"ledger rows of {key}")
        if row and found == count:
            same = row["digest"] == bodies.digest(key, etag)
            verdict.add(
                "wrong", int(not same or row["version"] != etag or row["versions"] != 1), place
            )
    verdict.add("wrong", len(raw), f"objects in raw that were committed otherwise: {list(raw)[:3]}")


def _judge_places(warehouse: Warehouse, expected: dict[Place, Reading], verdict: Verdict) -> None:
    """The store has every visible statement once, `rejected_statements` every rejected one."""
    rejected = {place: r.reason for place, r in expected.items() if r.family == "rejected"}
    families = {place: reading.family for place, reading in expected.items()}
    for name, sql, column, wanted in (
        ("int_xapi__statements", STORED, "family", families),
        ("rejected_statements", REJECTED, "reason", rejected),
    ):
        rows = warehouse.query(sql)
        found = {_place(row): row[column] for row in rows}
        verdict.add("lost", len(wanted.keys() - found.keys()), f"lines of {name}")
        verdict.add("doubled", len(found.keys() - wanted.keys()), f"lines of {name} to be unseen")
        verdict.add("doubled", len(rows) - len(found), f"lines of {name} twice")
        wrong = [p for p in found.keys() & wanted.keys() if found[p] != wanted[p]]
        verdict.add("wrong", len(wrong), f"{name}.{column} of {wrong[:3]}")


def _judge_events(
    warehouse: Warehouse, expected: dict[Place, Reading], family: str, table: str, verdict: Verdict
) -> None:
    """Each event is there once, from one of its lines, and each cell is what that line says."""
    events: dict[Any, list[Place]] = defaultdict(list)
    for place, reading in expected.items():
        if reading.family == family:
            events[reading.identity].append(place)
    sql = f"select * replace (toString(load_id) as load_id) from {{database:Identifier}}.{table}"
    rows = warehouse.query(sql)
    found: dict[Place, dict] = {}
    strangers = 0
    for row in rows:
        place = _place(row)
        reading = expected.get(place)
        strangers += reading is None or reading.family != family or place in found
        found[place] = row
    verdict.add("doubled", strangers, f"rows of {table} that no visible line says")
    ids = len({row["event_id"] for row in rows})
    verdict.add("doubled", len(rows) - ids, f"event_id of {table} twice")
    for places in events.values():
        here = [place for place in places if place in found]
        if not here:
            verdict.add("lost", 1, f"{table}: no event of {places[:2]}")
            continue
        verdict.add("doubled", len(here) - 1, f"{table}: events of {here[:3]}")
        for place in here:
            wrong = _wrong_cells(expected[place], found[place])
            verdict.add("wrong", len(wrong), f"{table} {place}: {wrong[:2]}")


# Rows that were found right before, by the reading: the same line again needs one comparison.
_right: dict[int, tuple[Reading, list[Any]]] = {}


def _wrong_cells(reading: Reading, row: dict[str, Any]) -> list[str]:
    cells = [row.get(column, "no such column") for column in reading.columns]
    before = _right.get(id(reading))
    if before and before[0] is reading and before[1] == cells:
        return []
    wrong = [
        f"{column}: {cell!r}, expected {value!r}"
        for (column, value), cell in zip(reading.columns.items(), cells, strict=True)
        if not same_value(column, value, typed(value, cell))
    ]
    if not wrong:
        _right[id(reading)] = (reading, cells)
    return wrong


def _place(row: dict[str, Any]) -> Place:
    return row["load_id"], row["source_path"], row["source_line"], row["source_item"]

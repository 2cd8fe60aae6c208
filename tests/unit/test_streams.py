"""What commands read of objects and files is streamed: a small gzip may be very large inside."""

import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from loader import preview
from loader.bulk.listing import Inventory
from loader.bulk.selection import Selection
from loader.errors import PermanentError, SettingsError
from loader.privacy import objects, sql
from loader.settings import Settings

STUB = '{"xapi_elt": "erased"}'
LONG = 32 * 1024 * 1024

# Far below one long line, and some pieces of it.
MOST_MEMORY = 16_000_000


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail if much memory is taken at a time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY, f"{peak:,} bytes"


def bomb(before: bytes = b"") -> bytes:
    """A gzip of a few lines, one very long line, and very many empty ones."""
    return gzip.compress(before + b"a" * LONG + b"\n" * 100_000, mtime=0)


class Lake:
    """A bucket, and raw lines of it of which the first of each object was overwritten, or `rows`;
    an answer has `most` of them."""

    def __init__(self, **bodies: bytes):
        self.bodies = bodies
        self.rows, self.most = [{"source_line": 1, "text": STUB}], 100
        self.lines = {name: len(unpacked(body).splitlines()) for name, body in bodies.items()}

    def query(self, statement: str, key: str = "", first: int = 0, last: int = 0, **_):
        """Answer like the warehouse."""
        if statement == sql.STUB:
            return [{"stub": STUB}]
        if statement == objects.ERASED_OBJECTS:
            return [{"bucket": "lake", "key": key, "versions": ["1"]} for key in self.bodies]
        if statement == objects.LINES_OF_VERSION:
            return [{"lines": self.lines[key]}]
        found = [row for row in self.rows if first <= row["source_line"] <= last]
        return [row | {"found": len(found)} for row in found[: self.most]]

    def get_object(self, Bucket: str, Key: str) -> dict:
        """Answer like S3."""
        if Key.startswith("too_large"):
            raise MemoryError
        body = io.BytesIO(self.bodies[Key])
        return {"ETag": '"1"', "Body": body, "Metadata": {}, "ContentLength": len(body.getvalue())}

    def head_object(self, **_) -> dict:
        """Answer like S3."""
        return {"ETag": '"1"'}

    def put_object(self, Key: str, Body: io.BufferedIOBase, **_) -> dict:
        """Answer like S3."""
        self.bodies[Key] = Body.read()
        return {"ETag": '"2"'}

    def get_paginator(self, _: str) -> SimpleNamespace:
        """No old versions."""
        return SimpleNamespace(paginate=lambda **_: [{}])


def unpacked(body: bytes) -> bytes:
    """An object without its compression."""
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


@pytest.fixture
def rewritten(monkeypatch: pytest.MonkeyPatch):
    """Rewrite all objects of a lake; nothing is loaded."""
    monkeypatch.setattr(objects, "_load", lambda *_: None)
    return lambda lake: objects.rewrite(lake, Settings(), lake)


def test_an_object_is_rewritten_in_little_memory(rewritten):
    lake = Lake(bomb=bomb(b"learner\n"))
    with little_memory():
        done = rewritten(lake)
    assert (done.objects, done.left) == (1, [])
    assert unpacked(lake.bodies["bomb"]) == unpacked(bomb(STUB.encode() + b"\n"))


def test_an_object_whose_learner_has_the_long_line_is_rewritten_in_little_memory(rewritten):
    lake = Lake(bomb=bomb())
    with little_memory():
        assert rewritten(lake).left == []
    assert unpacked(lake.bodies["bomb"]) == STUB.encode() + b"\n" * 100_000


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r", b"\r\n", b"\r\n\r\n\n", b"\nb", b"\n\r"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_endings_of_lines_stay_where_pieces_end_anywhere(rewritten, monkeypatch, ending, pack):
    for piece in (1, 2, 3, 100):
        monkeypatch.setattr(objects, "_PIECE", piece)
        lake = Lake(a=pack(b"learner" + ending))
        lake.lines = {"a": ending.count(b"\n") + (not ending.endswith(b"\n"))}
        assert rewritten(lake).left == []
        assert unpacked(lake.bodies["a"]) == STUB.encode() + ending
        assert rewritten(lake).objects == 0  # nothing is left to change


@pytest.mark.parametrize("seed", range(20))
def test_exactly_the_overwritten_lines_are_replaced(rewritten, monkeypatch, seed):
    chance = random.Random(seed)
    lines = [b"x" * chance.choice([0, 1, 2, 7]) for _ in range(chance.randrange(1, 40))]
    ends = [chance.choice([b"\n", b"\r\n"]) for _ in lines]
    ends[-1] = chance.choice([b"", b"\n", b"\r"]) if lines[-1] else b"\n"
    changed = [number for number in range(len(lines)) if chance.random() < 0.4]
    rows = [{"source_line": number + 1, "text": f"{number}"} for number in changed]
    monkeypatch.setattr(objects, "_PIECE", chance.choice([1, 2, 3, 5, 8, 100]))
    monkeypatch.setattr(objects, "_PAGE_LINES", chance.choice([1, 2, 7, 100]))
    lake = Lake(
        a=chance.choice([bytes, gzip.compress])(
            b"".join(map(b"".join, zip(lines, ends, strict=True)))
        )
    )
    lake.lines = {"a": len(lines)}
    lake.rows, lake.most = rows, chance.choice([1, 2, 100])
    assert rewritten(lake).left == []
    for number in changed:
        lines[number] = str(number).encode()
    assert unpacked(lake.bodies["a"]) == b"".join(map(b"".join, zip(lines, ends, strict=True)))


def test_one_object_that_cannot_be_read_does_not_stop_the_others(rewritten):
    whole = gzip.compress(b"learner\nb\n")
    lake = Lake(too_large=b"learner", good=whole)
    lake.bodies |= {"cut": whole[:-9], "other": b"b\nc\nd"}
    lake.bodies["good"] = lake.bodies.pop("good")  # it comes last
    lake.lines |= {"cut": 2, "other": 2}
    done = rewritten(lake)
    reasons = {one["object"].rpartition("/")[2]: one["reason"] for one in done.left}
    assert set(reasons) == {"too_large", "cut", "other"}
    assert "MemoryError" in reasons["too_large"]
    assert "no complete gzip file" in reasons["cut"]
    assert "other lines than were loaded" in reasons["other"]
    assert unpacked(lake.bodies["good"]) == f"{STUB}\nb\n".encode()


def inventory(body: bytes, name: str = "a.csv.gz", manifest: bytes = b"") -> list:
    """The objects that an inventory of one file names."""
    about = {"sourceBucket": "lake", "destinationBucket": "arn:aws:s3:::lake", "fileFormat": "CSV"}
    about |= {"fileSchema": "Bucket, Key", "files": [{"key": name}]}
    bodies = {"manifest.json": manifest or json.dumps(about).encode(), name: body}
    client = SimpleNamespace(get_object=lambda Key, **_: {"Body": io.BytesIO(bodies[Key])})
    return list(Inventory(client, Selection("lake"), "s3://lake/manifest.json"))


def test_a_line_of_an_inventory_is_bounded():
    row = b'"lake","section/a%22%0A.jsonl"\n'
    for name, body in (("a.csv.gz", gzip.compress(row * 2)), ("a.csv", row * 2)):
        assert [item.key for item in inventory(body, name)] == ['section/a"\n.jsonl'] * 2
    body = gzip.compress(b'"lake","' + b"a" * LONG)
    with little_memory(), pytest.raises(PermanentError, match="a line has more than 1,048,576"):
        inventory(body)


def test_a_row_of_an_inventory_is_one_line():
    """Of fields that do not end in their line, a row of any length could be made."""
    body = gzip.compress(b'"lake","a' + b'\n","' * 1_000_000)
    with little_memory(), pytest.raises(PermanentError, match="is not a file of the inventory"):
        inventory(body)


def test_the_manifest_of_an_inventory_is_bounded():
    with pytest.raises(SettingsError, match="it has more than 16,777,216 bytes"):
        inventory(b"", manifest=b"[" * 17_000_000)


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"\x1f\x8b", "stdin.jsonl.gz"), (b"{}", "stdin.jsonl"), (b"", "stdin.jsonl")],
)
def test_standard_input_is_copied_in_little_memory(tmp_path, start, name):
    class Endless(io.RawIOBase):
        """A stream of spaces."""

        left = LONG if start else 0

        def read(self, size: int = -1) -> bytes:
            """Some of them; all if all are requested."""
            size = self.left if size < 0 else min(size, self.left)
            self.left -= size
            return (start if self.left + size == LONG else b"").ljust(size)

    with little_memory():
        saved = preview._saved(Endless(), tmp_path)
    assert saved.name == name
    assert saved.stat().st_size == (LONG if start else 0)

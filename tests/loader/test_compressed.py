"""Compressed content: read where the name or the content is gzip, else the object fails by name."""

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from loader.files import local_objects
from loader.load import load
from loader.objects import S3Object
from loader.settings import Settings

LINES = [b'{"verb":{"id":"x"}}', b"", '{"title":"Zähler"}'.encode()]
PLAIN = b"\n".join(LINES)

# A zstd file of the line above, in a frame without compression.
ZSTD = b"\x28\xb5\x2f\xfd\x20" + bytes([len(PLAIN)]) + b"\x01\x00\x00" + PLAIN

# What readers may see.
COMMITTED = """
select key, source_line, line
from {raw:Identifier}.statements
where load_id in (select load_id from {raw:Identifier}.loads where outcome = 'committed')
order by key, source_line
"""


def load_all(warehouse, items):
    """Load and return the outcomes by key."""
    batches = load(warehouse, Settings.from_env(), items)
    return {outcome.item.key: outcome for batch in batches for outcome in batch}


def lines_of(warehouse) -> dict[str, list[bytes]]:
    """The committed lines of each key, in their order."""
    found: dict[str, list[bytes]] = {}
    for row in warehouse.query(COMMITTED):
        found.setdefault(row["key"], []).append(row["line"].encode())
    return found


# What is under a name that says nothing, and how many lines it has; None if it must fail.
CONTENTS = {
    "gzip": (gzip.compress(PLAIN), 3),
    "gzip with a line break at the end": (gzip.compress(PLAIN + b"\n"), 3),
    "two gzip members": (gzip.compress(PLAIN + b"\n") + gzip.compress(PLAIN), 6),
    "gzip without lines": (gzip.compress(b""), 0),
    "gzip that was cut off": (gzip.compress(PLAIN)[:-9], None),
    "gzip padded with zeros": (gzip.compress(PLAIN) + b"\0" * 100, None),
    "gzip twice": (gzip.compress(gzip.compress(PLAIN)), None),
    "bzip2": (bz2.compress(PLAIN), None),
    "xz": (lzma.compress(PLAIN), None),
    "zstd": (ZSTD, None),
    "plain": (PLAIN, 3),
    "a line with two odd bytes": (b"\x1f\x8b\n" + PLAIN, 4),
}


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_compressed_objects_under_plain_names_are_read_or_fail_by_name(
    warehouse, bucket, put, encoding
):
    for name, (body, _) in CONTENTS.items():
        put(f"a/{name}.jsonl", body, **({"ContentEncoding": encoding} if encoding else {}))
    items = [S3Object(bucket, f"a/{name}.jsonl") for name in CONTENTS]
    outcomes = load_all(warehouse, items)
    found = lines_of(warehouse)
    for name, (_, lines) in CONTENTS.items():
        outcome = outcomes[f"a/{name}.jsonl"]
        assert outcome.outcome == ("failed" if lines is None else "committed"), name
        assert outcome.rows == len(found.get(f"a/{name}.jsonl", [])) == (lines or 0), name
        assert outcome.item.size == len(CONTENTS[name][0]) or lines is None, name
        if lines is None:
            assert not outcome.retryable
            assert f"a/{name}.jsonl" in outcome.error
            assert "gunzip" in outcome.error or "decompress it" in outcome.error
    assert found["a/gzip.jsonl"] == LINES
    # The same again changes nothing.
    assert load_all(warehouse, items)["a/gzip.jsonl"].outcome == "skipped"


@pytest.mark.parametrize("name", ["gzip.jsonl.gz", "padded.jsonl.gz", "plain.jsonl.gz"])
def test_names_that_say_gzip_must_be_gzip(warehouse, bucket, put, name):
    body = {"gzip": gzip.compress(PLAIN), "padded": gzip.compress(PLAIN) + b"\0\0", "plain": PLAIN}
    put(f"a/{name}", body[name.partition(".")[0]])
    put("a/good.jsonl", PLAIN)
    outcomes = load_all(
        warehouse, [S3Object(bucket, f"a/{name}"), S3Object(bucket, "a/good.jsonl")]
    )
    assert outcomes["a/good.jsonl"].rows == 3
    if name == "gzip.jsonl.gz":
        assert outcomes[f"a/{name}"].rows == 3
    else:
        assert "gunzip" in outcomes[f"a/{name}"].error
        assert f"a/{name}" in outcomes[f"a/{name}"].error


def test_local_files_are_read_in_the_same_way(warehouse, tmp_path):
    (tmp_path / "padded.jsonl.gz").write_bytes(gzip.compress(PLAIN) + b"\0" * 100)
    for name, (body, _) in CONTENTS.items():
        (tmp_path / f"{name}.jsonl").write_bytes(body)
    outcomes = load_all(warehouse, local_objects(tmp_path))
    found = {Path(key).name: lines for key, lines in lines_of(warehouse).items()}
    for name, (_, lines) in CONTENTS.items():
        outcome = outcomes[str(tmp_path / f"{name}.jsonl")]
        assert outcome.outcome == ("failed" if lines is None else "committed"), outcome
        assert outcome.rows == len(found.get(f"{name}.jsonl", [])) == (lines or 0), name
    assert "gunzip" in outcomes[str(tmp_path / "padded.jsonl.gz")].error


def test_a_batch_of_plain_objects_costs_no_request_more(warehouse, bucket, put, monkeypatch):
    for number in range(3):
        put(f"a/{number}.jsonl", PLAIN)
    put("a/gzip.jsonl", gzip.compress(PLAIN))
    seen: list[str] = []
    command = type(warehouse).command

    def note(self, sql, *args, **values):
        seen.append(sql)
        return command(self, sql, *args, **values)

    monkeypatch.setattr(type(warehouse), "command", note)
    load_all(warehouse, [S3Object(bucket, f"a/{number}.jsonl") for number in range(3)])
    assert sum("insert into {raw:Identifier}.statements" in sql for sql in seen) == 1
    seen.clear()
    items = [S3Object(bucket, f"a/{name}.jsonl") for name in ("0", "gzip")]
    load_all(warehouse, items)
    assert sum("insert into {raw:Identifier}.statements" in sql for sql in seen) == 2

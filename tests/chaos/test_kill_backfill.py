"""Kill -9 in the middle of a bulk load, again and again: the next run goes on, nothing is lost,
nothing counts twice, and nothing that was committed is read again.

Four kills in `make test`; twenty, of a larger lake, with XAPI_CHAOS=1.
"""

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from loader.pipeline import Pipeline
from tests.helpers.bulk_lake import committed, counting_requests, fill

FULL = os.environ.get("XAPI_CHAOS") == "1"
OBJECTS, KILLS = (5000, 20) if FULL else (320, 4)
BATCH = 40

XAPI_ELT = Path(sys.executable).with_name("xapi-elt")

# What readers see: the lines that a commit names, of several commits of a version the first.
VISIBLE = """
select key, source_line, line
from {raw:Identifier}.statements
where (load_id, key) in (
    select load_id, key
    from {raw:Identifier}.loads
    where outcome = 'committed'
    order by bucket, key, etag, committed_at, load_id
    limit 1 by bucket, key, etag
)
"""


@pytest.fixture
def lake(bucket) -> dict[str, list[str]]:
    """Objects of no to four lines, some compressed: the lines of each key."""
    lines = {
        f"section/{number % 3}/video/2025-09-{number % 28 + 1:02}T00-00-00.000000Z_{number:05}"
        + (".jsonl.gz" if number % 11 == 3 else ".jsonl"): [
            f'{{"object":{number},"line":{line}}}' for line in range(number % 5)
        ]
        for number in range(OBJECTS)
    }
    bodies = {key: "\n".join(texts).encode() for key, texts in lines.items()}
    fill(bucket, {k: gzip.compress(v) if k.endswith("gz") else v for k, v in bodies.items()})
    return lines


def start(bucket: str) -> subprocess.Popen:
    """Start a backfill of the whole lake."""
    options = ["--batch-objects", str(BATCH), "--json"]
    return subprocess.Popen(
        [XAPI_ELT, "backfill", f"s3://{bucket}/section/", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> dict:
    """Wait for a backfill to end as it should, and return its report."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return json.loads(out)


def visible() -> Counter:
    """Every visible line with its place, and how often it is there."""
    with Pipeline.from_env() as pipeline:
        rows = pipeline.warehouse.query(VISIBLE)
    return Counter((row["key"], row["source_line"], row["line"]) for row in rows)


def objects_in(requests: list[tuple[str, str]], method: str = "GET") -> Counter:
    """How often each object was requested."""
    return Counter(key for verb, key in requests if verb == method and key.startswith("section/"))


def loading(requests: list[tuple[str, str]]) -> int:
    """How many requests for objects there were."""
    return objects_in(requests).total() + objects_in(requests, "HEAD").total()


def test_a_backfill_killed_at_any_moment_is_completed_by_the_next(
    lake, bucket, tmp_path, monkeypatch
):
    """See above."""
    monkeypatch.setenv("XAPI_CHDB_PATH", str(tmp_path / "undisturbed"))
    finish(start(bucket))
    expected = visible()
    assert expected == Counter(
        (key, number, line) for key, lines in lake.items() for number, line in enumerate(lines, 1)
    )

    monkeypatch.setenv("XAPI_CHDB_PATH", str(tmp_path / "killed"))
    moments = random.Random(5)
    # By requests rather than by time, so that no run ends before its kill on any machine: at most
    # six tenths of its share of the objects, each of which takes a HEAD and a GET.
    most = int(0.6 * 2 * OBJECTS / KILLS)
    requested: Counter = Counter()
    killed_at = []
    held: set[str] = set()
    while len(killed_at) < KILLS:
        with counting_requests() as requests:
            process = start(bucket)
            # Two in ten die while they list, the others while they load.
            awaited = moments.randint(1, most) if len(killed_at) % 10 > 1 else 0
            while process.poll() is None and not (requests and loading(requests) >= awaited):
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.02))
            assert process.poll() is None, "it ended before it could be killed"
            process.kill()
            process.communicate()
        again = held & (objects_in(requests).keys() | objects_in(requests, "HEAD").keys())
        assert not again, "what was committed is requested again"
        requested += objects_in(requests)
        try:
            held = set(committed())
        except Exception as error:  # killed before the tables were made
            assert "xapi-elt init" in str(error), error
        killed_at.append(len(held))
    print(f"committed objects after each kill: {killed_at} of {OBJECTS}")

    with counting_requests() as requests:
        report = finish(start(bucket))
    requested += objects_in(requests)
    assert not held & objects_in(requests).keys()
    assert report["failed"] == [] and report["not_tried"] == 0
    assert report["plan"]["held"] == len(held)
    assert report["objects"] == {"committed": OBJECTS - len(held)}

    # The result is that of an undisturbed load, and each object is committed once.
    assert visible() == expected
    assert set(committed().values()) == {1}
    # An object without lines takes a HEAD alone. Each kill cost at most the batch under way.
    assert requested.total() <= OBJECTS + KILLS * BATCH

    with Pipeline.from_env() as pipeline:
        leftover = pipeline.reconcile(f"s3://{bucket}/section/").leftover_lines
        assert pipeline.gc(age=0, even_running=True).lines == leftover
        comparison = pipeline.reconcile(f"s3://{bucket}/section/")
        assert (comparison.agrees, comparison.leftover_lines) == (True, 0)
        raw = pipeline.warehouse.query("select count() as n from {raw:Identifier}.statements")
        assert raw == [{"n": expected.total()}]

    with counting_requests() as requests:
        assert finish(start(bucket))["objects"] == {}
    assert not objects_in(requests) and not objects_in(requests, "HEAD")

"""What erasing one learner costs: python -m bench.erase --lines 1000000

The lines are made by the database itself: 300 sections, a year, 200 events per learner. Prints the
CPU seconds of each step, and whether all rows of other learners are as they were.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.warehouse import Warehouse
from loader.dbt_run import dbt_command
from loader.privacy.erase import Erasure
from loader.privacy.identity import identities
from loader.privacy.search import Search
from loader.settings import Settings

PER_LEARNER, PER_LOAD, HOME = 200, 10_000, "https://lms.example.org"

# Line n is of learner n modulo their number, so each learner is in every load.
LINES = """
insert into {raw:Identifier}.statements
    (load_id, bucket, key, etag, object_size, last_modified, source_line, line, loaded_at)
select
    reinterpretAsUUID(toUInt128(intDiv(number, {per_load:UInt64}) + 1)),
    'lake',
    concat('section/1/video/', toString(intDiv(number, {per_load:UInt64})), '.jsonl'),
    '1', 1, now64(3), number % {per_load:UInt64} + 1,
    concat(
        '{"actor":{"account":{"homePage":"https://lms.example.org","name":"learner-',
        toString(number % {learners:UInt64}),
        '"}},"verb":{"id":"https://w3id.org/xapi/video/verbs/',
        ['played', 'paused', 'seeked', 'completed'][1 + intDiv(number, 7) % 4],
        '"},"object":{"id":"https://media.example.org/video/', toString(number % 97),
        '.mp4","definition":{"name":{"en-US":"Lecture"},',
        '"type":"https://w3id.org/xapi/video/activity-type/video"}},"result":{"extensions":{',
        '"https://w3id.org/xapi/video/extensions/time":', toString(number % 600),
        ',"https://w3id.org/xapi/video/extensions/progress":0.5}},"context":{"extensions":{',
        '"http://oli.cmu.edu/extensions/section_id":', toString(number % {learners:UInt64} % 300),
        ',"http://oli.cmu.edu/extensions/resource_id":', toString(number % 400),
        ',"https://w3id.org/xapi/video/extensions/length":600}},"timestamp":"',
        formatDateTime(toDateTime('2025-01-01', 'UTC') + number % 31000000, '%Y-%m-%dT%H:%i:%SZ'),
        '"}'
    ),
    now64(3)
from numbers({first:UInt64}, {count:UInt64})
"""
LEDGER = """
insert into {raw:Identifier}.loads
    (load_id, bucket, key, etag, size, rows, outcome, mode, policy, commit_number, started_at)
select load_id, bucket, key, '1', 1, count(), 'committed', 'bulk', 'append', 1, now64(3)
from {raw:Identifier}.statements
group by load_id, bucket, key
"""
OTHERS = {
    "raw": "select count() as rows, sum(cityHash64(load_id, key, source_line, line)) as sum "
    "from {raw:Identifier}.statements where position(line, {name:String}) = 0 "
    'and line != \'{"xapi_elt": "erased"}\'',
    "store": "select count() as rows, sum(cityHash64(event_id, load_id, source_line, learner_id)) "
    "as sum from {database:Identifier}.int_xapi__statements "
    "where user_id != {user:String} and family != 'erased'",
    "events": "select count() as rows, sum(cityHash64(event_id, timestamp, learner_id, section_id, "
    "video_time)) as sum from {database:Identifier}.video_events where user_id != {user:String}",
}
BALANCE = """
select lines, statements, events, erased, missing, surplus, doubled
from {database:Identifier}.ops_statement_balance where family = 'all'
"""


def main() -> None:
    """Make the lines, build the tables, erase one learner, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="folder to keep the database in")
    parser.add_argument("--learner", type=int, default=7, help="which one is erased")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str((arguments.keep or Path(folder)) / "clickhouse")
        settings = Settings(chdb_path=path)
        if not Path(path).exists():
            _build(settings, arguments.lines)
        print(json.dumps(_erase(settings, f"learner-{arguments.learner}"), indent=1))


def _build(settings: Settings, lines: int) -> None:
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        for first in range(0, lines, 1_000_000):
            warehouse.command(
                LINES,
                first=first,
                count=min(1_000_000, lines - first),
                per_load=PER_LOAD,
                learners=lines // PER_LEARNER,
            )
        warehouse.command(LEDGER)
    started = perf_counter()
    subprocess.run(
        [*dbt_command(settings, "run"), "--quiet"],
        env=os.environ | {"XAPI_CHDB_PATH": settings.chdb_path},
        check=True,
        stdout=sys.stderr,
    )
    print(f"dbt run: {perf_counter() - started:.1f} s", file=sys.stderr)


def _erase(settings: Settings, user: str) -> dict:
    steps: dict[str, float] = {}
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        before = _others(warehouse, user)
        started, began, last = perf_counter(), process_time(), process_time()
        name = "search"

        def step(text: str) -> None:
            nonlocal last, name
            steps[name] = round(steps.get(name, 0) + process_time() - last, 2)
            last, name = process_time(), text

        search = Search(warehouse, settings, identities(user=user, home_page=HOME))
        erasure = Erasure(warehouse, settings, search, step)
        erasure.write_tombstones("bench")
        receipt = erasure.run()
        step("end")
        seconds, cpu = round(perf_counter() - started, 1), round(process_time() - began, 1)
        search.close()
        return {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "cpu_seconds_of_steps": steps,
            "rows_removed": receipt["rows_removed"],
            "lines_overwritten": receipt["lines_overwritten"],
            "is_complete": receipt["is_complete"],
            "others_unchanged": _others(warehouse, user) == before,
            "others": before,
            "balance": warehouse.query(BALANCE),
        }


def _others(warehouse: Warehouse, user: str) -> dict:
    """Rows of other learners and a sum of their hashes, by table."""
    values = {"user": user, "name": f'"{user}"'}
    return {name: warehouse.query(sql, **values)[0] for name, sql in OTHERS.items()}


if __name__ == "__main__":
    main()

"""How fresh the tables are: objects arrive through queue and worker; seconds from put to visible.

An object is visible in `video_events` when its load is recorded as applied, right after the insert;
in `fct_learner_videos` when dbt has then finished the mart. Both are read afterwards, so that
watching costs nothing.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import lake
from bench.engine import ROOT, Database, Site
from bench.history import DAYS, START, VIDEO_ONLY, history
from bench.processes import cpu_seconds, end
from bench.rows import Row
from bench.statements import Lines
from loader.clickhouse.embedded import engine_config
from loader.objects import S3Object
from loader.settings import Settings
from tests.helpers.clickhouse_process import start_process
from tests.helpers.ministack import MiniStack, wait_until

RATE, LINES = 20, 20
# Seconds for which the worker waits for a full batch, for which idle CPU is measured, and until
# which something must have happened.
WINDOW, IDLE, PATIENCE = 1, 30, 600
MART = "int_learner_videos"
# What the worker needs, besides the address, to use the local SQS.
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

APPLIED = """
select key, toUnixTimestamp64Milli(min(applied.recorded_at)) / 1000 as at
from xapi_raw.loads as loads
inner join xapi.elt_applied_loads as applied on loads.load_id = applied.load_id
where loads.bucket = {bucket:String} and loads.outcome = 'committed'
    and applied.model = 'video_events'
group by key
"""


@dataclass(frozen=True)
class Run:
    """What a run saw.

    Attributes:
        events: seconds from put to `video_events`, of each object.
        marts: seconds from put to `fct_learner_videos`.
        cpu: share of the machine's processors while objects arrived; `engine` of it in ClickHouse's
            process.
        idle: the same when nothing arrived.
        transforms: number of dbt runs.
    """

    events: list[float]
    marts: list[float]
    cpu: float
    engine: float
    idle: float
    transforms: int


def measure(site: Site) -> list[Row]:
    """Measure with the embedded engine, and over HTTP."""
    rows = []
    for name in ("embedded", "http"):
        database = _built(site)
        run = _run(site, database, name)
        rows += _rows(site, name, run)
        database.remove()
    return rows


def _built(site: Site) -> Database:
    """A database with the history in all tables. It is kept between runs, as the history is."""
    database = history(site, site.size.fresh_rows)
    mark = database.folder / "marts"
    if not mark.exists():
        database.dbt("run")
        mark.touch()
        database.keep()
    return database


def _run(site: Site, database: Database, name: str) -> Run:
    """Let objects arrive, and read afterwards when each was visible."""
    bucket = f"fresh-{name}-{int(time.time())}"
    objects = _staged(site, bucket)
    logs = database.folder / "logs-of-worker"
    with _queue() as (sqs, url, queue), _engine(database, name) as (engine, target):
        environment = os.environ | queue | target
        environment |= {"XAPI_ALLOWED_BUCKETS": bucket, "DBT_LOG_PATH": str(logs)}
        with _worker(url, environment, database.folder / "worker.log") as (worker, log):
            # dbt parses the project at its first run.
            _put(site, sqs, url, bucket, objects[:RATE])
            wait_until(lambda: _events(log, "transformed"), PATIENCE)
            pids = [worker.pid, *([engine.pid] if engine else [])]
            before, began = [cpu_seconds(pid) for pid in pids], time.time()
            put_at = _put(site, sqs, url, bucket, objects[RATE:])
            wait_until(lambda: _is_done(sqs, url, log), PATIENCE)
            busy = [cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
            share = 1 / ((time.time() - began) * os.cpu_count())
            before, idle_began = [cpu_seconds(pid) for pid in pids], time.time()
            time.sleep(IDLE)
            idle = sum(map(cpu_seconds, pids)) - sum(before)
            idle /= (time.time() - idle_began) * os.cpu_count()
        runs = len([at for at in _events(log, "transformed") if at > began])
    with database.open() as (warehouse, _):
        applied = {row["key"]: row["at"] for row in warehouse.query(APPLIED, bucket=bucket)}
    if missing := put_at.keys() - applied.keys():
        raise RuntimeError(f"{len(missing)} of {len(put_at)} objects are not applied")
    finished = _finished(logs, datetime.fromtimestamp(began, UTC))
    return Run(
        events=sorted(applied[key] - at for key, at in put_at.items()),
        marts=sorted(
            min(end for end in finished if end >= applied[key]) - at for key, at in put_at.items()
        ),
        cpu=sum(busy) * share,
        engine=sum(busy[1:]) * share,
        idle=idle,
        transforms=runs,
    )


def _staged(site: Site, bucket: str) -> list[S3Object]:
    """Objects that are not in the bucket yet: the day after the history, video statements."""
    count = RATE * (site.size.fresh_seconds + 1)  # one second for the warm-up
    first = 80_000_000 + int(time.time()) % 1_000_000 * 1_000
    lines = Lines(
        first,
        count * LINES,
        sections=100,
        start=START + timedelta(days=DAYS),
        days=0.9,
        per_object=LINES,
        family=VIDEO_ONLY,
    )
    (site.lake.root / bucket).mkdir(parents=True)
    return lake.write_tiny(site.folder / "staged", bucket, lines)


def _put(site: Site, sqs: Any, url: str, bucket: str, objects: list[S3Object]) -> dict[str, float]:
    """Put objects at an even rate, and send their notifications; when each was put, by key."""
    at, began = {}, time.time()
    for number, item in enumerate(objects):
        time.sleep(max(0, began + number / RATE - time.time()))
        target = site.lake.root / bucket / item.key
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(site.folder / "staged" / bucket / item.key, target)
        at[item.key] = time.time()
        event = {"bucket": bucket, "key": item.key}
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))
    return at


@contextmanager
def _queue() -> Iterator[tuple[Any, str, dict[str, str]]]:
    """A queue of a local SQS: its client, its URL, and the environment to reach it.

    MiniStack answers in 3 ms. moto took 340 ms for a request for ten messages on the same busy
    machine, so objects waited for the queue.
    """
    with MiniStack() as aws:
        sqs = aws.client("sqs")
        keys = {name: aws.environment[name] for name in KEYS}
        url = sqs.create_queue(QueueName="fresh")["QueueUrl"]
        yield sqs, url, keys | {"AWS_ENDPOINT_URL_SQS": aws.endpoint}


@contextmanager
def _engine(
    database: Database, name: str
) -> Iterator[tuple[subprocess.Popen | None, dict[str, str]]]:
    """The engine's process, none if it is embedded, and the environment to reach it."""
    if name == "embedded":
        yield None, {"XAPI_CHDB_PATH": str(database.path)}
        return
    config = engine_config(Settings.from_env())
    process, port = start_process("--path", str(database.path), "--config-file", str(config))
    try:
        yield (
            process,
            {
                "XAPI_TARGET": "server",
                "CLICKHOUSE_HOST": "127.0.0.1",
                "CLICKHOUSE_PORT": str(port),
            },
        )
    finally:
        end(process)


@contextmanager
def _worker(
    url: str, environment: dict[str, str], log: Path
) -> Iterator[tuple[subprocess.Popen, Path]]:
    """A running `xapi-elt worker --transform`, and its log."""
    command = [str(Path(sys.executable).with_name("xapi-elt")), "worker", "--transform", "--json"]
    command += ["--queue-url", url, "--window", str(WINDOW)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process, log
        finally:
            end(process)


def _is_done(sqs: Any, url: str, log: Path) -> bool:
    """Whether the queue is empty and dbt has run after the last load."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    if any(int(answer["Attributes"][name]) for name in names):
        time.sleep(0.5)
        return False
    return _events(log, "transformed")[-1] > _events(log, "loaded")[-1]


def _events(log: Path, name: str) -> list[float]:
    """When the worker logged an event."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    if failed := [line for line in lines if line.get("event") == "transform_failed"]:
        raise RuntimeError(f"dbt failed: {failed[0]}")
    return [
        datetime.fromisoformat(line["time"]).timestamp()
        for line in lines
        if line.get("event") == name
    ]


def _finished(logs: Path, began: datetime) -> list[float]:
    """When dbt finished the mart's table, by its log, whose lines have no date."""
    found, day, last = [], began.date(), ""
    for path in sorted(logs.glob("dbt.log*"), reverse=True):
        for line in path.read_text(errors="replace").splitlines():
            match = re.search(r"(\d\d:\d\d:\d\d\.\d+).*Finished running node model\.\S*", line)
            if not match:
                continue
            if match[1] < last[:2] and last:  # after midnight
                day += timedelta(days=1)
            last = match[1]
            if line.rstrip().endswith(f".{MART}"):
                time_of_day = datetime.fromisoformat(f"{day}T{match[1]}+00:00")
                found.append(time_of_day.timestamp())
    return found


def _rows(site: Site, name: str, run: Run) -> list[Row]:
    size = site.size
    what = f"{size.fresh_seconds} s of {RATE} objects/s onto {size.fresh_rows:,} events, {name}"
    counts = {
        "objects": len(run.events),
        "runs of dbt": run.transforms,
        "CPU, share of all cores": f"{run.cpu:.0%}",
        "of it ClickHouse": f"{run.engine:.0%}" if run.engine else "in the worker",
        "CPU when idle": f"{run.idle:.1%}",
    }
    found = []
    for table, seconds, goal in (
        ("video_events", run.events, 5),
        ("fct_learner_videos", run.marts, 8),
    ):
        p50, p95 = _share(seconds, 0.5), _share(seconds, 0.95)
        found.append(
            Row(
                f"{what}: put to visible in {table}, p95",
                p95,
                "s",
                at_most=goal,
                note=f"`xapi-elt worker --transform --window {WINDOW}`",
                counts={"p50, s": round(p50, 2), "longest, s": round(seconds[-1], 2), **counts},
            )
        )
    return found


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

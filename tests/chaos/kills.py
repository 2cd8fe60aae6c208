"""Processes killed with SIGKILL, at random moments and at those when something is half done."""

import json
import os
import random
import time
from pathlib import Path

from tests.chaos.harness import scenario
from tests.chaos.lakes import huge, lake
from tests.chaos.world import World
from tests.helpers.processes import Process


def table(world: World, name: str) -> Path:
    """The folder of a table, e.g. 'xapi_raw.loads': it changes when a part comes or goes."""
    return world.folder / "clickhouse" / "data" / Path(*name.split("."))


def names(world: World) -> Path:
    """The folder of the names of the models' tables: it changes when one is created, dropped,
    renamed or exchanged."""
    return world.folder / "clickhouse" / "metadata" / "xapi"


def kill_after(world: World, process: Process, seconds: float) -> bool:
    """Kill a process that has run for so long. Returns whether it was still at it."""
    time.sleep(max(0, seconds))
    alive = process.kill()
    world.hit(f"{_short(process)} killed after {time.monotonic() - process.started:.2f} s", alive)
    return alive


def kill_when(world: World, process: Process, folder: Path, times: int, delay: float) -> bool:
    """Kill a process some seconds after a folder has changed for the nth time since now.
    Returns whether it was still at it."""
    before, changes = _changed(folder), 0
    while changes < times and process.poll() is None:
        now = _changed(folder)
        changes += now != before
        before = now
        time.sleep(0.001)
    time.sleep(delay)
    alive = process.kill()
    what = f"{_short(process)} killed {delay * 1000:.1f} ms after change {changes} of {folder.name}"
    world.hit(what, alive)
    return alive


def _changed(folder: Path) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except FileNotFoundError:
        return 0


def _short(process: Process) -> str:
    return " ".join(word for word in process.command[:2])


def strike(world: World, dice: random.Random, process: Process, longest: float, *folders: Path):
    """Kill a process: at any moment of the time that it usually takes (a third), or soon after
    one of these folders has changed. Returns whether it was still at it."""
    if dice.random() < 0.33:
        return kill_after(world, process, dice.uniform(0.05, longest))
    folder = dice.choice(folders)
    # Several changes within some milliseconds look like one.
    times = (
        dice.choice((1, 1, 2, 3)) if folder.name in ("statements", "loads") else dice.randint(1, 5)
    )
    return kill_when(world, process, folder, times, dice.uniform(0, 0.02))


def fill(world: World, dice: random.Random, **shape) -> None:
    """Put a lake."""
    for key, body in lake(dice, **shape).items():
        world.put(key, body)


def uris(world: World) -> list[str]:
    """The objects that lie there."""
    return [f"s3://{bucket}/{key}" for bucket, key in world.current]


@scenario("nothing", "no fault", filled=True)
def undisturbed(world: World, dice: random.Random) -> None:
    """What the others are measured by: nothing fails."""
    load_in_pieces(world, dice, 1000)


# Loading ---------------------------------------------------------------------------------------


@scenario("load", "killed")
def load_killed(world: World, dice: random.Random) -> None:
    """A load of many objects by name, killed up to three times."""
    fill(world, dice, lines=dice.choice((300, 2000)))
    for _ in range(dice.randint(1, 3)):
        process = world.start("xapi-elt", "load", *uris(world)[:100])
        raw, ledger = table(world, "xapi_raw.statements"), table(world, "xapi_raw.loads")
        strike(world, dice, process, 1.5, raw, ledger)
        world.look()


@scenario("load", "killed inside a large INSERT")
def large_load_killed(world: World, dice: random.Random) -> None:
    """Few large objects: a part of their lines is in raw when the process dies."""
    size = dice.choice((15_000, 15_000, 60_000))
    for number in dice.sample(range(3), dice.randint(1, 2)):
        world.put(
            f"section/9/video/2025-09-0{number + 1}T00-00-00.0Z_{number}.jsonl", huge(number, size)
        )
    fill(world, dice, shape="few", lines=1000)
    process = world.start("xapi-elt", "backfill", world.prefix)
    raw = table(world, "xapi_raw.statements")
    kill_when(world, process, raw, 1, dice.uniform(0, 0.4))
    with world.warehouse() as warehouse:
        sql = "select count() as n from {raw:Identifier}.statements"
        world.happened.append(f"{warehouse.query(sql)[0]['n']} lines in raw")
    world.look()


@scenario("commit", "killed")
def commit_killed(world: World, dice: random.Random) -> None:
    """Killed while the ledger is written, which is the commit."""
    fill(world, dice, lines=300)
    process = world.start("xapi-elt", "backfill", world.prefix, "--batch-objects", "8")
    ledger = table(world, "xapi_raw.loads")
    kill_when(world, process, ledger, dice.randint(1, 4), dice.uniform(0, 0.004))
    world.look()


@scenario("backfill", "killed")
def backfill_killed(world: World, dice: random.Random) -> None:
    """A bulk load in many batches, killed up to three times; the next one goes on."""
    fill(world, dice, shape=dice.choice(("tiny", "mixed")), lines=2000)
    for _ in range(dice.randint(1, 3)):
        batch = str(dice.choice((5, 20, 1000)))
        process = world.start("xapi-elt", "backfill", world.prefix, "--batch-objects", batch)
        raw, ledger = table(world, "xapi_raw.statements"), table(world, "xapi_raw.loads")
        strike(world, dice, process, 2, raw, ledger)
        world.look()


@scenario("load", "ClickHouse killed", target="server")
def server_killed(world: World, dice: random.Random) -> None:
    """The server dies under a load; it comes back, and the load is started again."""
    fill(world, dice, lines=2000)
    process = world.start("xapi-elt", "backfill", world.prefix, "--batch-objects", "20")
    time.sleep(dice.uniform(0.3, 2))
    world.hit("server killed", process.poll() is None)
    world.kill_server()
    process.wait()
    world.start_server()
    world.look()


@scenario("queue", "worker killed")
def worker_killed(world: World, dice: random.Random) -> None:
    """A worker dies in the middle of a batch: its messages come again to the next one."""
    sqs = world.client("sqs")
    url = sqs.create_queue(
        QueueName=world.bucket, Attributes={"VisibilityTimeout": "2"}
    )["QueueUrl"]  # fmt: skip
    fill(world, dice, lines=dice.choice((300, 1000)))
    for (bucket, key), etag in world.current.items():
        place = {"bucket": {"name": bucket}, "object": {"key": _quoted(key), "eTag": etag}}
        record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": place}
        for _ in range(1 + (dice.random() < 0.1)):
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [record]}))
    worker = ("xapi-elt", "worker", "--once", "--queue-url", url, "--window", "0")
    for _ in range(dice.randint(1, 2)):
        process = world.start(*worker, "--batch-size", str(dice.choice((10, 50))))
        raw, ledger = table(world, "xapi_raw.statements"), table(world, "xapi_raw.loads")
        strike(world, dice, process, 2.5, raw, ledger)
        world.look()

    def redelivered() -> None:
        """What was in the hands of the dead comes again, and nothing else loads."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for _ in range(30):
            world.run(*worker)
            left = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            if not any(int(count) for count in left.values()):
                break
            time.sleep(0.5)
        world.held |= {(key, etag) for (_, key), etag in world.current.items()}

    world.reload = redelivered


def _quoted(key: str) -> str:
    from urllib.parse import quote_plus

    return quote_plus(key, safe="/")


# Transforming ----------------------------------------------------------------------------------


def load_in_pieces(world: World, dice: random.Random, lines: int) -> None:
    """A lake in several loads, so that there are several slices to apply."""
    fill(world, dice, shape=dice.choice(("few", "mixed")), lines=lines)
    world.run("xapi-elt", "backfill", world.prefix, "--batch-objects", str(dice.choice((1, 3, 50))))
    world.held |= {(key, etag) for (_, key), etag in world.current.items()}


def built(world: World) -> list[Path]:
    """Folders that change while dbt builds."""
    tables = ("elt_applied_loads", "int_xapi__statements", "video_events", "part_attempt_events")
    return [table(world, f"xapi.{name}") for name in tables] + [names(world)]


@scenario("transform", "killed", filled=True)
def dbt_killed(world: World, dice: random.Random) -> None:
    """`dbt run` killed up to three times, with slices of any size."""
    load_in_pieces(world, dice, 2000)
    for _ in range(dice.randint(1, 3)):
        lines = dice.choice((200, 1000, 1000000))
        only = ["--select", "+marts.events", "--vars", f"{{slice_lines: {lines}}}"]
        process = world.start_dbt("run", *only)
        strike(world, dice, process, 6, *built(world))
        world.look(models=True)


@scenario("transform", "killed in a full refresh", filled=True)
def full_refresh_killed(world: World, dice: random.Random) -> None:
    """`dbt run --full-refresh` killed: the old table or the new one, with its bookkeeping."""
    load_in_pieces(world, dice, 1000)
    process = world.start_dbt("run", "--full-refresh", "--select", "+marts.events")
    if dice.random() < 0.3:
        kill_after(world, process, dice.uniform(1, 7))
    else:
        kill_when(world, process, names(world), dice.randint(1, 40), dice.uniform(0, 0.02))
    world.look(models=True)


OLD_LOGIC = """
alter table {database:Identifier}.video_events update video_title = 'by old logic' where 1
settings mutations_sync = 2
"""

BY_MONTH = """
select toYYYYMM(timestamp) as month, countIf(video_title = 'by old logic') as old, count() as rows
from {database:Identifier}.video_events
group by month order by month
"""


@scenario("rebuild", "killed", filled=True)
def rebuild_killed(world: World, dice: random.Random) -> None:
    """A rebuild of days killed: all months are the old ones or the new ones, never a mixture."""
    with world.warehouse() as warehouse:
        warehouse.command(OLD_LOGIC)
        before = warehouse.query(BY_MONTH)
    days = "{start_date: 2025-09-01, end_date: 2025-12-31}"
    rebuild = ("run", "--select", "video_events", "--vars", days)
    for _ in range(dice.randint(1, 2)):
        process = world.start_dbt(*rebuild)
        if dice.random() < 0.7:  # while the new table fills, and while the two are exchanged
            kill_when(world, process, names(world), dice.randint(1, 18), dice.uniform(0, 0.01))
        else:
            strike(world, dice, process, 4, names(world))
        with world.warehouse() as warehouse:
            now = warehouse.query(BY_MONTH)
        assert [(row["month"], row["rows"]) for row in now] == [
            (row["month"], row["rows"]) for row in before
        ], f"{now} after the kill, before the rebuild {before}"
        days_of_rebuild = [row for row in now if 202509 <= row["month"] <= 202512]
        old = {row["old"] / row["rows"] for row in days_of_rebuild}
        assert old in ({0}, {1}), f"half rebuilt: {now}"
        world.happened.append(
            "the rebuild was complete" if old == {0} else "the table was the old one"
        )
    if dice.random() < 0.3:
        fill(world, dice, shape="few", lines=500)
        world.recover()
    world.dbt(*rebuild)


@scenario("withdraw", "killed", filled=True)
def withdraw_killed(world: World, dice: random.Random) -> None:
    """Objects replaced or forced; dbt dies while it removes the rows of the old ones."""
    policy = dice.choice(("replace", "force"))
    chosen = dice.sample(sorted(world.current), min(3, len(world.current)))
    if policy == "replace":
        world.policy = "replace"
        others = list(lake(dice, "few", 2000).items())
        for (_, key), (other, body) in zip(chosen, others, strict=False):
            if key.endswith("gz") == other.endswith("gz"):
                world.put(key, body)
        world.load()
    else:
        world.commits_twice = True
        world.run("xapi-elt", "load", "--force", *[f"s3://{b}/{key}" for b, key in chosen])
    for _ in range(dice.randint(1, 2)):
        process = world.start_dbt("run", "--select", "+marts.events")
        strike(world, dice, process, 6, *built(world))
        world.look()


# Garbage ---------------------------------------------------------------------------------------


VERSIONS = "select distinct key, etag from {raw:Identifier}.loads where outcome = 'committed'"


@scenario("gc", "killed", filled=True)
def gc_killed(world: World, dice: random.Random) -> None:
    """`xapi-elt gc` killed while it removes what a killed load left."""
    fill(world, dice, lines=2000)
    process = world.start("xapi-elt", "backfill", world.prefix, "--batch-objects", "30")
    raw = table(world, "xapi_raw.statements")
    kill_when(world, process, raw, dice.randint(2, 4), dice.uniform(0, 0.01))
    process = world.start("xapi-elt", "gc", "--older-than", "0", "--even-running")
    strike(world, dice, process, 0.8, raw)
    world.look(models=True)
    world.recover()
    world.run("xapi-elt", "gc", "--older-than", "0", "--even-running")
    with world.warehouse() as warehouse:
        sql = "select count() as n from {raw:Identifier}.statements"
        left = warehouse.query(sql)[0]["n"]
        # An object that a later round overwrote counts in both versions.
        versions = warehouse.query(VERSIONS)
    lines = sum(len(world.bodies.lines(row["key"], row["etag"])) for row in versions)
    assert left == lines, f"{left} lines in raw after gc, {lines} in the objects"

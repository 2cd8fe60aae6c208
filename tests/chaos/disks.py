"""A disk that is full while something is written, and has room again later."""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time

from tests.chaos.harness import Unfit, World, scenario
from tests.chaos.kills import BY_MONTH, OLD_LOGIC, fill, load_in_pieces, table
from tests.helpers.processes import Process

MEGABYTES = 256

# Bytes that inserts leave free (macros/check_engine.sql).
ROOM = 64 << 20


def small_disk(world: World) -> None:
    """Put the database of a world on a separate disk, unless an earlier round has.

    Raises:
        Unfit: nothing may be mounted here.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise Unfit("a small disk needs root on Linux")
    disk, place = world.folder / "disk", world.folder / "clickhouse"
    if disk.exists():
        return
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        raise Unfit(f"a small disk cannot be mounted: {done.stderr.strip()}")
    shutil.move(place, disk / "clickhouse")
    place.symlink_to("disk/clickhouse")

    def unmount() -> None:
        """Give the disk back; its content stays, for who looks into a failure."""
        free(world)
        place.unlink()
        shutil.copytree(disk / "clickhouse", place, symlinks=True)
        subprocess.run(["umount", "--lazy", str(disk)], check=True)

    world.at_end(unmount)


def squeeze(world: World, leave: int) -> None:
    """Leave so many bytes of the disk free."""
    disk = world.folder / "disk"
    while True:
        room = os.statvfs(disk)
        size = room.f_bavail * room.f_frsize - leave
        if size <= 0:
            return
        # Others write meanwhile: what was free may be taken.
        with contextlib.suppress(OSError), (disk / "filler").open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), size)
            return


def free(world: World) -> None:
    """Make room again."""
    (world.folder / "disk" / "filler").unlink(missing_ok=True)


def ended(world: World, process: Process) -> None:
    """Wait for a command that runs on a full disk; note whether that stopped it."""
    code = process.wait()
    said = ("No space left", "NOT_ENOUGH_SPACE", "MiB are free on the disk")
    full = any(words in process.output for words in said)
    world.hit(f"{process.command[0]} ended with {code}{', disk full' if full else ''}", code != 0)
    free(world)


@scenario("load", "disk full")
def load_on_full_disk(world: World, dice: random.Random) -> None:
    """The lines of a load do not fit."""
    fill(world, dice, lines=2000)
    small_disk(world)
    squeeze(world, dice.choice((0, ROOM)) + dice.randint(0, 700_000))
    batch = str(dice.choice((10, 1000)))
    ended(world, world.start("xapi-elt", "backfill", world.prefix, "--batch-objects", batch))
    world.look()


@scenario("commit", "disk full")
def commit_on_full_disk(world: World, dice: random.Random) -> None:
    """The lines fit, and then the ledger's row does not."""
    fill(world, dice, lines=1000)
    small_disk(world)
    raw = table(world, "xapi_raw.statements")
    before = raw.stat().st_mtime_ns
    process = world.start("xapi-elt", "backfill", world.prefix)
    while process.poll() is None and raw.stat().st_mtime_ns == before:
        time.sleep(0.001)
    time.sleep(dice.uniform(0, 0.02))
    squeeze(world, dice.choice((0, 0, 4096, 16384)))
    ended(world, process)
    world.look()


@scenario("transform", "disk full", filled=True)
def transform_on_full_disk(world: World, dice: random.Random) -> None:
    """The tables do not fit."""
    load_in_pieces(world, dice, 2000)
    small_disk(world)
    squeeze(world, dice.choice((0, ROOM, ROOM, ROOM)) + dice.randint(0, 1_500_000))
    lines = f"{{slice_lines: {dice.choice((200, 1000000))}}}"
    ended(world, world.start_dbt("run", "--select", "+marts.events", "--vars", lines))
    world.look(models=True)


@scenario("rebuild", "disk full", filled=True)
def rebuild_on_full_disk(world: World, dice: random.Random) -> None:
    """Rebuilt months do not fit: the table keeps the old ones."""
    with world.warehouse() as warehouse:
        warehouse.command(OLD_LOGIC)
    small_disk(world)
    squeeze(world, dice.choice((0, ROOM, ROOM, ROOM)) + dice.randint(0, 200_000))
    days = "{start_date: 2025-09-01, end_date: 2025-12-31}"
    rebuild = ("run", "--select", "video_events", "--vars", days)
    ended(world, world.start_dbt(*rebuild))
    with world.warehouse() as warehouse:
        now = warehouse.query(BY_MONTH)
    mixed = [row for row in now if row["old"] not in (0, row["rows"])]
    assert not mixed, f"half rebuilt: {mixed}"
    world.dbt(*rebuild)

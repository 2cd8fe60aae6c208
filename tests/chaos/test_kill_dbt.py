"""dbt killed at random moments: the next ordinary run completes it, no event lost, none doubled."""

import os
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from dbt_project import ROOT, run_dbt
from loader import schema
from loader.load import load
from loader.sample import SamplePlan, objects
from loader.settings import Settings
from loader.sources import local_objects
from loader.warehouse import open_warehouse

FULL = os.environ.get("XAPI_CHAOS") == "1"
SECTIONS, KILLS = (20, 20) if FULL else (2, 3)
SEED = int(os.environ.get("XAPI_CHAOS_SEED", "1"))

STATE = """
select
    count() as rows,
    uniqExact(event_id) as events,
    sum(cityHash64(event_id, timestamp, verb, user_id, section_id, load_id, source_line)) as sum
from {database:Identifier}.video_events
"""


def state() -> list[dict]:
    """What video_events holds, in three numbers."""
    with closing(open_warehouse(Settings.from_env())) as warehouse:
        return warehouse.query(STATE)


def kill_during(seconds: float, *arguments: str, folder: Path) -> None:
    """Start dbt and kill it, unless it is done before."""
    command = [str(Path(sys.executable).with_name("dbt")), "run", "--project-dir", "dbt_project"]
    command += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    process = subprocess.Popen(
        [*command, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def test_whatever_moment_dbt_is_killed_the_next_run_completes_it(chdb_path, tmp_path):
    dice = random.Random(SEED)
    plan = SamplePlan(sections=SECTIONS, learners=40)
    bodies: dict[int, bytearray] = {}
    for number, item in enumerate(objects(plan)):
        if not item.key.endswith(".gz"):
            bodies.setdefault(number % 6, bytearray()).extend(item.body.rstrip(b"\n") + b"\n")
    (tmp_path / "lines").mkdir()
    settings = Settings.from_env()
    with closing(open_warehouse(settings)) as warehouse:
        schema.init(warehouse, settings)
        for number, body in bodies.items():
            path = tmp_path / "lines" / f"{number}.jsonl"
            path.write_bytes(body)
            list(load(warehouse, settings, local_objects(path), mode="file"))
    # Many small inserts: more moments between two of them.
    slices = ("--select", "+video_events", "--vars", f"{{slice_lines: {len(bodies[0]) // 4000}}}")
    run_dbt("run", *slices, folder=tmp_path)
    undisturbed = state()
    assert undisturbed[0]["rows"] == undisturbed[0]["events"] > 0

    for attempt in range(KILLS):
        with closing(open_warehouse(settings)) as warehouse:
            warehouse.command("drop database {database:Identifier}")
            schema.init(warehouse, settings)
        for _ in range(dice.randint(1, 3)):
            refresh = dice.choice([(), (), ("--full-refresh",)])
            kill_during(dice.uniform(2, 6), *slices, *refresh, folder=tmp_path)
        run_dbt("run", *slices, folder=tmp_path)
        assert state() == undisturbed, f"kill {attempt} of seed {SEED}"

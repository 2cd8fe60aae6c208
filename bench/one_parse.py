"""What one stored parse saves: all tables from the statement store against each from the raw lines.

Loads sample lines into an embedded database, builds the models once, and then runs the very
selects that the models insert with, in one process, measuring CPU seconds. Prints one line of JSON.

    python bench/one_parse.py [--sections 40]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from loader import schema
from loader.load import load
from loader.sample import SamplePlan, objects
from loader.settings import Settings
from loader.sources import local_objects
from loader.warehouse import open_warehouse

ROOT = Path(__file__).resolve().parent.parent
VIEW, STORE = "stg_xapi__statements", "int_xapi__statements"
FAMILIES = [
    "video_events",
    "activity_attempt_events",
    "page_attempt_events",
    "part_attempt_events",
    "page_viewed_events",
]


def main() -> None:
    """Build, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sections", type=int, default=40, help="sections of 15,000 lines")
    plan = SamplePlan(sections=arguments.parse_args().sections, learners=45, months=6)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XAPI_CHDB_PATH"] = f"{folder}/clickhouse"
        settings = Settings.from_env()
        with open(f"{folder}/lines.jsonl", "wb") as file:
            for item in objects(plan):
                if not item.key.endswith(".gz"):
                    file.write(item.body.rstrip(b"\n") + b"\n")
        with closing(open_warehouse(settings)) as warehouse:
            schema.init(warehouse, settings)
            outcomes = list(load(warehouse, settings, local_objects(Path(folder)), mode="file"))
        target = f"{folder}/target"
        dbt = [str(Path(sys.executable).with_name("dbt")), "run", "--project-dir", "dbt_project"]
        dbt += ["--target-path", target, "--log-path", f"{folder}/logs"]
        subprocess.run(dbt, cwd=ROOT, check=True, capture_output=True)
        compiled = Path(target, "compiled/xapi_elt/models/marts/events")
        selects = {name: (compiled / f"{name}.sql").read_text() for name in FAMILIES}
        with closing(open_warehouse(settings)) as warehouse:
            print(json.dumps(measure(warehouse, selects, outcomes[0][0].rows)))


def measure(warehouse, selects: dict[str, str], lines: int) -> dict[str, float]:
    """CPU seconds of each way, the better of two runs."""

    def seconds(table: str, select: str) -> float:
        best = float("inf")
        for _ in range(2):
            warehouse.command("drop table if exists {database:Identifier}.bench")
            warehouse.command(f"create table {{database:Identifier}}.bench as xapi.{table}")
            started = time.process_time()
            warehouse.command(
                f"insert into {{database:Identifier}}.bench {select} settings "
                "throw_on_max_partitions_per_insert_block = 0, "
                "short_circuit_function_evaluation = 'disable'"
            )
            best = min(best, time.process_time() - started)
        return best

    stored = seconds(STORE, f"select * from xapi.{VIEW}")
    from_store = {name: seconds(name, select) for name, select in selects.items()}
    from_raw = {
        name: seconds(name, select.replace(f"`{STORE}`", f"`{VIEW}`"))
        for name, select in selects.items()
    }
    return {
        "lines": lines,
        "parse_and_store": round(stored, 2),
        "five_from_store": round(sum(from_store.values()), 2),
        "five_from_raw": round(sum(from_raw.values()), 2),
        "separate_parses_to_one": round(
            sum(from_raw.values()) / (stored + sum(from_store.values())), 2
        ),
        "all_five_to_video_alone": round(
            (stored + sum(from_store.values())) / (stored + from_store["video_events"]), 2
        ),
    }


if __name__ == "__main__":
    main()

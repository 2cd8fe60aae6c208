"""Processes that open one embedded database at the same moment."""

import subprocess
import sys

OPEN_AND_CLOSE = """
import sys, time
from loader.clickhouse.connect import open_warehouse
from loader.settings import Settings
for _ in range(15):
    warehouse = open_warehouse(Settings(chdb_path=sys.argv[1]), wait=60)
    warehouse.query("select 1")
    warehouse.close()
"""


def test_processes_that_open_a_database_at_once_take_turns(chdb_path):
    """The engine fails without a text if another process opens the database at the same moment."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_CLOSE, str(chdb_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outputs

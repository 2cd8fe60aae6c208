"""ClickHouse's stand-in (clickhouse_http.py) as a process of its own, which can be killed."""

import subprocess
import sys
from pathlib import Path


def start_process(
    *options: str, python: Path = Path(sys.executable)
) -> tuple[subprocess.Popen, int]:
    """Start a server with these options, with the engine that is installed beside this Python;
    the process, and the port that it listens on."""
    command = [str(python), str(Path(__file__).with_name("clickhouse_http.py")), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("listening on "), "the server did not start"
    return process, int(line.split()[-1])

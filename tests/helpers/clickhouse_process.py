"""ClickHouse's stand-in (clickhouse_http.py) as a separate process, which can be killed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.paths import ROOT

ENGINES = ROOT / ".venv-engines"

# The engine comes with the Python beside which it is installed: an older one (`make engines`) if
# XAPI_TEST_ENGINE names its release, e.g. 25.8.
_RELEASE = os.environ.get("XAPI_TEST_ENGINE")
PYTHON = ENGINES / _RELEASE / "bin" / "python" if _RELEASE else Path(sys.executable)
if not PYTHON.exists():
    raise SystemExit(f"XAPI_TEST_ENGINE is {_RELEASE!r}, which is not installed: make engines")


# Arguments of Python that run the server, in the project's folder.
SERVER = ("-m", "tests.helpers.clickhouse_http")


def start_process(*options: str, python: Path = PYTHON) -> tuple[subprocess.Popen, int]:
    """Start a server with these options; the process, and the port that it listens on."""
    command = [str(python), *SERVER, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    line = process.stdout.readline()
    assert line.startswith("listening on "), "the server did not start"
    return process, int(line.split()[-1])

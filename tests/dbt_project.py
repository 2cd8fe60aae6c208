"""Run dbt as a person would: its command line, from the root of the project."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_dbt(*arguments: str, folder: Path, fails: bool = False) -> str:
    """Run a dbt command against the database of the environment, which must not be open here.

    Args:
        arguments: e.g. 'run', '--select', 'video_events'.
        folder: where its target and log folders go.
        fails: whether it is meant to fail.

    Returns:
        What it printed.
    """
    command = [str(Path(sys.executable).with_name("dbt")), *arguments]
    command += ["--project-dir", "dbt_project", "--no-use-colors"]
    command += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=600
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout

"""Runs dbt by its command line, from the root of the project."""

import os
from pathlib import Path

from tests.helpers.paths import ROOT
from tests.helpers.processes import Process, shared_forks


def run_dbt(*arguments: str, folder: Path, fails: bool = False, artifacts: bool = False) -> str:
    """Run a dbt command against the database of the environment, which must not be open here.

    dbt takes longer to be imported and to parse the project than to work on a few lines: it is
    a fork of a process that has done both (`processes`).

    Args:
        arguments: e.g. 'run', '--select', 'video_events'.
        folder: where its target and log folders go.
        fails: whether it is meant to fail.
        artifacts: whether it parses for itself and writes manifest.json and the like.

    Returns:
        What it printed.
    """
    process = start_dbt(*arguments, folder=folder, artifacts=artifacts)
    assert (process.wait(600) != 0) == fails, process.output
    return process.output


def start_dbt(*arguments: str, folder: Path, artifacts: bool = False) -> Process:
    """The same without waiting for its end."""
    command = ["dbt", *arguments, "--no-use-colors"]
    command += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    command += [] if artifacts else ["--no-write-json"]
    folder.mkdir(parents=True, exist_ok=True)
    return shared_forks(ROOT).start(command, dict(os.environ), folder)

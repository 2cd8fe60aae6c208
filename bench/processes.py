"""Processes that a measurement starts: their CPU time, and their end."""

import os
import signal
import subprocess
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: int) -> float:
    """CPU time of a process and of all processes below it, ended ones included.

    Args:
        root: its id.
    """
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may have spaces.
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        ticks[pid] = sum(map(int, fields[11:15]))
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sum(ticks.get(pid, 0) for pid in found) / TICK


def end(process: subprocess.Popen) -> None:
    """Ask a process to end, and kill it if it does not within a minute."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The supervisor: what becomes of a child that ends, fails, dies, hangs or has grown too large."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from loader.errors import PermanentError, SettingsError
from loader.log import Log
from loader.supervisor import Limits, Link, Supervisor
from tests.helpers.paths import ROOT


def first_time(folder: str) -> bool:
    """Whether this is the first child that asks."""
    try:
        Path(folder, "child").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def dies(link: Link, folder: str) -> int:
    if first_time(folder):
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def hangs(link: Link, folder: str) -> int:
    link.alive("transforming")
    if first_time(folder):
        time.sleep(60)
    return 0


def breaks(link: Link, folder: str) -> int:
    raise ZeroDivisionError("a password")


def wears_out(link: Link, folder: str) -> int | None:
    link.report("worked", pid=os.getpid())
    return None if first_time(folder) else 0


def fails(link: Link, error: Exception) -> int:
    raise error


def ends(link: Link, code: int) -> int:
    return code


def waits(link: Link, phase: str) -> int:
    """Work that goes on until it is stopped; dbt does not notice a stop."""
    link.alive(phase)
    if phase == "transforming":
        time.sleep(60)
    link.stop.wait()
    return 0


def supervise(work, options, stop=None, endless=False, **limits):
    """Run work in a child; the exit code, the log and what the child reported."""
    output, reported = io.StringIO(), []
    code = Supervisor(
        work,
        options,
        Log(stream=output),
        Limits(**limits),
        stop=stop or threading.Event(),
        endless=endless,
        on_message=lambda kind, **about: reported.append((kind, about)),
    ).run()
    return code, [json.loads(line) for line in output.getvalue().splitlines()], reported


@pytest.mark.parametrize(
    ("work", "reason"), [(dies, "it ended with SIGKILL"), (hangs, "no progress for 3 s")]
)
def test_a_child_that_dies_or_hangs_is_replaced(tmp_path, work, reason):
    code, log, _ = supervise(work, str(tmp_path), silent_seconds=3)
    assert code == 0
    assert [line["reason"] for line in log if line["event"] == "child_lost"] == [reason]
    assert len([line for line in log if line["event"] == "child_started"]) == 2


def test_a_child_that_has_grown_too_large_is_replaced_at_once(tmp_path):
    code, log, reported = supervise(wears_out, str(tmp_path))
    assert code == 0
    assert [line["event"] for line in log].count("child_replaced") == 1
    assert len({about["pid"] for kind, about in reported if kind == "worked"}) == 2


def test_work_with_an_end_is_given_up_and_shows_no_secret(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("loader.supervisor.LONGEST_PAUSE", 0)
    code, log, _ = supervise(breaks, str(tmp_path))
    assert code == 1
    assert [line["lost"] for line in log if line["event"] == "child_lost"] == [1, 2, 3]
    printed = capfd.readouterr().err
    assert "unexpected ZeroDivisionError" in printed and "password" not in printed


@pytest.mark.parametrize("error", [SettingsError("X is wrong"), PermanentError("no such table")])
def test_an_error_of_the_child_is_that_of_the_command(error):
    with pytest.raises(type(error), match=str(error)):
        supervise(fails, error, endless=True)


def test_the_exit_code_of_the_child_is_that_of_the_command():
    assert supervise(ends, 1)[0] == 1


@pytest.mark.parametrize("phase", ["idle", "transforming"])
def test_a_stop_ends_the_child(monkeypatch, phase):
    monkeypatch.setattr("loader.supervisor.GRACE", 0.5)
    stop, started = threading.Event(), time.monotonic()
    threading.Timer(3, stop.set).start()
    assert supervise(waits, phase, stop, endless=True)[0] == 0
    assert time.monotonic() - started < 30


def test_a_child_ends_with_its_supervisor(tmp_path):
    code = (
        "import sys, threading; from loader.log import Log; from loader.supervisor import *\n"
        "from tests.loader.test_supervisor import waits\n"
        "if __name__ == '__main__':\n"
        "    Supervisor(waits, 'idle', Log(), Limits(), stop=threading.Event(), endless=True).run()"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    child = json.loads(parent.stdout.readline())["pid"]
    time.sleep(3)
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in _state(child):
            return
        time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the child goes on without its supervisor")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"

"""A short version of `python -m tests.chaos.warm_runs`, in a process of its own."""

import re
import subprocess
import sys

import pytest

from tests.chaos.warm_runs import growth
from tests.helpers.paths import ROOT


@pytest.mark.long
def test_the_memory_of_warm_runs_is_bounded():
    command = [sys.executable, "-m", "tests.chaos.warm_runs", "--runs", "12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [float(value) for value in re.findall(r": +(\d+) MiB", done.stdout)]
    assert max(found) < 1200
    grown = re.search(r"growth (-?\d+) MiB", done.stdout)
    assert float(grown[1]) < 150


def test_growth_is_that_of_the_later_runs():
    assert growth([900.0, 600, 600, 600, 600, 600, 600, 610]) == 5
    assert growth([100.0 * number for number in range(8)]) == 400

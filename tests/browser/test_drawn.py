"""A bounded part of the browser tests, with Chromium alone: the charts are drawn without errors."""

import subprocess
from pathlib import Path

import pytest

from tests.browser.conftest import FLAGS


def opened(chromium: str, page: Path, profile: Path) -> tuple[str, str]:
    """What a page's document is after its scripts ran, and what they wrote to the console."""
    done = subprocess.run(
        [
            chromium,
            *FLAGS,
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            "--virtual-time-budget=10000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)


@pytest.mark.parametrize("name", ["section", "pipeline", "empty"])
def test_a_page_draws_its_charts_without_an_error(chromium, pages, tmp_path, name):
    document, console = opened(chromium, pages[name], tmp_path / "profile")
    assert console == ""
    assert "data-ready" in document[:500]
    assert document.count('data-drawn=""') == (0 if name == "empty" else 1)

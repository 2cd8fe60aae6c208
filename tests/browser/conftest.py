"""Fixtures: the pages as files, and a Chromium that opens them."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loader.report.places import Folder
from loader.report.section import Options
from loader.report.writing import write_pages
from tests.helpers.report_rows import busy, nothing

# Nothing is fetched and nothing is kept; the profile is a new folder each time.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium; tests that need it are skipped where it is not installed."""
    path = shutil.which("chromium")
    if not path:
        pytest.skip("chromium is not installed; make browser installs it")
    return path


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of a report by their name: a busy section, an empty one, index and pipeline."""
    folder = tmp_path_factory.mktemp("pages")
    options = Options(min_group=5, names=True, made_at=datetime.now(UTC))
    write_pages(busy(), Folder(folder), options)
    empty = nothing()
    empty.answers["index/sections"] = busy().rows("index", "sections")[:1]
    write_pages(empty, Folder(folder / "empty"), options)
    files = {path.stem.split("-")[0]: path for path in folder.glob("*.html")}
    return files | {"empty": folder / "empty" / "section-2161.html"}


@pytest.fixture(scope="session")
def start_browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    """Start a browser that selenium drives."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="make browser installs selenium")
    driver = shutil.which("chromedriver")
    if not driver:
        pytest.skip("chromedriver is not installed; make browser installs it")
    started = []

    def start(*flags: str):
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        profile = tmp_path_factory.mktemp("profile")
        for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(driver)
        started.append(webdriver.Chrome(options=options, service=service))
        return started[-1]

    yield start
    for browser in started:
        browser.quit()


@pytest.fixture(scope="session")
def browser(start_browser: Callable):
    """One browser for all tests."""
    return start_browser("--window-size=1280,900")

"""Every page in Chromium: no errors, clicks and keys work, axe, widths, dark mode, print."""

import base64
import importlib.util
from pathlib import Path

import pytest

PAGES = ["section", "course", "index", "pipeline", "empty"]


@pytest.fixture
def show(browser, pages):
    """Open a page and wait for its charts: show('section', width=390, dark=True)."""

    def open_page(name: str, width: int = 1280, dark: bool = False, zone: str = "UTC"):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(pages[name].as_uri())
        if name != "index":
            wait(browser, "return document.documentElement.hasAttribute('data-ready')")
        return browser

    return open_page


def wait(browser, script: str) -> None:
    """Wait until a script returns true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(script))


def errors(browser) -> list[str]:
    """What the page wrote to the console."""
    return [entry["message"] for entry in browser.get_log("browser")]


def open_video(browser, number: int = 0):
    """Open the details of a video; returns their element."""
    button = browser.find_elements("css selector", ".videos button")[number]
    button.click()
    detail = browser.find_element("id", button.get_attribute("aria-controls"))
    wait(browser, "return document.querySelectorAll('.detail [data-drawn]').length > 0")
    return detail


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_without_errors(show, name):
    browser = show(name)
    assert errors(browser) == []
    assert browser.execute_script("return window.broken") is None
    assert browser.find_element("tag name", "h1").text


def test_a_click_on_a_video_shows_its_retention_and_another_hides_it(show):
    browser = show("section")
    detail = open_video(browser)
    assert detail.is_displayed()
    assert detail.find_elements("css selector", ".drawing svg path")
    numbers = detail.find_elements("css selector", "table.filled tbody tr")
    assert len(numbers) == 150
    # A place that is seen again: 51 * 4 s, 28 learners of 40, 7 repeats.
    shown = [
        cell.get_attribute("textContent") for cell in numbers[51].find_elements("tag name", "td")
    ]
    assert shown == ["3:24", "28", "7"]
    browser.find_element("css selector", ".videos button").click()
    assert not detail.is_displayed()
    assert errors(browser) == []


def test_a_keyboard_opens_a_video(show):
    from selenium.webdriver.common.keys import Keys

    browser = show("section")
    button = browser.find_element("css selector", ".videos button")
    browser.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(outline) == "solid"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(show, name, dark):
    browser = show(name, dark=dark)
    if name == "section":
        open_video(browser)
    folder = Path(importlib.util.find_spec("axe_core_python").submodule_search_locations[0])
    browser.execute_script((folder / "axe.min.js").read_text())
    result = browser.execute_async_script(
        "const done = arguments[arguments.length - 1]; axe.run().then(done)"
    )
    assert len(result["passes"]) > 15
    assert [
        (found["id"], found["impact"], found["nodes"][0]["html"][:200])
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
    ] == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_no_width_needs_scrolling_sideways(show, name, width):
    browser = show(name, width=width, dark=True)
    if name == "section":
        open_video(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints(show, name):
    from selenium.webdriver.common.print_page_options import PrintOptions

    printed = base64.b64decode(show(name).print_page(PrintOptions()))
    assert printed.startswith(b"%PDF") and len(printed) > 5_000


def test_days_are_utc_wherever_the_reader_is(show):
    def labels(zone: str) -> list[str]:
        found = show("section", zone=zone).find_elements("css selector", "[data-chart=days] text")
        return [text.get_attribute("textContent") for text in found]

    assert labels("America/Los_Angeles") == labels("UTC")
    assert "1 Sep" in labels("Asia/Tokyo")


def test_dark_mode_changes_page_and_charts(show):
    def colours(dark: bool) -> list[str]:
        return show("section", dark=dark).execute_script(
            "const bar = document.querySelector('[data-chart=days] .mark-rect path');"
            "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(bar).fill]"
        )

    light, dark = colours(False), colours(True)
    assert light[0] != dark[0] and light[1] != dark[1]

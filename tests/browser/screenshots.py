"""Make the pictures of docs/pages.md: `make screenshots`.

The pages are those of the demo, beside its database; without them this runs the demo.
"""

import base64
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver

from loader.demo.demo import demo_settings
from tests.browser.conftest import FLAGS

# Picture, page, width and height of the window, whether it is dark, and where it is scrolled to.
PICTURES = (
    ("section", "section-2161.html", 1100, 760, False, "h1"),
    ("video", "section-2161.html", 1100, 760, False, "#videos"),
    ("pipeline", "pipeline.html", 1100, 760, False, "h1"),
    ("phone", "section-2161.html", 390, 760, True, "h1"),
)

# Of files in docs/img.
MOST_BYTES = 150_000

OPEN_AND_SCROLL = """
const button = document.querySelectorAll('.videos button')[2];
if (button) button.click();
const place = document.querySelector(arguments[0]).getBoundingClientRect().top;
scrollTo(0, arguments[0] === 'h1' ? 0 : place - 20);
"""


def main(folder: Path) -> None:
    """Write the pictures.

    Args:
        folder: where they go.
    """
    pages = Path(f"{demo_settings().chdb_path}-report")
    if not (pages / "index.html").exists():
        subprocess.run([Path(sys.executable).with_name("xapi-elt"), "demo"], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, "--hide-scrollbars", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.binary_location = shutil.which("chromium")
        # With a path selenium does not look for a driver on the network.
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        browser = webdriver.Chrome(options=options, service=service)
        try:
            for name, page, width, height, dark, place in PICTURES:
                content = picture(browser, pages / page, (width, height), dark, place)
                if len(content) > MOST_BYTES:
                    raise SystemExit(f"{name}.png has {len(content):,} bytes")
                (folder / f"{name}.png").write_bytes(content)
                print(f"{folder / name}.png {len(content):,} bytes")
        finally:
            browser.quit()


def picture(
    browser: webdriver.Chrome, page: Path, window: tuple[int, int], dark: bool, place: str
) -> bytes:
    """A picture of a page, with a video opened.

    Args:
        browser: a browser.
        page: the file.
        window: width and height.
        dark: whether the reader prefers dark colours.
        place: a selector of what is at the top of the picture.
    """
    size = {"width": window[0], "height": window[1], "deviceScaleFactor": 1}
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", size | {"mobile": window[0] < 500}
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(page.as_uri())
    time.sleep(2)  # until the charts are drawn
    browser.execute_script(OPEN_AND_SCROLL, place)
    time.sleep(1)
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return base64.b64decode(shot["data"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

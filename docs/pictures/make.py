"""Draw report.png, the first screen of a report, as the README shows it.

    python docs/pictures/make.py runs/quickstart/report.html

Needs the extra [dev] and Chromium. The picture has 128 colours, which keeps it small.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1180, 560
TARGET = Path(__file__).with_name("report.png")


def main(page: Path) -> None:
    """Draw the first screen of a page."""
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5, color_scheme="light"
        )
        tab.goto(page.resolve().as_uri())
        content = tab.screenshot()
        browser.close()
    picture = Image.open(io.BytesIO(content)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(TARGET, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

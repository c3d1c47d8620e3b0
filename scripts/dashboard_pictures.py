"""Makes the pictures in docs/dashboard.md: `python scripts/dashboard_pictures.py`.

It needs the environment and the browser of ./test. The pictures are of a real server: the hour
before is that of shop_hour.py, and the page goes on living while it is taken.
"""

from __future__ import annotations

import sys
import threading
from io import BytesIO
from pathlib import Path

from PIL import Image
from shop_hour import Shop

ROOT = Path(__file__).parents[1]
# The harness of the tests knows the browser.
sys.path[:0] = [str(ROOT / "tests/dashboard"), str(ROOT / "tests/store")]
from chromium import launch_chromium  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from served import Serving  # noqa: E402
from tab import NARROW, Tab  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDE = (1240, 800)
# Enough for anti-aliased text, and a third of the size.
COLOURS = 224
# Name, address, theme, size of the window.
SHOTS = (
    ("stopping", "job/{stopping}", "light", WIDE),
    ("overview", "overview", "light", WIDE),
    ("overview-dark", "overview", "dark", WIDE),
    ("queue", "queues/webhooks", "light", WIDE),
    ("jobs", "jobs?state=discarded,retryable", "light", WIDE),
    ("failure", "failures/{fingerprint}", "dark", WIDE),
    ("workers", "workers", "light", WIDE),
    ("narrow", "overview", "light", NARROW),
)


def save(picture: bytes, path: Path) -> None:
    """Write a picture with few colours."""
    image = Image.open(BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Replay the hour, and take the pictures while the shop goes on."""
    PICTURES.mkdir(exist_ok=True)
    shop = Shop()
    shop.replay()
    shop.add_details()
    stopping = shop.stop_a_video()
    groups = shop.store.failures(limit=1).result().groups
    names = {"stopping": stopping, "fingerprint": groups[0].fingerprint}
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(2.0):
            shop.step()

    living = threading.Thread(target=go_on)
    living.start()
    server = Serving(shop.store)
    try:
        with sync_playwright() as playwright:
            browser = launch_chromium(playwright)
            for name, address, theme, size in SHOTS:
                tab = Tab(browser, server.url, theme=theme, size=size)
                tab.open(address.format(**names)).page.wait_for_timeout(2500)
                save(tab.page.screenshot(), PICTURES / f"{name}.png")
                assert tab.problems == [], name
                tab.close()
            browser.close()
    finally:
        over.set()
        living.join()
        server.close()
        shop.store.close()


if __name__ == "__main__":
    main()

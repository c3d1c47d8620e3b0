"""Finds and starts Chromium: the one on PATH, else the one that ./test has installed by npm."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright

INSTALLED = Path(__file__).parent / "browser" / "node_modules"
UNPACKED = INSTALLED / ".unpacked"
AXE = INSTALLED / "axe-core" / "axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGS = (
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-zygote",
    "--font-render-hinting=none",
)
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>/usr/share/fonts</dir><dir>{0}/fonts</dir><cachedir>{0}/cache</cachedir></fontconfig>
"""


def launch_chromium(playwright: Playwright) -> Browser:
    """Start the browser. A machine without one is a failure, not a reason to skip."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    env: dict[str, str | float | bool] = dict(os.environ)
    if found is None:
        found = str(UNPACKED / "chromium")
        if not Path(found).exists():
            pytest.fail("there is no Chromium on PATH, and ./test has not installed one by npm")
        fonts = UNPACKED / "fonts-here.conf"
        fonts.write_text(FONTS.format(UNPACKED))
        env |= {"LD_LIBRARY_PATH": str(UNPACKED / "lib"), "FONTCONFIG_FILE": str(fonts)}
    return playwright.chromium.launch(executable_path=found, args=ARGS, env=env)

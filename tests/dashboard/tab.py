"""A tab of the browser: opens pages of a dashboard, and collects what must not happen in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chromium import AXE
from playwright.sync_api import Browser, ConsoleMessage, Request, expect

AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Milliseconds until what is expected must be there: a test machine is busy.
expect.set_options(timeout=30_000)
WIDE, NARROW = (1440, 900), (390, 844)
# What Chromium itself says about a request that was refused, or of a server that is gone.
EXPECTED = ("Failed to load resource",)


class Tab:
    """One page in a context of its own. `problems` are errors, and requests to other hosts."""

    def __init__(
        self, browser: Browser, url: str, *, theme: str = "light", size: tuple[int, int] = WIDE
    ) -> None:
        self.url = url.rstrip("/") + "/"
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=theme,  # type: ignore[arg-type]
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="Europe/Berlin",
            accept_downloads=True,
        )
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", self._check_host)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(EXPECTED):
            self.problems.append(f"{message.type}: {message.text}")

    def _check_host(self, request: Request) -> None:
        if not request.url.startswith((self.url, "blob:")):
            self.problems.append(f"a request to {request.url}")

    def open(self, address: str = "overview") -> Tab:
        """Go to a page by its address after #, and wait until it shows its data."""
        self.page.goto(f"{self.url}#/{address}")
        return self.ready()

    def ready(self) -> Tab:
        """Wait until nothing is loading."""
        expect(self.page.locator("h1")).to_be_visible()
        expect(self.page.locator(".skeleton")).to_have_count(0)
        return self

    def see(self, text: str, within: str = "main") -> None:
        """Wait until a text is there."""
        expect(self.page.locator(within)).to_contain_text(text)

    def click(self, name: str, within: str = "body") -> None:
        """Click the button or link with a name."""
        self.page.locator(within).locator(
            f"button:visible:text-is('{name}'), a:visible:text-is('{name}'),"
            f":is(a, button):visible:has(span:text-is('{name}')), [aria-label='{name}']:visible"
        ).first.click()

    def confirm(self, button: str, **fields: str) -> None:
        """Fill in the question that is open, and answer it."""
        dialog = self.page.locator("dialog")
        for name, value in fields.items():
            dialog.locator(f"[name={name}]").fill(value)
        dialog.locator("footer button", has_text=button).click()
        expect(dialog).to_have_count(0)

    def axe(self) -> list[str]:
        """Return the violations that axe finds."""
        devtools = self.context.new_cdp_session(self.page)
        # Past the page's own policy, which forbids foreign scripts.
        devtools.send("Runtime.evaluate", {"expression": AXE.read_text()})
        found: Any = self.page.evaluate(
            "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", AXE_RULES
        )
        devtools.detach()
        return [
            f"{each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0]['failureSummary']}"
            for each in found["violations"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def close(self) -> None:
        self.context.close()


# Opens a tab at an address; see the fixture of the same name.
OpenTab = Callable[..., Tab]

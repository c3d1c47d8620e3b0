"""Every page of the dashboard in a real browser: real data, both themes, narrow, by axe."""

from __future__ import annotations

import pytest
from filled_shop import Shop
from playwright.sync_api import expect
from prefix import Prefix
from tab import NARROW, WIDE, OpenTab, Tab

# By its address: what a page must show. {…} is a field of the shop.
SEEN = {
    "overview": "imports",
    "queues": "imports",
    "queues/billing": "prices change",
    "queues/mail": "ConnectionError",
    "jobs": "send_mail",
    "jobs?state=discarded&queue=mail": "ConnectionError",
    "job/{waiting}": "billing",
    "job/{failed}": "shop_app.py",
    "job/{running}": "frame ",
    "job/{stopping}": "wrong preset",
    "job/{hostile}": "the end",
    "job/{done}": "sending to ada",
    "failures": "ConnectionError",
    "failures/{fingerprint}": "refused by",
    "workers": "slots",
    "workers/{worker}": "transcode",
    "schedules": "at 03:00 on Monday to Friday",
    "scaler": "No scaler has run",
    "audit": "prices change",
}
# What an axe without a fault finds: a form field without a name.
FAULT = "document.querySelector('main').append(document.createElement('input'))"


@pytest.mark.parametrize("address", SEEN)
def test_a_page_shows_real_data(shop: Shop, open_tab: OpenTab, address: str) -> None:
    tab = open_tab(address.format(**shop._asdict()))
    tab.see(SEEN[address])
    assert tab.page.locator(".empty.bad").count() == 0


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", NARROW)])
def test_no_page_has_a_fault_that_axe_finds_or_is_too_wide(
    shop: Shop, open_tab: OpenTab, theme: str, size: tuple[int, int]
) -> None:
    tab = open_tab(theme=theme, size=size)
    for address, text in SEEN.items():
        tab.open(address.format(**shop._asdict())).see(text)
        assert tab.axe() == [], address
        assert tab.overflow() == 0, address


def test_dialogs_have_no_fault_that_axe_finds(shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab(f"job/{shop.running}")
    for open_dialog in (
        lambda: tab.click("Cancel", "main"),
        lambda: tab.page.keyboard.press("/"),
        lambda: tab.page.keyboard.press("?"),
    ):
        open_dialog()
        expect(tab.page.locator("dialog")).to_be_visible()
        assert tab.axe() == []
        tab.page.keyboard.press("Escape")
        expect(tab.page.locator("dialog")).to_have_count(0)


def test_axe_finds_a_fault_that_is_there(shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab("audit")
    tab.page.evaluate(FAULT)
    assert [each.partition(":")[0] for each in tab.axe()] == ["label"]


def test_an_error_in_a_page_and_a_request_to_another_host_are_noticed(
    shop: Shop, open_tab: OpenTab
) -> None:
    tab = open_tab("audit")
    tab.page.evaluate("fetch('http://192.0.2.1/').catch(() => setTimeout(() => nothing()))")
    tab.page.wait_for_event("pageerror")
    assert any("192.0.2.1" in each for each in tab.problems)
    assert any("nothing is not defined" in each for each in tab.problems)
    tab.problems.clear()


def test_a_narrow_page_reaches_all_pages_and_actions(shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab(size=NARROW)
    tab.click("More")
    tab.click("Schedules", "dialog")
    tab.ready().see("nightly")
    for button in tab.page.locator("main button:visible, nav button:visible").all():
        box = button.bounding_box()
        assert box is None or min(box["width"], box["height"]) >= 24


def test_a_page_that_does_not_exist_says_so(shop: Shop, open_tab: OpenTab) -> None:
    for address, text in {
        "nothing": "There is no such page",
        "queues/nothing": "Not found",
        "job/nothing": "Not found",
        "workers/nothing": "There is no such worker",
        "failures/nothing": "Not found",
    }.items():
        tab = open_tab("audit")
        tab.page.evaluate("address => location.hash = address", f"#/{address}")
        tab.see(text)


def test_every_page_works_below_a_prefix(shop: Shop, open_tab: OpenTab) -> None:
    with Prefix(shop.url, "/ops/jobs/") as url:
        tab = open_tab(url=url)
        tab.see("imports")
        tab.click("Jobs", "nav")
        tab.ready().see("send_mail")
        assert tab.page.url.startswith(f"{url}#/jobs")


def test_foreign_text_is_text(shop: Shop, open_tab: OpenTab) -> None:
    """What a script, a change of direction or a terminal would interpret is shown instead."""
    tab = open_tab(f"job/{shop.hostile}")
    tab.see("<script>alert(1)</script> ⟨202e⟩gnp.exe")
    tab.see("more characters")
    expect(tab.page.locator("h1")).to_have_text("<img src=x onerror=alert(1)>")
    assert tab.page.locator("main script, main img, main b:has-text('hostile')").count() == 0
    assert tab.page.evaluate("document.querySelector('.log, .logbox').innerText.length") < 50_000
    assert "\u202e" not in tab.page.locator("body").inner_text()
    for address in ("jobs", "failures", "queues", "overview"):
        assert "\u202e" not in _text(tab, address)


def _text(tab: Tab, address: str) -> str:
    return tab.open(address).page.locator("body").inner_text()

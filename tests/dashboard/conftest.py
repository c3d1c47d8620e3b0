"""One browser and one world for all tests of the dashboard.

The driver of the browser runs an event loop in its thread for as long as it lives, which other
tests must not find running in theirs. So the tests here run in a thread of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from chromium import launch_chromium
from filled_shop import Shop, fill
from playwright.sync_api import Browser, sync_playwright
from shop_world import World
from tab import OpenTab, Tab

THREAD = ThreadPoolExecutor(1, "browser")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if "browser" not in pyfuncitem.fixturenames:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    values = {name: pyfuncitem.funcargs[name] for name in names}
    THREAD.submit(pyfuncitem.obj, **values).result()
    return True


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    def start() -> tuple[Any, Browser]:
        playwright = sync_playwright().start()
        return playwright, launch_chromium(playwright)

    def stop(playwright: Any, launched: Browser) -> None:
        launched.close()
        playwright.stop()

    playwright, launched = THREAD.submit(start).result()
    yield launched
    THREAD.submit(stop, playwright, launched).result()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def shop(world: World) -> Shop:
    return fill(world)


@pytest.fixture
def open_tab(browser: Browser, world: World) -> Iterator[OpenTab]:
    """Return a function that opens a tab; at the end none may have had a problem."""
    tabs: list[Tab] = []

    def make(address: str = "overview", url: str = "", **how: Any) -> Tab:
        tabs.append(Tab(browser, url or world.url, **how))
        return tabs[-1].open(address)

    def close() -> list[str]:
        problems = [problem for tab in tabs for problem in tab.problems]
        for tab in tabs:
            tab.close()
        return problems

    yield make
    assert THREAD.submit(close).result() == []

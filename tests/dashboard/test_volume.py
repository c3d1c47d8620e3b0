"""The dashboard with 100,000 jobs in the store: its pages stay quick."""

from __future__ import annotations

import json

import pytest
from filled_shop import Shop
from shop_world import World
from tab import OpenTab

from conveyor.core.job import NewJob

# What is seen within some time would be another thing on a busy machine.
pytestmark = pytest.mark.alone

JOBS, BATCH = 100_000, 10_000
# Milliseconds until a page shows its data. A test machine is busy; the promise is 200.
LIMIT = 3000.0
SHOWN = """address => new Promise(resolve => {
    const begin = performance.now();
    location.hash = address;
    const look = () => document.querySelector("main .card, main .verdict, main .empty")
        && !document.querySelector(".skeleton")
        ? resolve(performance.now() - begin) : setTimeout(look, 5);
    setTimeout(look, 20);
})"""


@pytest.fixture(scope="module")
def many(world: World) -> int:
    for _ in range(JOBS // BATCH):
        args = json.dumps({"order": 17}).encode()
        jobs = [
            NewJob(id=world.new_id(), task="send_mail", queue="many", args=args)
            for _ in range(BATCH)
        ]
        world.store.insert(jobs).result(60)
    return JOBS


def test_every_page_is_quick_with_many_jobs(
    world: World, shop: Shop, many: int, open_tab: OpenTab
) -> None:
    tab = open_tab("audit")
    slow = {}
    for address in (
        "overview",
        "queues",
        "queues/many",
        "jobs",
        "jobs?queue=many&state=available&order=oldest",
        "jobs?state=discarded",
        "failures",
        f"job/{shop.done}",
        "workers",
    ):
        took = tab.page.evaluate(SHOWN, f"#/{address}")
        if took > LIMIT:
            slow[address] = took
        tab.ready()
    assert slow == {}
    tab.open("jobs?queue=many").see("10,000+")


def test_all_of_many_jobs_are_counted_and_cancelled(
    world: World, many: int, open_tab: OpenTab
) -> None:
    tab = open_tab("jobs?queue=many&state=available")
    tab.page.locator(".checkall input").check()
    tab.click("Select all 10,000+ that match")
    tab.click("Cancel", ".bulk")
    tab.see("at least 10,000 jobs", "dialog")

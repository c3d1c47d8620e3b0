"""What happens in an open page: changes without a reload, two tabs, a server that restarts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from filled_shop import Shop
from playwright.sync_api import Request, Route, expect
from shop_world import World, until
from tab import OpenTab, Tab

from conveyor.core.job import State


def requests_made(tab: Tab, milliseconds: int) -> list[Request]:
    """Return the requests that a page makes in some time."""
    made: list[Request] = []

    def note(request: Request) -> None:
        made.append(request)

    tab.page.on("request", note)
    tab.page.wait_for_timeout(milliseconds)
    tab.page.remove_listener("request", note)
    return made


def requests_in(tab: Tab, milliseconds: int) -> int:
    """Return how many requests a page makes in some time."""
    return len(requests_made(tab, milliseconds))


def stacks_asked_for(tab: Tab, milliseconds: int) -> int:
    """Return how many stacks a page asks for in some time."""
    return len([each for each in requests_made(tab, milliseconds) if asks_for_a_stack(each)])


def asks_for_a_stack(request: Request) -> bool:
    """Whether a request is for the stack of a job."""
    return request.method == "POST" and request.url.endswith("/stack")


def hide(tab: Tab, hidden: bool) -> None:
    """Hide or show a tab, as far as its page can tell."""
    tab.page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_an_open_page_follows_a_job_to_its_end(world: World, open_tab: OpenTab) -> None:
    job_id = world.mail(queue="held")
    world.store.set_paused("mail", paused=True).result()
    held = world.mail()
    tab = open_tab(f"job/{held}")
    tab.see("Queue 'mail' is paused")
    world.store.set_paused("mail", paused=False).result()
    tab.see("completed")
    tab.see("sending to ada")
    tab.see('"sent to ada"')
    world.store.cancel(job_id, reason="done").result()


def test_output_comes_while_the_job_writes_it(world: World, open_tab: OpenTab) -> None:
    job_id = world.video()
    tab = open_tab(f"job/{job_id}")
    lines = tab.page.locator(".logbox")
    expect(lines).to_contain_text(re.compile(r"frame \d"))
    expect(tab.page.locator("progress")).to_be_visible()
    number = int(re.findall(r"frame (\d+)", lines.inner_text())[-1])
    expect(lines).to_contain_text(f"frame {number + 20}")
    world.store.cancel(job_id, reason="enough").result()
    tab.see("completed")  # its code saw the request, and returned


def test_output_is_searched_narrowed_and_downloaded(shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab(f"job/{shop.running}")
    expect(tab.page.locator(".logbox")).to_contain_text(re.compile(r"frame \d"))
    tab.page.keyboard.press("f")
    tab.page.keyboard.type("first")
    tab.see("1 of 1")
    expect(tab.page.locator("mark").first).to_have_text("first")
    tab.page.select_option(".logbar select", "stderr")
    tab.see("It has written nothing yet")
    tab.page.select_option(".logbar select", "stdout")
    expect(tab.page.locator(".ln").first).to_be_visible()
    with tab.page.expect_download() as download:
        tab.click("Download", ".output")
    assert "first line\n" in download.value.path().read_text()


def test_a_search_says_that_only_the_newest_output_was_searched(
    shop: Shop, open_tab: OpenTab
) -> None:
    def many(route: Route) -> None:
        [chunk, *_] = route.fetch().json()
        route.fulfill(json=[chunk | {"seq": seq} for seq in range(1, 500)])

    tab = open_tab("audit")
    tab.page.route("**/output?before=0*", many)
    tab.open(f"job/{shop.done}").see("The newest output is shown")
    tab.page.keyboard.press("f")
    tab.page.keyboard.type("nowhere")
    tab.see("not in what is shown", ".output")


def test_what_is_done_in_one_tab_shows_in_the_other(world: World, open_tab: OpenTab) -> None:
    job_id = world.mail(queue="idle")
    one, other = open_tab(f"job/{job_id}"), open_tab("jobs?queue=idle")
    other.see("available")
    one.click("Cancel", "main")
    one.confirm("Cancel the job", reason="seen twice")
    cancelled = other.page.locator(".statetabs a", has_text="cancelled")
    before = int(cancelled.locator("b").inner_text())
    until(lambda: other.page.wait_for_timeout(50) or int(cancelled.locator("b").inner_text()) > 0)
    assert before >= 0


def test_a_list_stands_still_and_counts_what_is_new(world: World, open_tab: OpenTab) -> None:
    world.mail(queue="new")
    tab = open_tab("jobs?queue=new")
    expect(tab.page.locator("tbody tr")).to_have_count(1)
    tab.page.wait_for_timeout(2500)  # until the page has counted for the first time
    for _ in range(3):
        world.mail(queue="new")
    expect(tab.page.locator(".fresh")).to_have_text("3 more since you looked")
    expect(tab.page.locator("tbody tr")).to_have_count(1)
    tab.page.locator(".fresh").click()
    expect(tab.page.locator("tbody tr")).to_have_count(4)


def test_a_server_that_restarts_is_noticed_and_found_again(
    tmp_path: Path, open_tab: OpenTab
) -> None:
    world = World(tmp_path)
    for _ in range(3):
        world.mail(queue="imports", capacity=3)
    tab = open_tab("queues/imports", url=world.url)
    world.stop()
    banner = tab.page.locator("[role=alert].lost")
    expect(banner).to_contain_text("The connection is lost. What you see is as of")
    tab.see("3 of 3")  # the data stays
    expect(tab.page.locator("main .action").first).to_be_disabled()
    expect(tab.page.locator(".side .health")).to_have_text("Not connected")
    expect(banner).to_contain_text(re.compile(r"as of \d+(\.\d)? s ago"))
    world.start_again()
    expect(banner).to_have_count(0)
    expect(tab.page.locator("main .action").first).to_be_enabled()
    tab.click("Pause", "main")
    tab.confirm("Pause the queue")
    until(lambda: world.store.queue_info("imports").result().paused)
    world.close()


def test_updates_are_paused_and_resumed_by_hand(world: World, open_tab: OpenTab) -> None:
    tab = open_tab("audit")
    tab.page.keyboard.press("p")
    expect(tab.page.locator(".side .livebtn")).to_have_text("Paused")
    assert requests_in(tab, 1500) == 0
    tab.page.keyboard.press("p")
    expect(tab.page.locator(".side .livebtn")).to_have_text("Live")


def test_a_hidden_page_is_silent_and_a_shown_one_catches_up(
    world: World, open_tab: OpenTab
) -> None:
    tab = open_tab("audit")
    hide(tab, True)
    assert requests_in(tab, 1500) == 0
    world.act("PUT", "queues/mail/paused", {"paused": True, "reason": "while hidden"})
    world.act("PUT", "queues/mail/paused", {"paused": False})
    hide(tab, False)
    tab.see("while hidden")


def test_the_stack_of_a_running_job_is_shown_but_not_taken_while_nobody_looks(
    world: World, open_tab: OpenTab
) -> None:
    job_id = world.video()
    tab = open_tab(f"job/{job_id}")
    tab.click("Take its stack", "main")
    frames = tab.page.locator(".stackdump .frames")
    expect(frames.locator("li").last).to_contain_text("transcode")  # the outermost call
    expect(frames.locator("li").last).to_contain_text("shop_app.py:")
    expect(frames.locator("li").first).to_contain_text("render")
    note = tab.page.locator(".stackdump .note")
    first = note.inner_text()
    expect(note).not_to_have_text(first)  # it is taken again
    tab.page.keyboard.press("p")
    expect(tab.page.locator(".side .livebtn")).to_have_text("Paused")
    assert stacks_asked_for(tab, 1000) <= 1, "one may have been on its way"
    assert stacks_asked_for(tab, 4000) == 0
    with tab.page.expect_request(asks_for_a_stack):
        tab.page.keyboard.press("p")
    hide(tab, True)
    assert requests_in(tab, 1000) <= 1
    assert requests_in(tab, 4000) == 0
    with tab.page.expect_request(asks_for_a_stack):
        hide(tab, False)
    world.store.cancel(job_id, reason="enough").result()
    expect(tab.page.locator(".stackdump")).to_have_count(0)


@pytest.mark.alone  # a busy machine would ask less often
def test_an_idle_page_asks_about_once_a_second(shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab("workers")
    assert 1 <= requests_in(tab, 3000) <= 5


def test_a_browser_whose_clock_is_wrong_shows_true_ages(
    world: World, shop: Shop, open_tab: OpenTab
) -> None:
    tab = open_tab("audit")
    tab.page.clock.install(time=4_000_000_000)
    tab.page.goto(tab.url)
    tab.open("workers")
    expect(tab.page.locator(".host li").first).not_to_have_class("silent")


def test_the_keyboard_reaches_everything(world: World, shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab("audit")
    press = tab.page.keyboard.press
    press("g")
    press("j")
    tab.ready().see("send_mail")
    press("f")
    tab.page.keyboard.type("queue:bil")
    expect(tab.page.locator(".suggest [role=option]", has_text="queue:billing")).to_be_visible()
    press("Enter")
    expect(tab.page).to_have_url(re.compile("queue=billing"))
    tab.page.keyboard.type("state:avail")
    with tab.page.expect_response(lambda each: "/jobs" in each.url and "available" in each.url):
        press("Enter")
    expect(tab.page).to_have_url(re.compile("state=available"))
    tab.page.evaluate("document.activeElement.blur()")
    tab.ready().see("1 match")
    press("j")
    press("x")
    tab.see("1 selected")
    press("Escape")
    expect(tab.page.locator(".bulk")).not_to_contain_text("selected")
    press("j")
    press("Enter")
    tab.see("Queue 'billing' is paused")
    tab.page.go_back()
    expect(tab.page.locator(".token")).to_have_count(2)
    press("/")
    tab.page.keyboard.type("mail")
    expect(tab.page.locator("#hits")).to_contain_text("Pause queue mail")
    press("Enter")
    expect(tab.page).to_have_url(re.compile("#/"))


def test_the_palette_finds_a_job_by_its_id(shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab("audit")
    tab.page.keyboard.press("/")
    tab.page.keyboard.type(shop.done)
    expect(tab.page.locator("#hits")).to_contain_text(f"send_mail {shop.done}")
    tab.page.keyboard.press("Enter")
    tab.ready().see("sending to ada")


def test_a_theme_that_was_chosen_stays(open_tab: OpenTab) -> None:
    tab = open_tab("audit", theme="light")
    colour = "getComputedStyle(document.body.parentElement).backgroundColor"
    light = tab.page.evaluate(colour)
    tab.page.locator(".side [aria-label^=Theme]").click()
    dark = tab.page.evaluate(colour)
    tab.page.reload()
    tab.ready()
    assert tab.page.evaluate(colour) == dark != light


def test_jobs_are_paged_and_sorted(world: World, open_tab: OpenTab) -> None:
    jobs = [world.mail(queue="pages") for _ in range(60)]
    tab = open_tab("jobs?queue=pages")
    expect(tab.page.locator("tbody tr")).to_have_count(50)
    tab.click("Next 50", "main")
    expect(tab.page.locator("tbody tr")).to_have_count(10)
    tab.see(jobs[0][-8:])
    tab.click("Oldest", "main")
    expect(tab.page.locator("tbody tr").first).to_contain_text(jobs[0][-8:])
    assert world.job(jobs[0]).state is State.AVAILABLE

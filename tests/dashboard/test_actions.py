"""Every action of the dashboard: what it asks first, and its effect in the store."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import msgspec
from filled_shop import Shop
from playwright.sync_api import Route, expect
from shop_world import World, until
from tab import OpenTab, Tab

from conveyor.core.job import State
from conveyor.core.shell_words import quote_word


def last_action(world: World, what: str) -> dict[str, object]:
    """Return the newest entry of the audit about an action."""
    return next(each for each in world.act("GET", "audit") if each["what"] == what)


def test_a_queue_is_paused_with_a_reason_undone_and_resumed(
    world: World, open_tab: OpenTab
) -> None:
    world.mail(queue="pausing")
    tab = open_tab("queues/pausing")
    tab.click("Pause", "main")
    tab.see("conveyor queues pause pausing", "dialog")
    tab.confirm("Pause the queue", reason="disk is full")
    tab.see("disk is full")
    assert world.store.queue_info("pausing").result().paused
    assert last_action(world, "pause queue")["reason"] == "disk is full"
    tab.click("Undo")
    until(lambda: not world.store.queue_info("pausing").result().paused)
    tab.click("Pause", "main")
    tab.confirm("Pause the queue")
    tab.click("Resume", "main")
    until(lambda: not world.store.queue_info("pausing").result().paused)


def test_a_question_that_is_answered_with_no_does_nothing(world: World, open_tab: OpenTab) -> None:
    world.mail(queue="kept")
    tab = open_tab("queues/kept")
    tab.click("Pause", "main")
    tab.click("Keep as it is", "dialog")
    expect(tab.page.locator("dialog")).to_have_count(0)
    assert not world.store.queue_info("kept").result().paused


def test_the_bound_of_a_queue_is_changed(world: World, open_tab: OpenTab) -> None:
    world.mail(queue="bound", capacity=5)
    tab = open_tab("queues/bound")
    tab.click("Change the bound", "main")
    tab.page.fill("dialog [name=capacity]", "many")
    tab.click("Change it", "dialog")
    tab.see("is not a whole number", "dialog")
    tab.confirm("Change it", capacity="7", reason="more room")
    tab.see("1 of 7")
    assert world.store.queue_info("bound").result().capacity == 7
    tab.click("Change the bound", "main")
    tab.confirm("Change it", capacity="")
    until(lambda: world.store.queue_info("bound").result().capacity is None)


def test_a_waiting_job_is_cancelled_with_a_reason(world: World, open_tab: OpenTab) -> None:
    job_id = world.mail(queue="idle")
    tab = open_tab(f"job/{job_id}")
    tab.click("Cancel", "main")
    tab.see("It is cancelled at once", "dialog")
    tab.confirm("Cancel the job", reason="not needed")
    tab.see("not needed")
    job = world.job(job_id)
    assert job.state is State.CANCELLED
    assert "not needed" in str(job.error)


def test_a_running_job_is_asked_to_stop_and_then_forced(world: World, open_tab: OpenTab) -> None:
    job_id = world.video("stubborn", grace=3600.0)
    tab = open_tab(f"job/{job_id}")
    tab.click("Cancel", "main")
    tab.confirm("Cancel the job", reason="wrong clip")
    tab.see("How it is being stopped")
    tab.see("stop requested (cancel): wrong clip")
    tab.click("Force", "main")
    tab.see(f"conveyor cancel --force {job_id}", "dialog")
    tab.confirm("Force it")
    until(lambda: world.job(job_id).cancel_forced)


def test_a_failed_job_is_retried_copied_and_deleted(world: World, open_tab: OpenTab) -> None:
    job_id = world.mail(fails=True)
    world.wait_for(job_id)
    tab = open_tab(f"job/{job_id}")
    tab.see("api_token")
    assert "secret-token" not in tab.page.content()
    tab.click("Retry", "main")
    tab.confirm("Retry the job")
    until(lambda: world.job(job_id).lease == 2)
    world.wait_for(job_id)
    tab.click("Duplicate", "main")
    args = json.loads(tab.page.input_value("dialog [name=args]"))
    tab.confirm("Enqueue", args=json.dumps(args | {"fails": False, "to": "grace"}))
    tab.see("sent to grace")
    copied = tab.page.url.rpartition("/")[2]
    assert json.loads(world.job(copied).args)["api_token"] == "secret-token"
    tab.open(f"job/{job_id}").click("Delete", "main")
    tab.confirm("Delete the job")
    until(lambda: "#/jobs" in tab.page.url)
    assert world.store.counts().result()


def test_a_copy_has_the_numbers_of_the_original_as_they_are_written(
    world: World, open_tab: OpenTab
) -> None:
    """JavaScript rounds integers above 2^53, and writes 1.0 as 1."""
    args = b'{"n": 12345678901234567890, "x": 1.0, "s": "1.0 \\" 2.0", "many": [1e3, -0, 7]}'
    job_id = world.enqueue("count", args.decode(), queue="idle")
    tab = open_tab(f"job/{job_id}")
    tab.see("12345678901234567890")
    tab.see("[ 1000.0, 0, 7 ]")
    tab.click("Duplicate", "main")
    tab.confirm("Enqueue")
    expect(tab.page).not_to_have_url(re.compile(job_id))
    assert world.job(tab.page.url.rpartition("/")[2]).args == args
    tab.open(f"job/{job_id}").click("Duplicate", "main")
    shown = tab.page.input_value("dialog [name=args]")
    tab.confirm("Enqueue", args=shown.replace(" 7\n", " 98765432109876543210\n"))
    expect(tab.page).not_to_have_url(re.compile(job_id))
    edited = world.job(tab.page.url.rpartition("/")[2]).args.decode().replace(": ", ":")
    assert json.loads(edited) == json.loads(args) | {"many": [1e3, 0, 98765432109876543210]}
    assert '"x":1.0' in edited
    assert '"s":"1.0 \\" 2.0"' in edited


def test_the_result_of_a_job_is_shown_as_it_is_written(world: World, open_tab: OpenTab) -> None:
    job_id = world.enqueue("send_mail", '{"to": "ada"}')
    world.wait_for(job_id)
    tab = open_tab("audit")

    def with_number(route: Route) -> None:
        body = route.fetch().text().replace('"sent to ada"', '{"n": 12345678901234567890}')
        route.fulfill(body=body, content_type="application/json")

    tab.page.route(f"**/api/v1/jobs/{job_id}", with_number)
    tab.open(f"job/{job_id}").see("12345678901234567890")


def test_arguments_that_are_not_json_are_not_enqueued(world: World, open_tab: OpenTab) -> None:
    job_id = world.mail(queue="idle")
    tab = open_tab(f"job/{job_id}")
    tab.click("Duplicate", "main")
    tab.page.fill("dialog [name=args]", "{to:")
    tab.click("Enqueue", "dialog")
    tab.see("The arguments are not JSON", "dialog")


def select(tab: Tab, *numbers: int) -> None:
    boxes = tab.page.locator("tbody input[type=checkbox]")
    for number in numbers:
        boxes.nth(number).check()


def test_selected_jobs_are_cancelled(world: World, open_tab: OpenTab) -> None:
    jobs = [world.mail(queue="some") for _ in range(4)]
    tab = open_tab("jobs?queue=some")
    select(tab, 0, 1)
    tab.see("2 selected")
    tab.click("Cancel", ".bulk")
    tab.confirm("Cancel 2 jobs", reason="duplicates")
    tab.see("Cancel: 2 jobs.", "body")
    states = [world.job(job_id).state for job_id in jobs]
    assert states == [State.AVAILABLE] * 2 + [State.CANCELLED] * 2
    expect(tab.page.locator("tbody tr", has_text="cancelled")).to_have_count(2)
    assert "queue=some" in tab.page.url, "the filter is kept"


def test_all_that_match_are_cancelled_but_not_what_came_later(
    world: World, open_tab: OpenTab
) -> None:
    """More than a page: they are counted first, and above a hundred the number is typed."""
    for _ in range(120):
        world.mail(queue="flood")
    tab = open_tab("jobs?queue=flood&state=available")
    tab.page.locator(".checkall input").check()
    tab.click("Select all 120 that match")
    tab.click("Cancel", ".bulk")
    tab.see("All that match queue:flood state:available as of this moment", "dialog")
    # `conveyor cancel` has no --state: no command does the same.
    expect(tab.page.locator("dialog .cli")).to_have_count(0)
    later = world.mail(queue="flood")
    button = tab.page.locator("dialog footer button", has_text="Cancel 120 jobs")
    expect(button).to_be_disabled()
    tab.page.fill("dialog [name=typed]", "12")
    expect(button).to_be_disabled()
    tab.confirm("Cancel 120 jobs", typed="120", reason="flooded by mistake")
    tab.see("Cancel: 120 jobs.", "body")
    counts = world.store.queue_info("flood").result().counts
    assert counts[State.CANCELLED] == 120
    assert world.job(later).state is State.AVAILABLE
    action = last_action(world, "cancel")
    assert (action["reason"], action["count"]) == ("flooded by mistake", 120)


def test_a_group_of_failures_is_retried(world: World, shop: Shop, open_tab: OpenTab) -> None:
    job_id = world.enqueue("unknown_argument", '{"x": 1}', queue="mail")
    failing = world.mail(fails=True, options={"crash_limit": 4})
    world.wait_for(failing)
    tab = open_tab(f"failures/{shop.fingerprint}")
    tab.click("Retry discarded", "main")
    tab.see("All that match", "dialog")
    tab.see(f"conveyor retry --error {shop.fingerprint} --state discarded", "dialog")
    tab.confirm("Retry")
    until(lambda: world.job(failing).lease == 2)
    world.store.cancel(job_id, reason="no such task").result()


def test_a_worker_is_made_quiet_resumed_and_drained(world: World, open_tab: OpenTab) -> None:
    with world.another_worker() as (worker, process):
        tab = open_tab(f"workers/{worker}")
        tab.click("Quiet", "main")
        tab.see(f"conveyor workers quiet {worker}", "dialog")
        tab.confirm("Quiet it")
        tab.click("Resume", "main")
        tab.click("Drain", "main")
        tab.see(f"conveyor workers drain {worker}", "dialog")
        tab.confirm("Drain it")
        assert process.wait(60) == 0
    ordered = [each["what"] for each in world.act("GET", f"audit?subject={worker}")]
    assert ordered == ["drain worker", "resume worker", "quiet worker"]


def test_a_busy_worker_is_removed_once_its_jobs_are_typed(world: World, open_tab: OpenTab) -> None:
    info = world.store.workers().result()[0]
    gone = msgspec.structs.replace(info, id="gone", boot_id="another boot", running=2)
    world.store.beat(gone).result()
    tab = open_tab("workers/gone")
    tab.click("Remove", "main")
    tab.see("conveyor workers remove --force gone", "dialog")
    tab.confirm("Remove it", typed="2")
    tab.see("draining")
    [found] = [each for each in world.store.workers().result() if each.id == "gone"]
    assert found.draining
    world.store.leave("gone").result()


def test_a_worker_is_removed_from_the_overview_only_with_its_jobs_in_the_question(
    world: World, open_tab: OpenTab
) -> None:
    info = world.store.workers().result()[0]
    silent = msgspec.structs.replace(info, id="mute", boot_id="a third boot", running=3)
    world.store.beat(silent).result()
    tab = open_tab()
    problem = {
        "key": "silent-mute",
        "level": "warn",
        "subject": {"kind": "worker", "name": "mute"},
        "claim": "has been silent for 1 minute.",
        "because": [],
        "actions": [
            {"kind": "remove_worker", "label": "Remove", "target": "mute", "command": "-"},
            {"kind": "pause_queue", "label": "Pause", "target": "far", "command": "-"},
        ],
    }

    def with_problem(route: Route) -> None:
        overview = route.fetch().json()
        route.fulfill(json=overview | {"problems": [problem]})

    world.mail(queue="far")
    tab.page.route("**/api/v1/overview?*", with_problem)
    tab.click("Remove", ".verdict")
    tab.see("Its 3 running jobs count as crashed", "dialog")
    tab.see("conveyor workers remove --force mute", "dialog")
    tab.click("Keep as it is", "dialog")
    tab.click("Pause", ".verdict")
    tab.see("1 job waits and keeps its place", "dialog")
    tab.click("Keep as it is", "dialog")
    world.store.leave("mute").result()


def test_a_schedule_is_paused_resumed_and_run(world: World, open_tab: OpenTab) -> None:
    tab = open_tab("schedules")
    tab.click("Pause nightly", "main")
    tab.confirm("Pause it", reason="no reports today")
    tab.see("no reports today")
    [schedule] = world.store.schedules().result()
    assert (schedule.paused, schedule.pause_reason) == (True, "no reports today")
    expect(tab.page.locator("main", has_text="Run now")).to_have_count(0)
    tab.click("Resume nightly", "main")
    until(lambda: not world.store.schedules().result()[0].paused)
    tab.click("Run now: nightly", "main")
    tab.confirm("Run it once", reason="asked for")
    jobs = "jobs?task=report"
    until(lambda: [each["state"] for each in world.act("GET", jobs)] == ["completed"])


def test_commands_to_copy_show_what_is_hidden_in_a_name(world: World, open_tab: OpenTab) -> None:
    name = "evil\n\x1b[2K'\u202e"
    world.mail(queue=name)
    tab = open_tab(f"queues/{quote(name)}")
    tab.see(f"conveyor queues pause {quote_word(name)}", ".cli")
    for word in ("mail", "two words", "naïve", "it's", name, "\u200b", "a\\b\x01f"):
        made = tab.page.evaluate(
            """async word => {
                const app = document.querySelector("script[type=module]").src;
                return (await import(new URL("lib/shell.js", app))).commandLine(word);
            }""",
            word,
        )
        assert made == quote_word(word)


def test_what_fails_before_a_question_or_in_a_download_is_said(
    world: World, shop: Shop, open_tab: OpenTab
) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=503, json={"code": "x", "title": "No store", "detail": "Try later."})

    tab = open_tab(f"failures/{shop.fingerprint}")
    tab.page.route("**/api/v1/bulk/match", refuse)
    tab.click("Retry discarded", "main")
    tab.see("No store. Try later.", ".toasts")
    tab = open_tab(f"job/{shop.failed}")
    tab.see("sending to")
    tab.page.route("**/output?after=0*", refuse)
    tab.click("Download", ".output")
    tab.see("No store. Try later.", ".toasts")
    tab.page.route("**/args?whole=true", refuse)
    expect(tab.page.locator(".toast")).to_have_count(0)
    tab.click("Duplicate", "main")
    tab.see("No store. Try later.", ".toasts")


def test_copying_says_so_only_if_it_worked(shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab(f"job/{shop.done}")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.page.locator("[aria-label='Copy id']").click()
    read = "navigator.clipboard.readText()"
    until(lambda: tab.page.evaluate(read) == shop.done)
    tab.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    tab.page.locator("[aria-label='Copy id']").click()
    expect(tab.page.locator("[aria-label='Not copied: select the text instead']")).to_be_visible()


def test_the_audit_is_filtered(world: World, shop: Shop, open_tab: OpenTab) -> None:
    tab = open_tab("audit")
    tab.page.fill("[name=subject]", "billing")
    tab.page.keyboard.press("Enter")
    tab.see("prices change")
    assert "subject=billing" in tab.page.url
    tab.page.fill("[name=subject]", "nothing like it")
    tab.page.keyboard.press("Enter")
    tab.see("No entry matches")

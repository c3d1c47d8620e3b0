"""Signing in to a server with tokens, a role that may only read, and attempts of other pages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Request, expect
from shop_world import until
from tab import OpenTab, Tab

from conveyor.core.access import Token, issue_token
from conveyor.core.job import NewJob, State
from conveyor.store.memory.store import MemoryStore

sys.path.append(str(Path(__file__).parents[1] / "store"))
from served import Serving


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    made = MemoryStore()
    made.insert([NewJob(id="a", task="send_mail", queue="mail")]).result()
    yield made
    made.close()


@pytest.fixture
def server(store: MemoryStore) -> Iterator[Serving]:
    made = Serving(store, tokens=True)
    yield made
    made.close()


def token(store: MemoryStore, *scopes: str, queues: tuple[str, ...] = ()) -> tuple[str, Token]:
    text, made = issue_token("ada", scopes, queues, now=store.now())
    store.add_token(made).result()
    return text, made


def sign_in(tab: Tab, text: str) -> None:
    expect(tab.page.locator("h1")).to_have_text("Sign in")
    assert tab.axe() == []
    tab.page.fill("[name=token]", text)
    tab.page.keyboard.press("Enter")


def test_a_token_signs_in_and_out(store: MemoryStore, server: Serving, open_tab: OpenTab) -> None:
    text, _ = token(store, "admin")
    tab = open_tab("jobs", url=server.url)
    sign_in(tab, "cvy_wrong")
    tab.see("unknown token", "body")
    sign_in(tab, text)
    tab.ready().see("send_mail")
    tab.see("ada", ".side")
    assert text not in tab.page.content()
    assert tab.page.evaluate("document.cookie") == ""
    assert tab.page.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)") == (
        "{}{}"
    )
    tab.page.reload()
    tab.ready().see("send_mail")
    tab.page.locator(".side .who").click()
    expect(tab.page.locator("h1")).to_have_text("Sign in")
    tab.page.reload()
    expect(tab.page.locator("h1")).to_have_text("Sign in")


def test_a_page_that_was_signed_out_is_silent_and_one_signed_in_again_has_one_stream(
    store: MemoryStore, server: Serving, open_tab: OpenTab
) -> None:
    text, _ = token(store, "admin")
    tab = open_tab("jobs", url=server.url)
    sign_in(tab, text)
    expect(tab.page.locator(".side .livebtn")).to_have_text("Live")
    streams: list[Request] = []
    ended: list[Request] = []
    tab.page.on("request", lambda each: "/events" in each.url and streams.append(each))
    tab.page.on("requestfailed", lambda each: "/events" in each.url and ended.append(each))
    tab.page.locator(".side .who").click()
    expect(tab.page.locator("h1")).to_have_text("Sign in")
    until(lambda: tab.page.wait_for_timeout(50) or len(ended) == 1)
    tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    tab.page.wait_for_timeout(500)
    assert streams == []
    sign_in(tab, text)
    expect(tab.page.locator(".side .livebtn")).to_have_text("Live")
    assert len(streams) == 1
    tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    tab.page.wait_for_timeout(500)
    assert len(streams) == 2, "one listener asks once"


def test_a_token_that_is_limited_to_queues_is_led_to_them(
    store: MemoryStore, server: Serving, open_tab: OpenTab
) -> None:
    text, _ = token(store, "read", queues=("mail",))
    tab = open_tab("overview", url=server.url)
    sign_in(tab, text)
    for address in ("overview", "queues", "schedules"):
        tab.open(address).see("The token in use is limited to some queues")
    tab.click("mail", "main")
    expect(tab.page.locator("h1")).to_have_text("mail")
    tab.see("Nothing fails")
    expect(tab.page.locator("main [role=alert]")).to_have_count(0)


def test_a_token_that_may_only_read_sees_everything_and_is_offered_nothing(
    store: MemoryStore, server: Serving, open_tab: OpenTab
) -> None:
    text, _ = token(store, "read")
    tab = open_tab("jobs", url=server.url)
    sign_in(tab, text)
    tab.ready().see("send_mail")
    for address in ("jobs", "job/a", "queues/mail", "workers", "schedules", "failures", "scaler"):
        tab.open(address)
        assert tab.page.locator(".action, input[type=checkbox]").count() == 0, address
    refused = tab.page.evaluate(
        """async () => (await fetch("api/v1/jobs/a/cancel", {method: "POST",
        headers: {"Conveyor-Dashboard": "1", "Content-Type": "application/json"},
        body: '{"reason": "x"}'})).status"""
    )
    assert refused == 403
    assert store.get("a").result().state is State.AVAILABLE


def test_a_revoked_token_ends_an_open_page(
    store: MemoryStore, server: Serving, open_tab: OpenTab
) -> None:
    text, made = token(store, "admin")
    tab = open_tab("jobs", url=server.url)
    sign_in(tab, text)
    tab.ready().see("send_mail")
    store.revoke_token(made.id).result()
    expect(tab.page.locator("h1")).to_have_text("Sign in")


def test_a_page_of_another_origin_can_do_nothing_in_the_name_of_the_viewer(
    store: MemoryStore, server: Serving, open_tab: OpenTab
) -> None:
    """It is of the same host, so the browser sends the cookie: SameSite alone does not help."""
    text, _ = token(store, "admin")
    tab = open_tab("jobs", url=server.url)
    sign_in(tab, text)
    tab.ready().see("send_mail")
    other_store = MemoryStore()
    other = Serving(other_store)
    evil = tab.context.new_page()
    evil.goto(other.url)
    attack = """async url => {
        const send = (path, options) => fetch(url + path, {credentials: "include", ...options})
            .then(response => response.status, () => "refused");
        const form = document.createElement("form");
        form.method = "POST"; form.action = url + "/api/v1/jobs/a/cancel"; form.target = "_blank";
        document.body.append(form); form.submit();
        return [await send("/api/v1/jobs"), await send("/api/v1/jobs/a/cancel", {method: "POST"}),
            await send("/api/v1/jobs/a", {method: "DELETE", mode: "no-cors"})]}"""
    assert evil.evaluate(attack, server.url) == ["refused", "refused", "refused"]
    assert store.get("a").result().state is State.AVAILABLE
    evil.close()
    other.close()
    other_store.close()


def test_a_host_name_that_was_made_to_mean_this_machine_gets_no_data(
    store: MemoryStore, open_tab: OpenTab, browser: object
) -> None:
    """DNS rebinding of a server without tokens: a page below another name reads nothing."""
    open_server = Serving(store)
    tab = open_tab("jobs", url=open_server.url)
    tab.see("send_mail")
    port = open_server.url.rpartition(":")[2]
    page = tab.context.new_page()
    page.route(
        "http://rebound.example/**",
        lambda route: route.fulfill(
            response=route.fetch(
                url=route.request.url.replace("rebound.example", f"127.0.0.1:{port}"),
                headers={**route.request.headers, "host": "rebound.example"},
            )
        ),
    )
    page.goto("http://rebound.example/")
    expect(page.locator("[role=alert]")).to_contain_text("accepts only requests to this machine")
    page.close()
    open_server.close()

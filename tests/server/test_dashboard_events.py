"""The stream of events to the dashboard's pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from calls import claim, new, put
from raw_http import RawClient
from served import Serving

from conveyor.core.access import issue_token
from conveyor.server.dashboard import events
from conveyor.server.dashboard.snapshot import SnapshotFeed
from conveyor.server.hub import KINDS
from conveyor.server.server_config import ServerConfig
from conveyor.store.memory.store import MemoryStore

Until = Callable[[Callable[[], object]], None]


class Event(NamedTuple):
    name: str
    id: str
    data: Any


class Stream:
    def __init__(self, response: HTTPResponse) -> None:
        self.response = response

    def next(self) -> Event:
        """Return the next event; a comment has no name."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        data = fields.get("data", "null")
        return Event(fields.get("event", ""), fields.get("id", ""), json.loads(data))

    def until(self, name: str) -> Event:
        for _ in range(100):
            event = self.next()
            if event.name == name:
                return event
        raise AssertionError(f"no {name} in 100 events")


@contextmanager
def stream(server: Serving, query: str = "", **headers: str) -> Iterator[Stream]:
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", f"/api/v1/events{query}", headers=named)
    response = connection.getresponse()
    try:
        assert response.status == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response)
    finally:
        response.close()
        connection.close()


@pytest.fixture
def open_server(store: MemoryStore) -> Iterator[Serving]:
    server = Serving(store)
    yield server
    server.close()


def test_a_page_is_told_at_once_and_then_each_second_how_things_are(
    store: MemoryStore, open_server: Serving
) -> None:
    put(store, new())
    with stream(open_server) as page:
        assert page.next().name == "hello"
        first = page.until("snapshot").data
        assert first["waiting"] == 1
        second = page.until("snapshot").data
    assert 0.5 < second["at"] - first["at"] < 10


def test_all_pages_share_one_snapshot(store: MemoryStore, open_server: Serving) -> None:
    with stream(open_server) as one, stream(open_server) as other:
        moments = [{page.until("snapshot").data["at"] for _ in range(3)} for page in (one, other)]
    assert len(moments[0] & moments[1]) >= 1


def test_a_change_is_told_by_its_kind(store: MemoryStore, open_server: Serving) -> None:
    with stream(open_server) as page:
        page.next()
        put(store, new())
        assert page.until("changed").data == {"topics": ["jobs", "queues"]}


def test_a_job_that_the_page_shows_is_told_of_and_no_other(
    store: MemoryStore, open_server: Serving
) -> None:
    put(store, new(id="mine"), new(id="other"))
    claim(store, limit=2)
    with stream(open_server, "?job=mine") as page:
        page.next()
        store.cancel("other", reason="x").result()
        assert page.until("changed")
        store.cancel("mine", reason="x").result()
        assert page.until("job").data == {"job": "mine"}


def test_each_kind_of_hint_has_its_topics() -> None:
    assert set(events.TOPICS) == set(KINDS)


def test_a_page_stays_connected_when_a_stack_is_requested(
    store: MemoryStore, open_server: Serving
) -> None:
    put(store, new(id="a"))
    claim(store)
    with stream(open_server) as page:
        page.next()
        store.request_stack("a").result()
        page.until("snapshot")
        page.until("snapshot")
        put(store, new())
        assert page.until("changed").data == {"topics": ["jobs", "queues"]}


def test_at_most_four_messages_come_in_a_second(store: MemoryStore, open_server: Serving) -> None:
    with stream(open_server) as page:
        page.next()
        begin = monotonic()
        for _ in range(3):
            put(store, new())
            page.until("changed")
        assert monotonic() - begin > 2 * events.PACE - 0.05


def test_a_page_that_connects_again_learns_whether_it_has_missed_anything(
    store: MemoryStore, open_server: Serving, until: Until
) -> None:
    with stream(open_server) as page:
        hello = page.next()
    assert hello.data["missed"]
    with stream(open_server, last_event_id=hello.id) as page:
        assert not page.next().data["missed"]
    put(store, new())

    def has_missed() -> bool:  # the hint comes a moment after the insert
        with stream(open_server, last_event_id=hello.id) as page:
            return bool(page.next().data["missed"])

    until(has_missed)
    with stream(open_server, last_event_id="other-1") as page:
        assert page.next().data["missed"]


def test_a_server_that_stops_says_so_and_does_not_wait(store: MemoryStore) -> None:
    server = Serving(store)
    with stream(server) as page:
        page.until("snapshot")
        begin = monotonic()
        server.app.end_waiting()
        assert page.until("bye").data["retry"] > 0
        assert page.response.read() == b""
        assert monotonic() - begin < 2
    server.close()


def test_a_page_of_a_revoked_token_is_told_nothing_more(
    store: MemoryStore, server: Serving
) -> None:
    text, token = issue_token("ada", ["read"], now=store.now())
    store.add_token(token).result()
    with stream(server, authorization=f"Bearer {text}") as page:
        page.until("snapshot")
        store.revoke_token(token.id).result()
        assert page.until("bye")


def test_a_token_of_some_queues_gets_no_numbers_of_all(store: MemoryStore, server: Serving) -> None:
    put(store, new(queue="mail"))
    put(store, new(queue="other"))
    text, token = issue_token("ada", ["read"], ["mail"], now=store.now())
    store.add_token(token).result()
    with stream(server, authorization=f"Bearer {text}") as page:
        assert page.until("snapshot").data == {}
        put(store, new(queue="other"))
        put(store, new(queue="mail"))
        assert page.until("changed").data == {"topics": ["jobs", "queues"]}


def test_only_so_many_pages_are_kept_up_to_date(store: MemoryStore) -> None:
    server = Serving(store, config=ServerConfig(viewers=1))
    with stream(server) as page:
        page.next()
        assert RawClient(server.url)("GET", "/events").is_problem(503, "unavailable")
    server.close()


def test_a_token_that_may_not_read_gets_no_events(store: MemoryStore, server: Serving) -> None:
    text, token = issue_token("a", ["agent"], now=store.now())
    store.add_token(token).result()
    assert RawClient(server.url, text)("GET", "/events").is_problem(403, "forbidden")


def test_nothing_is_computed_while_nobody_looks(store: MemoryStore) -> None:
    async def look_twice() -> list[int]:
        feed = SnapshotFeed(store)
        seen = asyncio.Event()
        numbers = [feed.number]
        for _ in range(2):
            with feed.viewer(seen.set):
                await seen.wait()
            seen.clear()
            await asyncio.sleep(0)
            numbers.append(feed.number)
        assert feed.viewers == 0
        return numbers

    assert asyncio.run(look_twice()) == [0, 1, 2]


def test_any_failure_to_look_is_shown_and_does_not_end_the_feed() -> None:
    class Failing(MemoryStore):
        def overview(self, *, queues: int = 0, **given: Any) -> Any:
            raise ZeroDivisionError("a bug")

    async def look() -> Any:
        feed = SnapshotFeed(Failing())
        seen = asyncio.Event()
        with feed.viewer(seen.set):
            await asyncio.wait_for(seen.wait(), 30)
        return json.loads(feed.latest)

    assert asyncio.run(look())["health"] is None

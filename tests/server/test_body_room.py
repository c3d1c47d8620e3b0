"""The bodies of all requests together take a bounded amount of memory, and no token all of it."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import pytest
from raw_http import RawClient, RawResponse, make_token
from served import Serving

from conveyor.server.body_room import FREE, MAX_WAITING, SMALLEST, BodyRoom, BodySpace
from conveyor.server.server_config import ServerConfig
from conveyor.store.memory.store import MemoryStore

LONG = 60.0


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Return a test that runs a coroutine function."""

    @functools.wraps(test)
    def run_test() -> None:
        asyncio.run(test())

    return run_test


def a_space(room: BodyRoom, owner: str = "a") -> BodySpace:
    return BodySpace(room, owner)


@run
async def test_a_token_has_half_of_the_room_and_others_have_the_rest() -> None:
    room = BodyRoom(SMALLEST, wait=0)
    held = [a_space(room) for _ in range(5)]
    assert [await each.reach(SMALLEST) for each in held] == [True] * 4 + [False]
    others = [a_space(room, name) for name in "bbbbc"]
    assert [await each.reach(SMALLEST) for each in others] == [True] * 4 + [False]
    held[0].__exit__()
    assert await others[4].reach(SMALLEST)


@run
async def test_a_body_takes_more_room_as_it_grows_and_a_small_one_takes_none() -> None:
    room = BodyRoom(SMALLEST, wait=0)
    small = [a_space(room) for _ in range(1000)]
    assert all([await each.reach(FREE) for each in small])
    growing = a_space(room)
    assert await growing.reach(3 * SMALLEST)
    assert await growing.reach(4 * SMALLEST)
    assert await growing.reach(2 * SMALLEST)
    assert not await growing.reach(4 * SMALLEST + 1)
    with growing:
        assert not await a_space(room).reach(FREE + 1)
    assert await a_space(room).reach(4 * SMALLEST)


@run
async def test_a_body_waits_until_another_gives_its_room_back() -> None:
    room = BodyRoom(SMALLEST, wait=LONG)
    with a_space(room) as first:
        assert await first.reach(4 * SMALLEST)
        waiting = asyncio.create_task(a_space(room).reach(SMALLEST))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting


@run
async def test_of_many_bodies_without_room_only_some_wait() -> None:
    room = BodyRoom(SMALLEST, wait=LONG)
    assert await a_space(room).reach(4 * SMALLEST)
    waiting = [asyncio.create_task(a_space(room).reach(SMALLEST)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    assert not await a_space(room).reach(SMALLEST)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    again = asyncio.create_task(a_space(room).reach(SMALLEST))
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


def begin(url: str, token: str, size: int) -> socket.socket:
    """Announce a body, and wait until the server wants it."""
    line = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=LONG)
    line.sendall(
        b"POST /api/v1/queues/q/jobs HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        + f"Authorization: Bearer {token}\r\nContent-Length: {size}\r\n".encode()
        + b"Expect: 100-continue\r\n\r\n"
    )
    assert line.recv(100).startswith(b"HTTP/1.1 100")
    return line


@pytest.mark.parametrize("kind", ["announced", "chunked"])
def test_bodies_that_do_not_end_leave_others_their_room(store: MemoryStore, kind: str) -> None:
    token, other = make_token(store, "enqueue"), make_token(store, "enqueue")
    serving = Serving(store, tokens=True, config=ServerConfig(body_limit=SMALLEST, room_wait=0))
    held = [begin(serving.url, token, SMALLEST) for _ in range(4)]
    body = b'{"jobs": [{"task": "t"}]}' + b" " * (2 * FREE)

    def send(token: str) -> RawResponse:
        ask = RawClient(serving.url, token)
        if kind == "announced":
            return ask("POST", "/queues/q/jobs", body)
        return ask(
            "POST", "/queues/q/jobs", headers={"Content-Type": "application/json"}, chunks=[body]
        )

    assert send(token).is_problem(503, "unavailable")
    small = RawClient(serving.url, token)("POST", "/queues/q/jobs", {"jobs": [{"task": "t"}]})
    assert (small.status, send(other).status) == (200, 200)
    for line in held:
        line.close()
    serving.close()

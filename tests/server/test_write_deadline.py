"""How long a client may take for a response, however often it pauses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from conveyor.server.http_limits import LimitedHttpProtocol


async def no_application(_scope: Any, _receive: Any, _send: Any) -> None:
    """Answer nothing: the test pauses and resumes by itself."""


class ManualLoop:
    """The clock and the timers of a loop; the test moves them."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: dict[object, tuple[float, Callable[[], object]]] = {}

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> SimpleNamespace:
        key = object()
        self._timers[key] = self._now + delay, lambda: call(*args)
        return SimpleNamespace(cancel=lambda: self._timers.pop(key, None))

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for key, (at, call) in list(self._timers.items()):
            if at <= self._now:
                del self._timers[key]
                call()


class OpenTransport(asyncio.Transport):
    """A connection to a client that always takes something."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__({"socket": connection})
        self._unsent = 1 << 30
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        self._unsent -= 1
        return self._unsent

    def is_closing(self) -> bool:
        return self.is_aborted

    def close(self) -> None:
        self.is_aborted = True

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.parametrize(
    ("streams", "responses", "is_dropped"),
    [(False, 1, True), (True, 1, False), (False, 20, False)],
    ids=["one response", "one stream", "a response for each pause"],
)
def test_the_time_for_a_response_is_counted_from_its_first_pause(
    streams: bool, responses: int, is_dropped: bool
) -> None:
    async def run() -> bool:
        loop: Any = ManualLoop()
        config = uvicorn.Config(no_application, log_config=None)
        protocol = LimitedHttpProtocol(config, ServerState(), {}, loop)
        connection = socket.socket()
        transport = OpenTransport(connection)
        protocol.connection_made(transport)
        cycles: list[Any] = [SimpleNamespace(chunked_encoding=streams) for _ in range(responses)]
        protocol._stop_timer()  # for the headers
        for number in range(20):
            protocol.cycle = cycles[number % responses]
            protocol.pause_writing()
            loop.advance(20.0)  # within the time for some of it
            protocol.resume_writing()
        protocol.cycle = cycles[-1]
        protocol.pause_writing()
        loop.advance(30.0)
        connection.close()
        return transport.is_aborted

    assert asyncio.run(run()) is is_dropped

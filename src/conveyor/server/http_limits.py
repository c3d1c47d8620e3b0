"""uvicorn's HTTP protocol with the limits it lacks, and its writes put together.

Headers and bodies must end in time, and headers be of a size: a client that sends a byte a second
would otherwise hold a connection for ever (Slowloris). And an answer is sent in one piece where
uvicorn would send its headers first, which wakes the client twice.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..store.http.problems import MEDIA, problem


class PatientProtocol(HttpToolsProtocol):
    """One connection. A request is refused when it has begun and does not end.

    `headers_wait` is how long its headers may take, and what is left of a body when the answer was
    given; `body_wait` is how long a body may take that the answer waits for. Both are in seconds.
    `headers_limit` is the most bytes of a request beside its body; how a body is cut into chunks
    may take as many again as the body.
    """

    headers_wait = 10.0
    body_wait = 30.0
    headers_limit = 64 << 10

    _late: asyncio.TimerHandle | None = None
    # Of the request that is being received: whether one is, and its bytes.
    _receiving = False
    _in_headers = False
    _ended = False
    _body = 0
    _beside = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        self._gathering = _Gathering(transport)
        super().connection_made(self._gathering)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes, within the limits."""
        if self.transport.is_closing():
            return
        self._beside = len(data) + (self._beside if self._receiving else 0)
        self._ended = False
        super().data_received(data)
        if self._receiving and self._beside > self.headers_limit + self._body:
            limit = f"the headers are larger than {self.headers_limit:,} bytes"
            self._refuse("headers_too_large", limit)
        elif self._is_free() or (self._receiving and not self.pipeline):
            self._expect()  # what comes before a request, like empty lines, is none yet

    def on_message_begin(self) -> None:
        """Hear of a request."""
        super().on_message_begin()
        self._receiving = self._in_headers = True
        self._body = 0
        if self._ended:
            self._beside = 0  # those of the request before, most likely

    def on_headers_complete(self) -> None:
        """Let the request go on."""
        self._came()
        super().on_headers_complete()
        self._in_headers = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body += len(body)
        self._beside -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Hear that the request is here."""
        self._receiving = False
        self._ended = True
        self._came()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send the answer, and wait for the end of a body that was not needed for it."""
        self._gathering.flush()
        super().on_response_complete()
        if self._receiving and not self.pipeline:
            self._came()
            self._expect()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse("usage", msg)

    def _is_free(self) -> bool:
        """Whether no request is being answered."""
        cycle: Any = self.cycle  # None before the first, whatever its type says
        return cycle is None or bool(cycle.response_complete)

    def _is_waiting_for_body(self) -> bool:
        """Whether the rest of a body is all that the answer waits for."""
        return self._receiving and not (
            self._in_headers or self.pipeline or self.cycle.response_started
        )

    def _expect(self) -> None:
        if self._late is None:
            wait = self.body_wait if self._is_waiting_for_body() else self.headers_wait
            self._late = self.loop.call_later(wait, self._give_up)

    def _came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self._in_headers:
            self._refuse("too_slow", f"the headers did not end within {self.headers_wait:g} s")
        elif self._is_waiting_for_body() and self.flow.read_paused:
            self._expect()  # it is the application that has not read what has come
        elif self._is_waiting_for_body():
            self._refuse("too_slow", f"the body did not come within {self.body_wait:g} s")
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, code: str, detail: str) -> None:
        """Answer for the application, if it has not begun to, and close."""
        transport: Any = self.transport
        if transport is None or transport.is_closing():
            return
        unasked = self._is_free() and self._in_headers == self._receiving
        if unasked or self._is_waiting_for_body():
            found = problem(code, detail)
            body = msgspec.json.encode(found)
            transport.write(
                f"HTTP/1.1 {found.status} {HTTPStatus(found.status).phrase}\r\n"
                f"content-type: {MEDIA}\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
                + body
            )
        transport.close()


class _Gathering(asyncio.Transport):
    """A transport that sends what is written in one step of the loop in one piece."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._parts: list[bytes | bytearray | memoryview] = []
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send soon."""
        self._parts.append(data)
        if len(self._parts) == 1:
            self._loop.call_soon(self.flush)

    def close(self) -> None:
        """Close once all is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more."""
        self._transport.resume_reading()

    def flush(self) -> None:
        """Send now."""
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

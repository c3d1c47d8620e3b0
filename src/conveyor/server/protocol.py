"""uvicorn's HTTP protocol with the limits it lacks, and its writes put together.

Headers must end in time, and be of a size: a client that sends a byte a second would otherwise hold
a connection for ever (Slowloris). And an answer is sent in one piece where uvicorn would send its
headers first, which wakes the client twice.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..store.http.problems import MEDIA, problem


class PatientProtocol(HttpToolsProtocol):
    """One connection. It is closed when a request has begun and its headers do not end.

    So too when its answer was given and the rest of its body does not end. `headers_wait` is how
    long either may take, in seconds. `headers_limit` is the most bytes of a request beside its
    body; how a body is cut into chunks may take as many again as the body.
    """

    headers_wait = 10.0
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
        super().connection_made(_Gathering(transport))
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes, within the limits."""
        if self.transport.is_closing():
            return
        if not self._receiving and self._is_free():
            self._expect()  # what comes before a request, like empty lines, is none yet
        self._beside = len(data) + (self._beside if self._receiving else 0)
        self._ended = False
        super().data_received(data)
        if self._receiving and self._beside > self.headers_limit + self._body:
            limit = f"the headers are larger than {self.headers_limit:,} bytes"
            self._refuse("headers_too_large", limit)

    def on_message_begin(self) -> None:
        """Wait for the end of the headers."""
        super().on_message_begin()
        self._receiving = self._in_headers = True
        self._body = 0
        if self._ended:
            self._beside = 0  # those of the request before, most likely
        self._expect()

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
        """Wait for the end of a body that was not needed for the answer."""
        super().on_response_complete()
        if self._receiving:
            self._expect()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse("usage", msg)

    def _is_free(self) -> bool:
        """Whether no request is being answered."""
        cycle: Any = self.cycle  # None before the first, whatever its type says
        return cycle is None or bool(cycle.response_complete)

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.headers_wait, self._give_up)

    def _came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self._in_headers:
            self._refuse("too_slow", f"the headers did not end within {self.headers_wait:g} s")
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, code: str, detail: str) -> None:
        """Answer for the application, if it has not begun to, and close."""
        transport: Any = self.transport
        if transport is None or transport.is_closing():
            return
        if self._is_free() and self._in_headers == self._receiving:
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
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Close once all is sent."""
        self._flush()
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

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

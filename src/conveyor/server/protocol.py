"""uvicorn's HTTP protocol with the limits it lacks, and its writes put together.

Headers must end in time, and be of a size: a client that sends a byte a second would otherwise hold
a connection for ever (Slowloris). And an answer is sent in one piece where uvicorn would send its
headers first, which wakes the client twice.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# How long the headers of a request may take to come, in seconds, and the most bytes of them.
HEADERS_WAIT = 10.0
HEADERS_LIMIT = 64 << 10


class PatientProtocol(HttpToolsProtocol):
    """One connection. It is closed when a request has begun and its headers do not end."""

    _late: asyncio.TimerHandle | None = None
    _size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(_Gathering(transport))
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes, within the limit of headers."""
        if self._late is not None:
            self._size += len(data)
        super().data_received(data)
        if self._late is not None and self._size > HEADERS_LIMIT:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Wait for the end of the headers."""
        super().on_message_begin()
        if self._late is None:
            self._expect()

    def on_headers_complete(self) -> None:
        """Let the request go on."""
        self._came()
        super().on_headers_complete()

    def _expect(self) -> None:
        self._size = 0
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(HEADERS_WAIT, self._give_up)

    def _came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        transport: Any = self.transport
        if transport is not None and not transport.is_closing():
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

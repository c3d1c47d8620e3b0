"""uvicorn's HTTP protocol with limits for time and headers, and with coalesced writes.

A client that sends a byte a second would hold a connection for ever (Slowloris), so headers and
bodies must end in time and headers have a maximum size. A response is sent in one write; uvicorn
would send the headers first, which wakes the client twice.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ..store.http.problems import MEDIA, problem
from .origin_guard import DATA_POLICY

# The key in the scope's state of the function to call when a request has shown a valid token,
# see `note_authenticated`.
AUTHENTICATED = "authenticated"
# The value of SO_LINGER that discards what is not yet sent when a socket is closed.
NO_LINGER = struct.pack("ii", 1, 0)


def note_authenticated(http: Request) -> None:
    """Note that the connection of a request is no stranger's: it has shown a valid token."""
    note = http.scope.get("state", {}).get(AUTHENTICATED)
    if note is not None:
        note()


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. A request that does not end in time is refused.

    `headers_timeout` limits the headers, and the rest of a body that the response did not need.
    `body_timeout` limits a body that the response waits for. Both are in seconds. `headers_limit`
    is the maximum size in bytes of a request without its body; the framing of a chunked body may
    take as many bytes as the body itself. Within `write_timeout` seconds a client must take some of
    what it is sent, and within ten times that all of it.

    The acceptor is told when the connection is ready, when a client has shown a valid token, and
    when the connection is closed.
    """

    headers_timeout = 10.0
    body_timeout = 30.0
    headers_limit = 64 << 10
    write_timeout = 30.0

    on_connected: Callable[[], object] | None = None
    on_authenticated: Callable[[], object] | None = None
    on_lost: Callable[[], object] | None = None

    _write_timer: asyncio.TimerHandle | None = None
    # The request whose response the client does not take at once.
    _slow_cycle: RequestResponseCycle | None = None
    _timer: asyncio.TimerHandle | None = None
    # About the request that is being received, if any.
    _receiving = False
    _in_headers = False
    _ended = False
    _body_size = 0
    _other_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        self._coalescing = _CoalescingTransport(transport, self.write_timeout)
        super().connection_made(self._coalescing)
        self._start_timer()
        if self.on_connected is not None:
            self.on_connected()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        """The client does not take what it is sent: give it some time."""
        super().pause_writing()
        if self._write_timer is None:
            # A stream has no end. Any other response, however often the client pauses, has one.
            if self.cycle is not self._slow_cycle or self.cycle.chunked_encoding:
                self._slow_cycle = self.cycle
                self._write_until = self.loop.time() + 10 * self.write_timeout
            self._watch_writing()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _watch_writing(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self.write_timeout, self._check_writing, unsent)

    def _check_writing(self, unsent: int) -> None:
        """Drop a client that has taken nothing, or that takes too long in all."""
        is_late = self.loop.time() >= self._write_until
        if is_late or self.transport.get_write_buffer_size() >= unsent:
            # Without this, the kernel would keep what it has for as long as the client is there.
            open_socket = self.transport.get_extra_info("socket")
            open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.transport.abort()
        else:
            self._watch_writing()

    def data_received(self, data: bytes) -> None:
        """Parse received data, and check the limits."""
        if self.transport.is_closing():
            return
        self._other_size = len(data) + (self._other_size if self._receiving else 0)
        self._ended = False
        super().data_received(data)
        if self._receiving and self._other_size > self.headers_limit + self._body_size:
            self._refuse_headers()
        elif self._is_free() or (self._receiving and not self.pipeline):
            self._start_timer()  # empty lines before a request do not begin it

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self.on_authenticated is not None:
            self.scope.setdefault("state", {})[AUTHENTICATED] = self._note_authenticated
        self._receiving = self._in_headers = True
        self._body_size = 0
        if self._ended:
            self._other_size = 0  # the data was most likely of the previous request

    def _note_authenticated(self) -> None:
        if self.on_authenticated is not None:
            self.on_authenticated()
            self.on_authenticated = None

    def on_headers_complete(self) -> None:
        """The headers are complete."""
        # All of a request may come in one segment, so the sum in `data_received` is too late.
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.headers_limit:
            self._refuse_headers()
            raise ValueError("the headers are too large")  # which ends the parsing
        self._stop_timer()
        super().on_headers_complete()
        self._in_headers = False

    def on_body(self, body: bytes) -> None:
        """A part of the body was received."""
        self._body_size += len(body)
        self._other_size -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._receiving = False
        self._ended = True
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send the complete response, and wait for the rest of a body that it did not need."""
        self._coalescing.flush()
        super().on_response_complete()
        if self._receiving and not self.pipeline:
            self._stop_timer()
            self._start_timer()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse("usage", msg)

    def _is_free(self) -> bool:
        """Whether no request is being handled."""
        cycle: Any = self.cycle  # None before the first request, despite its type
        return cycle is None or bool(cycle.response_complete)

    def _is_waiting_for_body(self) -> bool:
        """Whether the response only waits for the rest of a body."""
        return self._receiving and not (
            self._in_headers or self.pipeline or self.cycle.response_started
        )

    def _start_timer(self) -> None:
        if self._timer is None:
            wait = self.body_timeout if self._is_waiting_for_body() else self.headers_timeout
            self._timer = self.loop.call_later(wait, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if self._in_headers:
            self._refuse(
                "too_slow", f"the headers were not complete within {self.headers_timeout:g} s"
            )
        elif self._is_waiting_for_body() and self.flow.read_paused:
            self._start_timer()  # the application has not yet read what was received
        elif self._is_waiting_for_body():
            self._refuse("too_slow", f"the body was not complete within {self.body_timeout:g} s")
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse_headers(self) -> None:
        limit = self.headers_limit
        self._refuse("headers_too_large", f"the headers are larger than {limit:,} bytes")

    def _refuse(self, code: str, detail: str) -> None:
        """Send a problem, unless the application already answers, and close the connection."""
        transport: Any = self.transport
        if transport is None or transport.is_closing():
            return
        is_unhandled = self._is_free() and self._in_headers == self._receiving
        if is_unhandled or self._is_waiting_for_body():
            found = problem(code, detail)
            body = msgspec.json.encode(found)
            always = b"".join(b"%b: %b\r\n" % each for each in self.server_state.default_headers)
            always += "{}: {}\r\n".format(*DATA_POLICY).encode()
            transport.write(
                f"HTTP/1.1 {found.status} {HTTPStatus(found.status).phrase}\r\n".encode()
                + always
                + f"content-type: {MEDIA}\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
                + body
            )
        transport.close()


class _CoalescingTransport(asyncio.Transport):
    """A transport that sends everything written in one iteration of the event loop at once.

    Closing sends the rest first, for at most `close_timeout` seconds.
    """

    def __init__(self, transport: asyncio.Transport, close_timeout: float) -> None:
        super().__init__()
        self._transport = transport
        self._close_timeout = close_timeout
        self._parts: list[bytes | bytearray | memoryview] = []
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send in this iteration of the event loop."""
        self._parts.append(data)
        if len(self._parts) == 1:
            self._loop.call_soon(self.flush)

    def close(self) -> None:
        """Close after sending everything."""
        self.flush()
        if not self._transport.is_closing() and self._transport.get_write_buffer_size():
            self._loop.call_later(self._close_timeout, self._transport.abort)
        self._transport.close()

    def abort(self) -> None:
        """Close immediately."""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are written but not sent."""
        return sum(map(len, self._parts)) + self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Whether it is closed or closing."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about the transport."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop receiving for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Continue receiving."""
        self._transport.resume_reading()

    def flush(self) -> None:
        """Send now."""
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

"""A blocking HTTP client for a lone caller: one attempt, in the caller's own thread.

It saves two hand-overs between threads and a third of the time of a call; decision 26 has the
figures. Retries are left to the pooled client.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec

from ...errors import PassingError, UnavailableError
from .api import JSON, ApiCall
from .client import (
    CONNECT_TIMEOUT,
    MAX_ANSWER,
    RESPONSE_TIMEOUT,
    call_path,
    decode_response,
    max_answer,
    too_large,
)
from .payloads import Payload

MAX_IDLE_CONNECTIONS = 8
# Seconds after which an idle connection is closed. The server must keep it for longer.
IDLE_TIMEOUT = 30.0
CHUNK = HEADERS_LIMIT = 1 << 16
DEFAULT_PORTS = {"http": 80, "https": 443}

_encode = msgspec.json.Encoder().encode


class BlockingClient:
    """Makes calls to the server at `url`. Thread-safe; each concurrent call has a connection."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._path_prefix = parts.path
        self._uses_tls, self._tls = parts.scheme == "https", tls
        self._headers = f"Host: {parts.netloc}\r\nContent-Type: {JSON}\r\n"
        if token:
            self._headers += f"Authorization: Bearer {token}\r\n"
        self._lock = threading.Lock()
        self._closed = False
        self._idle: list[tuple[float, socket.socket]] = []

    def call(self, call: ApiCall, path: Mapping[str, str], body: Payload) -> Any:
        """Make a call and return its answer, or raise the error that the server sent.

        PassingError: there was no answer, so the server may or may not have carried it out.
        """
        data = _encode(body)
        head = (
            f"{call.method} {self._path_prefix}{call_path(call, path)} HTTP/1.1\r\n{self._headers}"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        connection: socket.socket | None = None
        reusable = False
        try:
            connection = self._take_idle() or self._connect()
            connection.sendall(head.encode() + data)
            response = receive(connection, self._url, limit=HEADERS_LIMIT + max_answer(call))
            reusable = response.keep_alive
        except (OSError, httptools.HttpParserError) as error:
            why = str(error) or "no response in time"
            raise PassingError(f"the server at {self._url} cannot be reached: {why}") from error
        finally:
            # After an interruption, such as Ctrl-C, the connection is not reusable: the next data
            # on it would be the response to this call.
            if connection is not None:
                self._release(connection, reusable=reusable)
        return decode_response(call, response.status, b"".join(response.parts), self._url, body)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take_idle(self) -> socket.socket | None:
        """Return an idle connection that is still usable, if there is one."""
        stale: list[socket.socket] = []
        found = None
        with self._lock:
            if self._closed:
                raise UnavailableError(f"the connection to {self._url} is closed")
            while self._idle and found is None:
                since, connection = self._idle.pop()
                if time.monotonic() - since < IDLE_TIMEOUT and not _is_readable(connection):
                    found = connection
                else:
                    stale.append(connection)
        for each in stale:
            each.close()
        return found

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), CONNECT_TIMEOUT)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._uses_tls:
                # Loading the system's certificates takes 20 ms, so only when they are needed.
                self._tls = self._tls or ssl.create_default_context()
                connection = self._tls.wrap_socket(connection, server_hostname=self._host)
            connection.settimeout(RESPONSE_TIMEOUT)
        except BaseException:
            connection.close()
            raise
        return connection

    def _release(self, connection: socket.socket, *, reusable: bool) -> None:
        with self._lock:
            reusable = reusable and not self._closed and len(self._idle) < MAX_IDLE_CONNECTIONS
            if reusable:
                self._idle.append((time.monotonic(), connection))
        if not reusable:
            connection.close()


def _is_readable(connection: socket.socket) -> bool:
    """Whether an idle connection has unexpected data, or was closed by the server."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class _Response:
    """The response that is being received; httptools calls the `on_` methods.

    Informational responses (status 1xx) are skipped. Data after the response belongs to no call, so
    the connection must not be used again: `keep_alive` is False then.
    """

    def __init__(self) -> None:
        self.status = 0
        self.keep_alive = False
        self.complete = False
        self.parts: list[bytes] = []
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Parse received data."""
        parser = self._parser
        assert parser is not None, "nothing is fed to a complete response"
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise ConnectionAbortedError("the server switches to another protocol") from error
        if self.complete:
            self._parser = None  # breaks a reference cycle, which only the collector would free

    def on_message_begin(self) -> None:
        """Start a response."""
        self.keep_alive = False

    def on_body(self, part: bytes) -> None:
        """Add a part of the body."""
        if not self.complete:
            self.parts.append(part)

    def on_message_complete(self) -> None:
        """Finish the response. Only now does the parser know the status and the keep-alive."""
        parser = self._parser
        if self.complete or parser is None or parser.get_status_code() < 200:
            return
        self.status = parser.get_status_code()
        self.keep_alive = parser.should_keep_alive()
        self.complete = True


def receive(
    connection: socket.socket,
    url: str,
    *,
    timeout: float = RESPONSE_TIMEOUT,
    limit: int = MAX_ANSWER,
) -> _Response:
    """Receive one response; OSError if that takes longer, UnavailableError if it is too large."""
    response = _Response()
    deadline = time.monotonic() + timeout
    size = 0
    while not response.complete:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no response in time")
        connection.settimeout(left)
        data = connection.recv(CHUNK)
        if not data:
            # A response without a length would end like this too; our server sends none.
            raise ConnectionResetError("the connection was closed in the middle of the response")
        size += len(data)
        if size > limit:  # the headers, too
            raise too_large(limit, url)
        response.feed(data)
    return response

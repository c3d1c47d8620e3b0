"""Asks a server in the caller's own thread, for a blocking caller who would only wait for another.

It tries once. What goes wrong on the way is for the line to do again: that knows when to go on.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ...errors import UnavailableError
from .bodies import Body
from .calls import JSON, Call
from .line import ANSWER, CONNECT, PassingError, address_of, read_answer

# Connections that are kept for the next question, and for how long, in seconds: less than the
# server keeps them.
KEPT, IDLE = 8, 30.0

_encode = msgspec.json.Encoder().encode


class Here:
    """Asks the server at `url`. May be used by any number of threads, each over its own line."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host, self._port = parts.hostname or "", parts.port
        self._prefix = parts.path
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._headers = {"Content-Type": JSON}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._lock = threading.Lock()
        self._closed = False
        self._free: list[tuple[float, http.client.HTTPConnection]] = []

    def ask(self, call: Call, path: Mapping[str, str], body: Body) -> Any:
        """Make a call and return its answer, or raise what the server says.

        PassingError: there was no answer, so nobody knows whether it was done.
        """
        connection = self._take()
        try:
            _connect(connection)
            connection.request(
                call.method, self._prefix + address_of(call, path), _encode(body), self._headers
            )
            came = connection.getresponse()
            if came.length is None and not came.chunked:
                # Headers that are cut short count as whole there: their end is what is missing.
                raise http.client.IncompleteRead(b"")
            data = came.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise PassingError(f"the server at {self._url} cannot be reached: {error}") from error
        except BaseException:  # Ctrl-C: what would come next is the answer to this
            connection.close()
            raise
        self._give_back(connection)
        return read_answer(call, came.status, data, self._url)

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for _, connection in free:
            connection.close()

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._closed:
                raise UnavailableError(f"the connection to {self._url} was closed")
            since, connection = self._free.pop() if self._free else (0.0, self._new())
        if time.monotonic() - since > IDLE:
            connection.close()  # it connects anew when it is used
        return connection

    def _new(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=CONNECT, context=self._tls
        )

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed and len(self._free) < KEPT:
                self._free.append((time.monotonic(), connection))
                return
        connection.close()


def _connect(connection: http.client.HTTPConnection) -> None:
    there: socket.socket | None = connection.sock
    if there is None:
        connection.timeout = CONNECT
        connection.connect()
        connection.sock.settimeout(ANSWER)

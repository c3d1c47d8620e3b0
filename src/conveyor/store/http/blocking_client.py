"""Asks a server in the caller's own thread, for a blocking caller who would only wait for another.

It tries once. What goes wrong on the way is for the line to do again: that knows when to go on.
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
from .api import JSON, Call
from .client import ANSWER, CONNECT, address_of, read_answer
from .payloads import Body

# Connections that are kept for the next question, and for how long, in seconds: less than the
# server keeps them.
KEPT, IDLE = 8, 30.0
PIECE = 1 << 16
PORTS = {"http": 80, "https": 443}

_encode = msgspec.json.Encoder().encode


class Here:
    """Asks the server at `url`. May be used by any number of threads, each over its own line."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host, self._port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        self._prefix = parts.path
        self._secure, self._tls = parts.scheme == "https", tls
        self._headers = f"Host: {parts.netloc}\r\nContent-Type: {JSON}\r\n"
        if token:
            self._headers += f"Authorization: Bearer {token}\r\n"
        self._lock = threading.Lock()
        self._closed = False
        self._free: list[tuple[float, socket.socket]] = []

    def ask(self, call: Call, path: Mapping[str, str], body: Body) -> Any:
        """Make a call and return its answer, or raise what the server says.

        PassingError: there was no answer, so nobody knows whether it was done.
        """
        data = _encode(body)
        head = (
            f"{call.method} {self._prefix}{address_of(call, path)} HTTP/1.1\r\n{self._headers}"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        there: socket.socket | None = None
        kept = False
        try:
            there = self._take() or self._connect()
            there.sendall(head.encode() + data)
            answer = _receive(there)
            kept = answer.keeps
        except (OSError, httptools.HttpParserError) as error:
            why = str(error) or "no answer in time"
            raise PassingError(f"the server at {self._url} cannot be reached: {why}") from error
        finally:
            # After Ctrl-C, say, what would come next is the answer to this.
            if there is not None:
                self._put(there, kept=kept)
        return read_answer(call, answer.status, b"".join(answer.parts), self._url)

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for _, there in free:
            there.close()

    def _take(self) -> socket.socket | None:
        """Return a connection that is free and still stands, if there is one."""
        old: list[socket.socket] = []
        found = None
        with self._lock:
            if self._closed:
                raise UnavailableError(f"the connection to {self._url} was closed")
            while self._free and found is None:
                since, there = self._free.pop()
                if time.monotonic() - since < IDLE and _is_silent(there):
                    found = there
                else:
                    old.append(there)
        for each in old:
            each.close()
        return found

    def _connect(self) -> socket.socket:
        there = socket.create_connection((self._host, self._port), CONNECT)
        try:
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._secure:
                # Reading whom the system trusts takes 20 ms, which not every program needs.
                self._tls = self._tls or ssl.create_default_context()
                there = self._tls.wrap_socket(there, server_hostname=self._host)
            there.settimeout(ANSWER)
        except BaseException:
            there.close()
            raise
        return there

    def _put(self, there: socket.socket, *, kept: bool) -> None:
        with self._lock:
            kept = kept and not self._closed and len(self._free) < KEPT
            if kept:
                self._free.append((time.monotonic(), there))
        if not kept:
            there.close()


def _is_silent(there: socket.socket) -> bool:
    """Whether nothing has come over a connection that is free: not even its end."""
    looking = select.poll()
    looking.register(there, select.POLLIN)
    return not looking.poll(0)


class _Answer:
    """What is received; httptools calls the methods. `keeps`: the line may be used again.

    Messages before the answer (status 1xx) are none. Whatever comes after it is the answer to
    nothing, and the line is not used again.
    """

    def __init__(self) -> None:
        self.status = 0
        self.keeps = False
        self.whole = False
        self.parts: list[bytes] = []
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        parser = self._parser
        assert parser is not None, "nothing is fed to an answer that is whole"
        parser.feed_data(data)
        if self.whole:
            self._parser = None  # it holds this, too, and would do so until garbage is looked for

    def on_message_begin(self) -> None:
        """Hear that something comes."""
        self.keeps = False

    def on_body(self, part: bytes) -> None:
        """Take a part."""
        if not self.whole:
            self.parts.append(part)

    def on_message_complete(self) -> None:
        """Hear that it is all; afterwards the parser does not know any more how the line stands."""
        parser = self._parser
        if self.whole or parser is None or parser.get_status_code() < 200:
            return
        self.status = parser.get_status_code()
        self.keeps = parser.should_keep_alive()
        self.whole = True


def _receive(there: socket.socket) -> _Answer:
    answer = _Answer()
    while not answer.whole:
        data = there.recv(PIECE)
        if not data:
            # An answer without a length would end so too; no server of ours gives one.
            raise ConnectionResetError("it ended before its answer was whole")
        answer.feed(data)
    return answer

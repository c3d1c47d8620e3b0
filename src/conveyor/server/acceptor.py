"""Accepts connections within bounds, so that no crowd of clients uses up the descriptors.

asyncio would accept until it fails, and then log and retry thousands of times a second. Here a full
server stops accepting, and new clients wait in the kernel until a connection closes. Clients
without a valid token cannot fill it: above their share, the one of them that came first is dropped.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from ..core.event_log import open_event_log
from .http_limits import LimitedHttpProtocol

log = open_event_log("server")

MAX_CONNECTIONS = 10_000
# The maximum number of connections that have not yet shown a valid token.
MAX_STRANGERS = 1000
# Descriptors for everything that is not a connection.
RESERVED_DESCRIPTORS = 256
# In seconds.
HANDSHAKE_TIMEOUT = 10.0
# The pause after a failed accept, in seconds.
RETRY_ACCEPT_AFTER = 1.0
OTHER_USER = "it is of another user of this machine; create a token to let others in"
# How many connections are accepted before others get a turn; the bounds can be exceeded by as many
# for a moment, because a dropped connection is closed in the loop's next iteration.
BATCH = 16


def connection_limit(descriptors: int) -> int:
    """Return how many connections a process with so many descriptors may have."""
    return max(1, min(MAX_CONNECTIONS, max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2)))


class Acceptor:
    """Accepts connections of a listening socket, at most `limit`. Belongs to one event loop.

    Connections for which `is_welcome` is false are dropped.
    """

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], LimitedHttpProtocol],
        *,
        limit: int,
        tls: ssl.SSLContext | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        is_welcome: Callable[[socket.socket], bool] | None = None,
    ) -> None:
        self._listening = listening
        self._make_protocol = make_protocol
        self._limit = limit
        self._strangers_limit = max(1, min(MAX_STRANGERS, limit // 2))
        self._tls = tls
        self._handshake_timeout = handshake_timeout
        self._is_welcome = is_welcome
        self._loop = asyncio.get_running_loop()
        self._open: set[_Connection] = set()
        # Those that have not yet shown a valid token, the oldest first.
        self._strangers: dict[_Connection, None] = {}
        self._accepting = False
        self._stopped = False

    def start(self) -> None:
        """Accept connections from now on."""
        self._listening.settimeout(0)
        self._resume()

    def stop(self) -> None:
        """Accept no more, and drop connections that are still in their TLS handshake."""
        self._stopped = True
        self._pause()
        for connection in self._open:
            if connection.protocol is None:
                connection.drop()

    def _resume(self) -> None:
        if not self._accepting and not self._stopped:
            self._accepting = True
            self._loop.add_reader(self._listening, self._accept)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listening)

    def _accept(self) -> None:
        for _ in range(BATCH):
            if len(self._open) >= self._limit and not self._strangers:
                log.warning("connections.full limit=%d", self._limit)
                self._pause()
                return
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Something else has used up the descriptors or the memory, and the socket stays
                # readable: without a pause this would use up a processor as well.
                log.warning("accept.failed error=%s", error)
                self._pause()
                self._loop.call_later(RETRY_ACCEPT_AFTER, self._resume)
                return
            accepted.settimeout(0)
            if self._is_welcome is None or self._may_enter(accepted):
                self._add(accepted)

    def _may_enter(self, accepted: socket.socket) -> bool:
        with suppress(OSError):  # it is closed already
            if self._is_welcome is not None and self._is_welcome(accepted):
                return True
        log.warning("connection.refused reason=%s", OTHER_USER)
        accepted.close()
        return False

    def _add(self, accepted: socket.socket) -> None:
        connection = _Connection(accepted)
        self._open.add(connection)
        self._strangers[connection] = None
        connection.connecting = self._loop.create_task(self._connect(connection))
        if len(self._strangers) > self._strangers_limit or len(self._open) > self._limit:
            oldest = next(iter(self._strangers))
            self._forget(oldest)
            oldest.drop()

    async def _connect(self, connection: _Connection) -> None:
        def make_protocol() -> LimitedHttpProtocol:
            protocol = self._make_protocol()
            protocol.on_connected = lambda: connection.connected(protocol)
            protocol.on_authenticated = lambda: self._strangers.pop(connection, None)
            protocol.on_lost = lambda: self._forget(connection)
            return protocol

        timeout = None if self._tls is None else self._handshake_timeout
        try:
            await self._loop.connect_accepted_socket(
                make_protocol, connection.hand_over(), ssl=self._tls, ssl_handshake_timeout=timeout
            )
        except OSError:  # the handshake failed or was too slow, or the client has disconnected
            self._forget(connection)
        except asyncio.CancelledError:
            self._forget(connection)
            raise

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        self._strangers.pop(connection, None)
        if len(self._open) < self._limit:
            self._resume()


class _Connection:
    """An accepted connection. It has a protocol once its TLS handshake, if any, is complete."""

    def __init__(self, accepted: socket.socket) -> None:
        self._accepted: socket.socket | None = accepted
        self.connecting: asyncio.Task[None] | None = None
        self.protocol: LimitedHttpProtocol | None = None

    def hand_over(self) -> socket.socket:
        """Return the socket. From now on it is closed by its transport."""
        accepted, self._accepted = self._accepted, None
        assert accepted is not None, "handed over once"
        return accepted

    def connected(self, protocol: LimitedHttpProtocol) -> None:
        self.protocol = protocol

    def drop(self) -> None:
        """Close it now, without sending what is not yet sent."""
        if self.protocol is not None:
            self.protocol.transport.abort()
        elif self.connecting is not None:
            self.connecting.cancel()
            if self._accepted is not None:  # the task has not begun, and now never will
                self._accepted.close()

"""A few connections for all threads of a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from ...errors import UnavailableError
from .connection import Connection

# How long a call waits for another one to end, in seconds.
PATIENCE = 30.0


class ConnectionPool:
    """At most `size` connections, opened when they are needed. Any thread may use it."""

    def __init__(self, connect: Callable[[], Connection], size: int) -> None:
        self._connect = connect
        self._size = size
        self._places = threading.BoundedSemaphore(size)
        # The one used last is first: with little to do, few connections are open.
        self._free: list[Connection] = []
        self._closed = False

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """Lend a connection; one that was lost meanwhile does not come back."""
        if not self._places.acquire(timeout=PATIENCE):
            raise UnavailableError(
                f"all {self._size} connections of this process are in use for {PATIENCE:.0f} s; "
                "allow more with connections= in the store's URL"
            )
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                connection.roll_back()
                if self._closed:
                    connection.close()
                elif not connection.is_lost:
                    self._free.append(connection)
        finally:
            self._places.release()

    def discard(self) -> None:
        """Close the free connections: after one was lost, the others are likely to be."""
        free, self._free = self._free, []
        for connection in free:
            connection.close()

    def close(self) -> None:
        """Close the free connections now, and the others once they are given back."""
        self._closed = True
        self.discard()

    def _take(self) -> Connection:
        if self._closed:
            raise UnavailableError("this store was closed")
        try:
            return self._free.pop()
        except IndexError:
            return self._connect()

"""A proxy that passes bytes on, in threads; what it stands in front of is up to its user."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

PIECE = 65536


class ByteProxy:
    """Joins each connection to `listening` with one that `connect` makes, until closed.

    `connect` returns None if nobody is there.
    """

    def __init__(
        self, listening: socket.socket, connect: Callable[[], socket.socket | None]
    ) -> None:
        # Bytes pass while it is set.
        self.passes = threading.Event()
        self.passes.set()
        self._listening = listening
        self._connect = connect
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._sockets: list[socket.socket] = [listening]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """End all connections; new ones are let through."""
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            shut(end)

    def close(self) -> None:
        shut(self._listening)
        self.passes.set()
        self._threads[0].join(60)  # so that no other is added
        self.cut()
        for thread in self._threads[1:]:
            thread.join(60)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                self._sockets.append(here)
                there = self._connect()
                if there is None:
                    shut(here)
                    continue
                self._sockets.append(there)
                with self._lock:
                    self._ends += [here, there]
                for pair in ((here, there), (there, here)):
                    thread = threading.Thread(target=self._carry, args=pair)
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                self.passes.wait()
                target.sendall(data)
        for end in (source, target):
            shut(end)


def shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)

"""A plain TCP balancer: each connection goes to the first of some servers that accepts it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

PIECE = 65536


class Balancer:
    """Listens at `url`, in threads, until closed."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._behind = [("127.0.0.1", urlsplit(each).port or 80) for each in urls]
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        shut(self._listening)
        self._threads[0].join(60)  # so that no other is added
        for each in self._sockets:
            shut(each)
        for thread in self._threads[1:]:
            thread.join(60)
        for each in (self._listening, *self._sockets):
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
                for pair in ((here, there), (there, here)):
                    thread = threading.Thread(target=carry, args=pair)
                    self._threads.append(thread)
                    thread.start()

    def _connect(self) -> socket.socket | None:
        for address in self._behind:
            with suppress(OSError):
                return socket.create_connection(address, timeout=5)
        return None


def carry(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, and the end of it."""
    source.settimeout(None)
    with suppress(OSError):
        while data := source.recv(PIECE):
            target.sendall(data)
    for end in (source, target):
        shut(end)


def shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)

"""A cable to a PostgreSQL server: it can be cut, so that sessions end, or pulled out in silence."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

PIECE = 65536


class Cable:
    """A proxy in `folder` for the server whose socket is in `behind`."""

    def __init__(self, folder: Path, behind: str) -> None:
        folder.mkdir()
        self.host = str(folder)
        self._behind = f"{behind}/.s.PGSQL.5432"
        self._is_in = threading.Event()
        self._is_in.set()
        self._ends: list[socket.socket] = []
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{folder}/.s.PGSQL.5432")
        self._listening.listen(100)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """End all connections; new ones are let through."""
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def pull_out(self) -> None:
        """Let nothing through from now on; neither side is told."""
        self._is_in.clear()

    def plug_in(self) -> None:
        """Let through what waits, and what follows."""
        self._is_in.set()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self.plug_in()
        self._threads[0].join(60)  # so that no other is added
        self.cut()
        for thread in self._threads[1:]:
            thread.join(60)
        for each in (self._listening, *self._sockets):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.socket(socket.AF_UNIX)
                self._sockets += [here, there]
                there.connect(self._behind)
                with self._lock:
                    self._ends += [here, there]
                for pair in ((here, there), (there, here)):
                    thread = threading.Thread(target=self._carry, args=pair)
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                self._is_in.wait()
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

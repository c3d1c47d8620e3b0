"""Hints between processes: datagrams to unix sockets in a folder beside the database.

A process that wants hints of some kind binds one socket for it, named `<pid>-<random>.<kind>`; who
commits sends to all sockets of that kind. A datagram holds the subjects, separated by NUL; an empty
one means "any".

There is room for few, and a busy process comes late to its own: on Linux a socket refuses more than
net.unix.max_dgram_qlen (10, or 512 under systemd), and a sender's buffer of 200 kB is full of 278
small ones. What finds no room is dropped. But then many wait there, as a sender has a socket of its
own for each listener; and who reads many in a row takes it that there was more: "any".
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from ...system.file_owner import create_directory, share_socket
from ..listeners import Listeners
from ..messages import Hint, HintKind, Listener

LINUX = sys.platform == "linux"
# In bytes. Elsewhere 2048 is the default limit of a datagram (net.local.dgram.maxdgram).
LARGEST = 4096 if LINUX else 2000
RECEIVE = 65536
# So many in a row are "many". Fewer than any buffer holds: elsewhere one alone may fill it.
MANY = 10 if LINUX else 1
# How many are read in a row before they are passed on.
IN_A_ROW = 1000
SETTLED = 50_000_000


def _queued() -> int:
    """Return how many a socket takes at the least before it refuses one; unix(7)."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    return MANY


def _read(bound: socket.socket) -> list[bytes]:
    """Return what waits in a socket, without waiting for more."""
    read: list[bytes] = []
    with suppress(OSError):
        while len(read) < IN_A_ROW:
            read.append(bound.recv(RECEIVE))
    return read


def decode_subjects(read: Sequence[bytes], many: int) -> tuple[str, ...]:
    """Return the subjects of datagrams, each once; none, so any, if there may have been more."""
    if b"" in read or len(read) >= many:
        return ()
    return tuple(dict.fromkeys(b"\0".join(read).decode(errors="replace").split("\0")))


class Notifier:
    """Listens for this process, and rings at the others."""

    def __init__(self, path: str) -> None:
        self._folder = path + ".bells"
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._listeners = Listeners()
        self._sockets: dict[HintKind, socket.socket] = {}
        self._selector: selectors.BaseSelector | None = None
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._many = min(MANY, _queued())
        self._seen = -1
        self._listening: dict[str, list[str]] = {}
        self._connections: dict[str, socket.socket] = {}
        create_directory(self._folder, like=path)
        self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._remove_dead()

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds from any process; returns how to stop."""
        with self._lock:
            stop = self._listeners.add(kinds, listener)
            for kind in kinds:
                self._bind(kind)
        return stop

    def notify(self, hint: Hint) -> None:
        """Tell everybody, here and in other processes."""
        self._listeners.tell(hint)
        # It is about what has been committed: nothing that prevents a hint may be an error of that.
        with suppress(OSError):
            listening = self._find_listening().get(hint.kind)
            if not listening:
                return
            data = "\0".join(hint.subjects).encode()
            if len(data) > LARGEST:
                data = b""
            for name in listening:
                if not name.startswith(self._name):
                    self._send(name, data)

    def close(self) -> None:
        """Stop listening."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._listeners.clear()
            sockets, self._sockets = self._sockets, {}
            waker, self._waker = self._waker, None
        if waker is not None:
            waker.send(b"x")
            waker.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        for kind, bound in sockets.items():
            bound.close()
            with suppress(OSError):
                os.unlink(f"{self._name}.{kind}", dir_fd=self._folder_fd)
        for name in list(self._connections):
            self._disconnect(name)
        os.close(self._folder_fd)

    def _bind(self, kind: HintKind) -> None:
        if kind in self._sockets:
            return
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bound.setblocking(False)  # noqa: FBT003 - the standard library's own parameter
        bound.bind(self._address(f"{self._name}.{kind}"))
        share_socket(f"{self._name}.{kind}", self._folder_fd)
        self._sockets[kind] = bound
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            self._waker, woken = socket.socketpair()
            self._selector.register(woken, selectors.EVENT_READ, None)
            thread = threading.Thread(
                target=self._receive,
                args=(self._selector, woken),
                name="conveyor-bell",
                daemon=True,
            )
            self._selector.register(bound, selectors.EVENT_READ, kind)
            thread.start()
            # Not before: a thread whose start a Ctrl-C has cut short cannot be joined.
            self._thread = thread
        else:
            self._selector.register(bound, selectors.EVENT_READ, kind)

    def _receive(self, selector: selectors.BaseSelector, woken: socket.socket) -> None:
        with selector, woken:
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    read = _read(cast("socket.socket", key.fileobj))
                    if read:
                        self._listeners.tell(Hint(key.data, decode_subjects(read, self._many)))

    def _find_listening(self) -> dict[str, list[str]]:
        """Return who listens, by kind; the folder is only read when it has changed."""
        changed = os.fstat(self._folder_fd).st_mtime_ns
        if changed != self._seen:
            # A folder's time stands still for some milliseconds: what has just changed may change
            # again without a trace.
            self._seen = changed if time.time_ns() - changed > SETTLED else -1
            self._listening = {}
            names = os.listdir(self._folder_fd)
            for name in names:
                self._listening.setdefault(name.rpartition(".")[2], []).append(name)
            for name in self._connections.keys() - set(names):
                self._disconnect(name)
        return self._listening

    def _remove_dead(self) -> None:
        """Remove the sockets of processes that were killed. A pid would not tell: it may be of
        another container.
        """
        for name in os.listdir(self._folder_fd):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as knocking:
                try:
                    knocking.connect(self._address(name))
                except ConnectionRefusedError:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=self._folder_fd)
                except OSError:
                    continue

    def _send(self, name: str, data: bytes) -> None:
        try:
            self._connection(name).send(data)
        except ConnectionRefusedError:
            # Nobody holds the socket any more: its process was killed.
            self._disconnect(name)
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder_fd)
            self._seen = -1
        except FileNotFoundError:
            self._seen = -1
        except OSError:
            return  # it has no room, or is not for us

    def _connection(self, name: str) -> socket.socket:
        connection = self._connections.get(name)
        if connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                connection.setblocking(False)  # noqa: FBT003 - the standard library's own parameter
                connection.connect(self._address(name))
            except OSError:
                connection.close()
                raise
            self._connections[name] = connection
        return connection

    def _disconnect(self, name: str) -> None:
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.close()

    def _address(self, name: str) -> str:
        # A unix address has room for 107 bytes; this way it fits however deep the folder lies.
        short = f"/proc/self/fd/{self._folder_fd}/{name}"
        return short if os.path.exists("/proc/self/fd") else f"{self._folder}/{name}"

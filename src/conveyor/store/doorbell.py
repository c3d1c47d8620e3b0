"""Hints between processes: datagrams to unix sockets in a folder beside the database.

A process that wants hints of some kind binds one socket for it, named `<pid>-<random>.<kind>`; who
commits sends to all sockets of that kind. A datagram holds the subjects, separated by NUL; an empty
one means "any".

A socket has room for few (10 on Linux: net.unix.max_dgram_qlen), and a busy process comes late to
its own. What found no room is owed: an empty one is sent as soon as there is some. Only a sender
that is killed meanwhile loses a hint, and then whoever listens still looks by himself in the end.
"""

from __future__ import annotations

import atexit
import errno
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import cast

from .messages import Hint, HintKind, Listener

LARGEST = 8192
RECEIVE = 65536
SETTLED = 50_000_000
# What a sender hears when the other's socket is full, or there is too much of its own on the way.
NO_ROOM = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EMSGSIZE}
# How long it is waited before what is owed is sent again, at first and at most, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.2
# How long it is owed, and how long when this process closes: somebody may be frozen.
PATIENCE, LAST = 30.0, 0.25


class Doorbell:
    """Listens for this process, and rings at the others.

    `last` is how long, in seconds, what is owed is still tried to be delivered when it closes.
    """

    def __init__(self, path: str, *, last: float = LAST) -> None:
        self._folder = path + ".bells"
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._listeners: dict[int, tuple[frozenset[HintKind], Listener]] = {}
        self._numbers = 0
        self._sockets: dict[HintKind, socket.socket] = {}
        self._selector: selectors.BaseSelector | None = None
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._seen = -1
        self._others: dict[str, list[str]] = {}
        self._debts = _Debts(self._send, last)
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)  # noqa: FBT003 - the standard library's own parameter
        os.makedirs(self._folder, mode=0o755, exist_ok=True)
        self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._remove_dead()

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds from any process; returns how to stop."""
        with self._lock:
            self._numbers += 1
            number = self._numbers
            self._listeners[number] = frozenset(kinds), listener
            for kind in kinds:
                self._bind(kind)

        def stop() -> None:
            with self._lock:
                self._listeners.pop(number, None)

        return stop

    def ring(self, hint: Hint) -> None:
        """Tell everybody, here and in other processes."""
        self._deliver(hint)
        listening = self._look().get(hint.kind)
        if not listening:
            return
        data = "\0".join(hint.subjects).encode()
        if len(data) > LARGEST:
            data = b""
        for name in listening:
            if not name.startswith(self._name) and not self._send(name, data):
                self._debts.add(name)

    def close(self) -> None:
        """Stop listening."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._listeners.clear()
            sockets, self._sockets = self._sockets, {}
            waker, self._waker = self._waker, None
        self._debts.close()
        if waker is not None:
            waker.send(b"x")
            waker.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        for kind, bound in sockets.items():
            bound.close()
            with suppress(OSError):
                os.unlink(f"{self._name}.{kind}", dir_fd=self._folder_fd)
        self._sender.close()
        os.close(self._folder_fd)

    def _bind(self, kind: HintKind) -> None:
        if kind in self._sockets:
            return
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bound.setblocking(False)  # noqa: FBT003 - the standard library's own parameter
        bound.bind(self._address(f"{self._name}.{kind}"))
        self._sockets[kind] = bound
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            self._waker, woken = socket.socketpair()
            self._selector.register(woken, selectors.EVENT_READ, None)
            thread = threading.Thread(
                target=self._hear, args=(self._selector, woken), name="conveyor-bell", daemon=True
            )
            self._selector.register(bound, selectors.EVENT_READ, kind)
            thread.start()
            # Not before: a thread whose start a Ctrl-C has cut short cannot be joined.
            self._thread = thread
        else:
            self._selector.register(bound, selectors.EVENT_READ, kind)

    def _hear(self, selector: selectors.BaseSelector, woken: socket.socket) -> None:
        with selector, woken:
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    with suppress(OSError):
                        data = cast("socket.socket", key.fileobj).recv(RECEIVE)
                        subjects = tuple(data.decode().split("\0")) if data else ()
                        self._deliver(Hint(key.data, subjects))

    def _deliver(self, hint: Hint) -> None:
        if self._listeners:
            with self._lock:
                listeners = list(self._listeners.values())
            for kinds, listener in listeners:
                if hint.kind in kinds:
                    listener(hint)

    def _look(self) -> dict[str, list[str]]:
        """Return who listens, by kind; the folder is only read when it has changed."""
        changed = os.fstat(self._folder_fd).st_mtime_ns
        if changed != self._seen:
            # A folder's time stands still for some milliseconds: what has just changed may change
            # again without a trace.
            self._seen = changed if time.time_ns() - changed > SETTLED else -1
            self._others = {}
            for name in os.listdir(self._folder_fd):
                self._others.setdefault(name.rpartition(".")[2], []).append(name)
        return self._others

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

    def _send(self, name: str, data: bytes) -> bool:
        """Send a datagram; False if there is no room for it, and it is to be sent again."""
        try:
            self._sender.sendto(data, self._address(name))
        except OSError as error:
            if error.errno in NO_ROOM:
                return False
            # Nobody holds the socket any more: its process was killed.
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder_fd)
            self._seen = -1
        return True

    def _address(self, name: str) -> str:
        # A unix address has room for 107 bytes; this way it fits however deep the folder lies.
        short = f"/proc/self/fd/{self._folder_fd}/{name}"
        return short if os.path.exists("/proc/self/fd") else f"{self._folder}/{name}"


class _Debts:
    """What found no room: an empty datagram to each of these sockets, as soon as there is some.

    A thread of its own sees to it, and there is one only while something is owed.
    """

    def __init__(self, send: Callable[[str, bytes], bool], last: float) -> None:
        self._send = send
        self._last = last
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._end = inf
        self._thread: threading.Thread | None = None

    def add(self, name: str) -> None:
        """Owe one to a socket."""
        with self._lock:
            self._until.setdefault(name, time.monotonic() + PATIENCE)
            if self._thread is None:
                thread = threading.Thread(target=self._pay, name="conveyor-debts", daemon=True)
                thread.start()
                self._thread = thread
                atexit.register(self.close)  # a program may end without closing anything

    def close(self) -> None:
        """Wait a moment for what is still owed, and then let it be."""
        with self._lock:
            self._end = time.monotonic() + self._last
            thread = self._thread
        if thread is not None:
            thread.join()

    def _pay(self) -> None:
        pause = FIRST_PAUSE
        while True:
            time.sleep(pause)
            with self._lock:
                # Taken out before it is sent, so that what finds no room from now on is owed anew.
                owed, self._until = self._until, {}
                if not owed:
                    self._thread = None
                    atexit.unregister(self.close)
                    return
            left = {name: until for name, until in owed.items() if not self._send(name, b"")}
            pause = FIRST_PAUSE if len(left) < len(owed) else min(LONGEST_PAUSE, 2 * pause)
            now = time.monotonic()
            with self._lock:
                kept = {name: until for name, until in left.items() if now < min(until, self._end)}
                self._until = kept | self._until

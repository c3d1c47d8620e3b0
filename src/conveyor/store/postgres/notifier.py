"""Hints between processes by LISTEN and NOTIFY, on one connection of a thread of its own.

NOTIFY holds a lock of the whole database until its transaction is committed, so one in every
transaction would make all transactions wait for each other. Here hints follow the commit: the
thread sends those of the last moments together, in a transaction of their own. If the process dies
before, a hint is lost, and who waits for it looks again by itself.

The same thread adds up the counts that this process has changed.
"""

from __future__ import annotations

import random
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import get_args

import psycopg

from ...core.pending import run_sync
from ...errors import UnavailableError
from ..listeners import Listeners
from ..messages import Hint, HintKind, Listener
from .address import Address
from .connection import Connection
from .nul_escapes import escape, unescape

# Hints of this many seconds are sent together.
WINDOW = 0.005
# NOTIFY takes less than 8,000 bytes.
LARGEST = 7900
SEPARATOR = "\x1f"
# More subjects than this do not fit, and are told as "any".
MOST_SUBJECTS = LARGEST // 2
# How long a queue is waited for that another transaction holds, and how long if one was already.
LOCK_PATIENCE, NO_PATIENCE = "100ms", "1ms"
# How often changed counts are added up while there are any, and otherwise after a change; how often
# marks are forgotten, and how often a lost connection is tried, in seconds.
ADD_UP_EVERY, LONGEST_PAUSE = 1.0, 16.0
FORGET_EVERY = 60.0
RECONNECT_EVERY = 1.0
# How many marks are forgotten at once.
MARKS = 10_000
JOIN = 5.0
# How long the server may be silent, in seconds, before it is asked whether it is there, and then
# how long its answer may take: a connection that was cut somewhere hears nothing for ever.
PATIENCE = 30.0
# How often is asked behind a pooler whether anything was committed, in seconds.
POLL_EVERY = 1.0
# A commit of anybody who has written changes it, and nothing else does.
_SNAPSHOT = "SELECT pg_current_snapshot()::TEXT"
KINDS: dict[str, HintKind] = {kind: kind for kind in get_args(HintKind)}


class PostgresNotifier:
    """Listens for this process, and rings at the others. Any thread may use it."""

    def __init__(self, address: Address, *, patience: float = PATIENCE) -> None:
        self._address = address.for_hints
        # A pooler's session is lent for one transaction, so nothing can be heard in it.
        self.polls = self._address.pool == "transaction"
        self._snapshot = ""
        self._patience = patience
        self._add_up_at = 0.0
        self._pause = ADD_UP_EVERY
        self._forget_at = time.monotonic() + random.random() * FORGET_EVERY  # noqa: S311 - jitter
        self._changed = threading.Condition()
        self._listeners = Listeners()
        self._wanted: set[HintKind] = set()
        self._listened: set[HintKind] = set()
        # The subjects by kind; None means "any".
        self._ringing: dict[HintKind, dict[str, None] | None] = {}
        self._has_tallied = self._is_closing = self._is_waking = False
        self._thread: threading.Thread | None = None
        self._waker: socket.socket | None = None

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds from any process; returns how to stop.

        Once this has returned, no hint is missed, unless the server cannot be reached.
        """
        with self._changed:
            stop = self._listeners.add(kinds, listener)
            self._wanted.update(kinds)
            self._wake()
            self._changed.wait_for(lambda: self._listened.issuperset(kinds), JOIN)
        return stop

    def notify(self, hint: Hint) -> None:
        """Tell everybody, here and in other processes."""
        self._listeners.tell(hint)
        with self._changed:
            is_awake = bool(self._ringing)
            self._add(hint.kind, dict.fromkeys(hint.subjects) or None)
            if not is_awake:
                self._wake()

    def note_tally(self) -> None:
        """Have the counts added up soon, if this process has hints to send, too.

        One without, such as a sidecar that renews leases, needs no second connection.
        """
        if not self._has_tallied:
            with self._changed:
                self._has_tallied = True
                if self._thread is not None:
                    self._wake()

    def close(self) -> None:
        """Send what is to be sent, then stop listening."""
        with self._changed:
            if self._is_closing:
                return
            self._is_closing = True
            self._listeners.clear()
            if self._thread is None:
                return
            self._wake()
        if self._thread is not threading.current_thread():
            self._thread.join(JOIN)
        if self._waker is not None:
            self._waker.close()

    def _wake(self) -> None:
        """Wake the thread, or start it. Call it with the lock."""
        if self._thread is None and not self._is_closing:
            self._waker, woken = socket.socketpair()
            self._waker.setblocking(False)  # noqa: FBT003 - the standard library's own parameter
            thread = threading.Thread(
                target=self._serve, args=(woken,), name="conveyor-notifier", daemon=True
            )
            thread.start()
            self._thread = thread
        elif self._waker is not None and not self._is_waking:
            self._is_waking = True
            with suppress(OSError):
                self._waker.send(b"x")

    def _add(self, kind: HintKind, subjects: dict[str, None] | None) -> None:
        known = self._ringing.setdefault(kind, {})
        if known is None or subjects is None or len(known) + len(subjects) > MOST_SUBJECTS:
            self._ringing[kind] = None
        else:
            known.update(subjects)

    def _serve(self, woken: socket.socket) -> None:
        missed = False
        with woken, selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            while not self._is_closing or self._ringing:
                with suppress(UnavailableError, psycopg.Error, OSError):
                    connection = Connection(self._address)
                    try:
                        self._attend(connection, selector, woken, missed=missed)
                        return
                    finally:
                        connection.close()
                missed = True
                if self._is_closing:
                    return
                selector.select(RECONNECT_EVERY)
                self._take_wakes(woken)

    def _attend(
        self,
        connection: Connection,
        selector: selectors.BaseSelector,
        woken: socket.socket,
        *,
        missed: bool,
    ) -> None:
        """Listen and ring on one connection until this is closed, or the connection lost."""
        own = connection.session.info.backend_pid
        connection.session.limit = self._patience
        # For those that arrive with the answer to a statement.
        connection.session.add_notify_handler(lambda note: self._hear(note, own))
        self._snapshot = ""
        descriptor = connection.session.fileno()
        selector.register(descriptor, selectors.EVENT_READ)
        try:
            self._listen_to(connection, self._wanted)
            if missed:
                for kind in tuple(self._wanted):
                    self._listeners.tell(Hint(kind))
            rung = polled = -POLL_EVERY
            heard = time.monotonic()
            while True:
                self._listen_to(connection, self._wanted - self._listened)
                now = time.monotonic()
                if self.polls and now >= polled + POLL_EVERY:
                    self._poll(connection)
                    polled = now
                if self._ringing and (now >= rung + WINDOW or self._is_closing):
                    is_rung = self._ring(connection)
                    rung = now if is_rung else now + RECONNECT_EVERY
                if self._has_tallied and now >= self._add_up_at:
                    self._add_up(connection)
                if now >= self._forget_at:
                    self._forget_marks(connection)
                if self._is_closing and not self._ringing:
                    return
                if now >= heard + self._patience:
                    connection.script(b"SELECT")
                    heard = now
                due = [heard + self._patience]
                due += [rung + WINDOW] if self._ringing else []
                due += [self._add_up_at] if self._has_tallied else []
                due += [polled + POLL_EVERY] if self.polls and self._listeners else []
                selector.select(max(0.0, min(due) - time.monotonic()))
                self._take_wakes(woken)
                self._receive(connection, own)
        finally:
            selector.unregister(descriptor)
            with self._changed:
                self._listened = set()

    def _take_wakes(self, woken: socket.socket) -> None:
        with self._changed:
            if self._is_waking:
                self._is_waking = False
                woken.recv(100)

    def _listen_to(self, connection: Connection, kinds: set[HintKind]) -> None:
        if kinds:
            if self.polls:
                self._snapshot = self._snapshot or _snapshot(connection)
            else:
                names = (f'LISTEN "{_channel(self._address, kind)}"' for kind in sorted(kinds))
                connection.script("; ".join(names).encode())
            with self._changed:
                self._listened |= kinds
                self._changed.notify_all()

    def _poll(self, connection: Connection) -> None:
        """Have everybody look if anything was committed since the last time."""
        if self._listeners:
            known, self._snapshot = self._snapshot, _snapshot(connection)
            if self._snapshot != known:
                for kind in tuple(self._wanted):
                    self._listeners.tell(Hint(kind))

    def _ring(self, connection: Connection) -> bool:
        """Send the hints; False if the server has no room for them now."""
        with self._changed:
            ringing, self._ringing = self._ringing, {}
        hints = [Hint(kind, tuple(subjects or ())) for kind, subjects in ringing.items()]
        try:
            connection.query("ring", encode_hints(self._address, hints))
        except BaseException as error:
            with self._changed:
                for kind, subjects in ringing.items():
                    self._add(kind, subjects)
            if not isinstance(error, psycopg.errors.ProgramLimitExceeded) or self._is_closing:
                raise
            # The server's queue is full, because some session reads nothing. Once that has ended,
            # the queue stays full until somebody asks how full it is.
            connection.script(b"SELECT pg_notification_queue_usage()")
            return False
        return True

    def _add_up(self, connection: Connection) -> None:
        """Add up what has changed; ask more and more rarely while nothing does."""
        self._has_tallied = False
        queues = connection.query("tallied_queues")
        patience = LOCK_PATIENCE
        for (queue,) in queues:
            try:
                connection.query("add_up", {"queue": queue, "patience": patience})
                connection.query("add_up_past", {"queue": queue})
            except psycopg.errors.LockNotAvailable:
                connection.roll_back()
                # Hints do not wait for each of several queues.
                self._has_tallied, patience = True, NO_PATIENCE
        self._pause = ADD_UP_EVERY if queues else min(2 * self._pause, LONGEST_PAUSE)
        self._add_up_at = time.monotonic() + self._pause

    def _forget_marks(self, connection: Connection) -> None:
        self._forget_at = time.monotonic() + FORGET_EVERY
        try:
            if run_sync(connection.change("forget_marks", [()])) == MARKS:
                self._forget_at = time.monotonic() + ADD_UP_EVERY
            connection.query("forget_completions")
        except psycopg.errors.InsufficientPrivilege:  # processes of other roles forget them
            connection.roll_back()

    def _receive(self, connection: Connection, own: int) -> None:
        """Pass on the notifications that have arrived, without waiting for more."""
        session = connection.session.pgconn
        session.consume_input()
        while (note := session.notifies()) is not None:
            channel, payload = note.relname.decode(), note.extra.decode()
            self._hear(psycopg.Notify(channel, payload, note.be_pid), own)

    def _hear(self, note: psycopg.Notify, own: int) -> None:
        if note.pid != own:  # this process was told already
            kind = KINDS.get(note.channel.rpartition(".")[2])
            if kind is not None:
                subjects = tuple(map(unescape, note.payload.split(SEPARATOR)))
                self._listeners.tell(Hint(kind, subjects if note.payload else ()))


def encode_hints(address: Address, hints: Iterable[Hint]) -> tuple[list[str], list[str]]:
    """Return the channels and the payloads of NOTIFY for some hints."""
    channels: list[str] = []
    payloads: list[str] = []
    for hint in hints:
        payload = SEPARATOR.join(map(escape, hint.subjects))
        channels.append(_channel(address, hint.kind))
        payloads.append(payload if len(payload.encode()) <= LARGEST else "")
    return channels, payloads


def _snapshot(connection: Connection) -> str:
    [(text,)] = connection.session.execute(_SNAPSHOT, prepare=False).fetchall()
    return str(text)


def _channel(address: Address, kind: HintKind) -> str:
    return f"{address.schema}.{kind}"

"""The PostgreSQL driver: one schema of a database, any number of processes on any machine."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ...core.clock import Clock
from ...core.job import NewJob, WorkerInfo
from ...core.pending import Pending, in_event_loop
from ...core.retry import Draw
from ...system.file_owner import PRIVATE_DIRECTORY
from ...system.file_threads import FileThreads
from ..caller_connection import CallerConnection
from ..messages import (
    Accepted,
    Claimant,
    Exchanged,
    HintKind,
    Listener,
    Offered,
    Order,
    Report,
    Want,
    new_discards,
)
from ..move_mark import MARK, check_unmarked
from ..sql.operations.workers import beat_row, order_of
from ..sql.transaction import Tx
from .address import Address
from .caller_transaction import CallerTransaction
from .connection import Connection
from .contents import Contents
from .migrate import check_version
from .notifier import PostgresNotifier
from .quick_exchange import QuickExchange
from .transactions import General, Transactions, UndecidedError
from .waiting_inserts import SHARERS, WaitingInserts

T = TypeVar("T")

# How long a thread waits for another call before it exits, in seconds: longer than a worker waits
# between two looks at its queues.
LINGER = 5.0


class PostgresDriver:
    """The connections of this process to one schema."""

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock | None = None,
        draw: Draw = random.random,
        for_move: bool = False,
    ) -> None:
        self._address = address
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._left_behind: list[object] = []
        self.discards = new_discards()
        self.folder = _folder()
        self.blobs = Contents(self._transact)
        self._open()
        try:
            self._current.check(check_version)
            if not for_move:
                self._current.check(_check_unmarked)
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The address by which another process reaches the same jobs."""
        return self._address.url

    def now(self) -> float:
        """Return the time by the server's clock."""
        return self._current.now()

    def submit(
        self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool
    ) -> Pending[T]:
        """Run an operation completely or not at all: here, or in a thread for an event loop."""
        transactions = self._current
        return self._threads.run(lambda: transactions.run(operation, reads=reads))

    def insert(
        self, jobs: Sequence[NewJob], capacity: int | None, general: General
    ) -> Pending[Accepted | Offered]:
        """Insert plain jobs in one round trip if possible, and otherwise by `general`."""
        transactions = self._current
        if in_event_loop():
            return self._inserts.add(jobs, capacity, general)
        return self._threads.run(lambda: transactions.insert(jobs, capacity, general))

    async def run_within(
        self,
        connection: CallerConnection,
        operation: Callable[[Tx], Coroutine[Any, Any, T]],
        *,
        rereads: str = "",
    ) -> T:
        """Run an operation in the transaction of the application's own connection."""
        caller = CallerTransaction(connection, self._address)
        value = await caller.run(operation, clock=self._clock, draw=self._draw, rereads=rereads)
        self._note_joined()
        return value

    async def insert_within(
        self, connection: CallerConnection, jobs: Sequence[NewJob], capacity: int | None
    ) -> bool:
        """Insert plain jobs in the transaction of the application's own connection.

        False if `run_within` must: nothing was inserted.
        """
        caller = CallerTransaction(connection, self._address)
        is_done = await caller.insert(jobs, capacity, clock=self._clock)
        if is_done:
            self._note_joined()
        return is_done

    def _note_joined(self) -> None:
        self._check_fork()
        self._notifier.note_tally()

    def exchange(
        self,
        reports: Sequence[Report],
        wants: Sequence[Want],
        claimant: Claimant,
        *,
        limit: int,
        general: Callable[[Tx], Coroutine[Any, Any, Exchanged]],
    ) -> Pending[Exchanged]:
        """Settle successes and claim in one round trip, or by `general` if that cannot decide."""
        transactions, quick = self._current, self._exchange

        def run() -> Exchanged:
            try:
                return quick.run(reports, wants, claimant, limit=limit)
            except UndecidedError:
                quick.forget([want.queue for want in wants])
                return transactions.run(general, reads=False)

        return self._threads.run(run)

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        """Record a worker's heartbeat in one round trip; returns its order."""
        transactions = self._current

        def run() -> Order:
            row = beat_row(worker, self._clock.now() if self._clock else None)
            return order_of(transactions.run_alone("beat", row))

        return self._threads.run(run)

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds from any process; returns how to stop."""
        self._check_fork()
        return self._notifier.listen(kinds, listener)

    def close(self) -> None:
        """Send the last hints, then close the connections."""
        self._notifier.close()
        self._transactions.close()

    @property
    def _current(self) -> Transactions:
        self._check_fork()
        return self._transactions

    def _transact(self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool) -> T:
        return self._current.run(operation, reads=reads)

    def _open(self) -> None:
        self._notifier = PostgresNotifier(self._address)
        self._threads = FileThreads(self._address.connections, linger=LINGER)
        self._transactions = Transactions(
            self._address,
            clock=self._clock,
            draw=self._draw,
            notify=self._notifier.notify,
            tallied=self._notifier.note_tally,
            discards=self.discards,
        )
        self._inserts = WaitingInserts(
            self._transactions, self._threads, sharers=min(SHARERS, self._address.connections)
        )
        self._exchange = QuickExchange(self._transactions)

    def _check_fork(self) -> None:
        if self._transactions.pid != os.getpid():
            with self._lock:
                if self._transactions.pid != os.getpid():
                    # A forked child. Closing the parent's connections here would end its sessions.
                    self._left_behind += [self._transactions, self._notifier]
                    self._open()


def _check_unmarked(connection: Connection) -> None:
    check_unmarked(connection.address.url, connection.query("leader", (MARK,)))


def _folder() -> str:
    """Return where workers on this machine leave files for each other; "" if nowhere is safe.

    One folder for all stores: its files have the names of workers, which are unique, and one
    database has many addresses.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    private = os.path.join(base, f"conveyor-{os.geteuid()}")
    try:
        os.makedirs(private, PRIVATE_DIRECTORY, exist_ok=True)
        seen = os.lstat(private)
    except OSError:
        return ""
    is_ours = seen.st_uid == os.geteuid() and not seen.st_mode & 0o022 and os.path.isdir(private)
    return os.path.join(private, "postgres.workers") if is_ours else ""

"""The PostgreSQL driver: one schema of a database, any number of processes on any machine."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What one process has opened. Replaced as a whole: no thread uses a part of the parent's."""

    pid: int
    notifier: PostgresNotifier
    threads: FileThreads
    transactions: Transactions
    inserts: WaitingInserts
    exchange: QuickExchange

    def close(self) -> None:
        self.notifier.close()
        self.transactions.close()


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
        self._left_behind: list[_Opened] = []
        self._is_closed = False
        self.discards = new_discards()
        self.folder = _folder()
        self.blobs = Contents(self._transact)
        self._opened = self._open()
        try:
            self._opened.transactions.check(check_version)
            if not for_move:
                self._opened.transactions.check(_check_unmarked)
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The address by which another process reaches the same jobs."""
        return self._address.url

    def now(self) -> float:
        """Return the time by the server's clock."""
        return self._current.transactions.now()

    def submit(
        self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool
    ) -> Pending[T]:
        """Run an operation completely or not at all: here, or in a thread for an event loop."""
        opened = self._current
        return opened.threads.run(lambda: opened.transactions.run(operation, reads=reads))

    def insert(
        self, jobs: Sequence[NewJob], capacity: int | None, general: General
    ) -> Pending[Accepted | Offered]:
        """Insert plain jobs in one round trip if possible, and otherwise by `general`."""
        opened = self._current
        if in_event_loop():
            return opened.inserts.add(jobs, capacity, general)
        return opened.threads.run(lambda: opened.transactions.insert(jobs, capacity, general))

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
        self._current.notifier.note_tally()

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
        opened = self._current

        def run() -> Exchanged:
            try:
                return opened.exchange.run(reports, wants, claimant, limit=limit)
            except UndecidedError:
                opened.exchange.forget([want.queue for want in wants])
                return opened.transactions.run(general, reads=False)

        return opened.threads.run(run)

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        """Record a worker's heartbeat in one round trip; returns its order."""
        opened = self._current

        def run() -> Order:
            row = beat_row(worker, self._clock.now() if self._clock else None)
            return order_of(opened.transactions.run_alone("beat", row))

        return opened.threads.run(run)

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds from any process; returns how to stop."""
        return self._current.notifier.listen(kinds, listener)

    def close(self) -> None:
        """Send the last hints, then close the connections."""
        self._is_closed = True
        self._current.close()

    @property
    def _current(self) -> _Opened:
        if self._opened.pid != os.getpid():
            with self._lock:
                if self._opened.pid != os.getpid():
                    # A forked child. Closing the parent's connections here would end its sessions.
                    self._left_behind.append(self._opened)
                    opened = self._open()
                    if self._is_closed:
                        opened.close()
                    self._opened = opened
        return self._opened

    def _transact(self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool) -> T:
        return self._current.transactions.run(operation, reads=reads)

    def _open(self) -> _Opened:
        notifier = PostgresNotifier(self._address)
        threads = FileThreads(self._address.connections, linger=LINGER)
        transactions = Transactions(
            self._address,
            clock=self._clock,
            draw=self._draw,
            notify=notifier.notify,
            tallied=notifier.note_tally,
            discards=self.discards,
        )
        sharers = min(SHARERS, self._address.connections)
        return _Opened(
            pid=os.getpid(),
            notifier=notifier,
            threads=threads,
            transactions=transactions,
            inserts=WaitingInserts(transactions, threads, sharers=sharers),
            exchange=QuickExchange(transactions),
        )


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

"""Runs operations in transactions: on any thread, again after a conflict or a lost connection."""

from __future__ import annotations

import random
import threading
import time
from collections import ChainMap
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import errors

from ...core.clock import Clock
from ...core.job import NewJob
from ...core.job_context import check_stop, waiting_for
from ...core.pending import run_sync
from ...core.retry import Draw
from ...core.storable import check_jobs
from ...core.unreadable import UNREADABLE
from ...errors import CorruptStoreError, UnavailableError, UsageError
from ..messages import Accepted, Discards, Hint, Offered
from ..sql.executor import Params
from ..sql.rows import Row
from ..sql.transaction import ConflictError, Lanes, Tx
from . import quick_insert
from .address import Address
from .connection import Connection, LostError, UnknownOutcomeError, new_mark
from .pool import ConnectionPool

T = TypeVar("T")
Operation = Callable[[Tx], Coroutine[Any, Any, T]]


class General(Protocol):
    """Returns the operation that inserts jobs whatever has to be decided."""

    def __call__(self, *, again: bool) -> Operation[Accepted | Offered]:
        """`again`: also answer for jobs that are in the store already."""
        ...


# How long a call looks for the server before it says that it cannot be reached, in seconds.
PATIENCE = 20.0
LONGEST_PAUSE = 1.0
# How often an operation is run again because other transactions were faster.
CONFLICTS = 50
# A value that the database rejects. Another transaction may have been faster with the same key.
REFUSALS = errors.IntegrityError, errors.DataError, UnicodeEncodeError
REFUSED_TWICE = 5
CONFLICTING = errors.SerializationFailure, errors.DeadlockDetected, ConflictError
# How old what is known of the server's clock may be for an insert in one round trip, in seconds.
LOOK_AT_CLOCK_EVERY = 10.0
# How a function of the schema says that there is more to decide than it can.
UNDECIDED = "CV001"


class UndecidedError(UnavailableError):
    """The shared operation must decide; nothing was written."""


class Transactions:
    """The connections of one process. `notify` gets the hints of what was committed."""

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock | None,
        draw: Draw,
        notify: Callable[[Hint], None],
        tallied: Callable[[], None],
        discards: Discards,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._notify = notify
        self._tallied = tallied
        self._discards = discards
        self._pool = ConnectionPool(lambda: Connection(address), address.connections)
        self._lanes = Lanes()
        # The server's time less this machine's monotonic time.
        self._offset = 0.0
        self._looked_at = 0.0

    def now(self) -> float:
        """Return the time by the server's clock, as it was when it last began a transaction."""
        return self._clock.now() if self._clock else time.monotonic() + self._offset

    def run(self, operation: Operation[T], *, reads: bool) -> T:
        """Run an operation completely or not at all."""
        attempt = _Attempts()
        while True:
            try:
                return self._run_once(operation, attempt, reads=reads)
            except UnknownOutcomeError as error:
                # What `_run_once` would have returned is in the error.
                if self._was_committed(error.mark):
                    answer: T = self._finish(*error.args[1:])
                    return answer
            except LostError as error:
                self._pool.discard()
                attempt.wait_for_server(error)
            except CONFLICTING as error:
                attempt.note_conflict(error)
            except errors.LockNotAvailable:
                attempt.passes_over = True
            except REFUSALS as error:
                attempt.note_refusal(error)

    def insert(
        self,
        jobs: Sequence[NewJob],
        capacity: int | None,
        general: General,
        *,
        in_doubt: bool = False,
    ) -> Accepted | Offered:
        """Insert plain jobs in one round trip if possible, and otherwise by the general operation.

        If the answer was lost, the general operation also answers for jobs that are there already.
        """
        check_jobs(jobs)
        if in_doubt:
            return self.run(general(again=True), reads=False)
        try:
            with self._pool.connection() as connection:
                try:
                    if self._insert_plain(connection, jobs, capacity):
                        return quick_insert.answer(jobs)
                except (psycopg.Error, UnicodeEncodeError):
                    # Whatever is wrong, the general operation finds out and says.
                    in_doubt = connection.is_lost
        except LostError:
            self._pool.discard()
        return self.run(general(again=in_doubt), reads=False)

    def insert_together(
        self, requests: Sequence[Sequence[NewJob]], capacity: int | None
    ) -> list[Accepted] | None:
        """Insert the plain jobs of several requests to one queue; None if each must go alone.

        UnknownOutcomeError if the answer was lost.
        """
        jobs = [new for request in requests for new in request]
        try:
            check_jobs(jobs)
        except UsageError:
            return None
        with self._pool.connection() as connection:
            try:
                done = self._insert_plain(connection, jobs, capacity)
            except (psycopg.Error, UnicodeEncodeError) as error:
                if connection.is_lost:
                    raise UnknownOutcomeError("") from error
                return None
        return [quick_insert.answer(request) for request in requests] if done else None

    def _insert_plain(
        self, connection: Connection, jobs: Sequence[NewJob], capacity: int | None
    ) -> bool:
        if not self._clock and time.monotonic() - self._looked_at > LOOK_AT_CLOCK_EVERY:
            self._look_at_clock(*connection.begin(reads=True))
            connection.roll_back()
        planned = quick_insert.plan_insert(jobs, capacity, self._lanes, self.now())
        if planned is None or not quick_insert.insert(connection, planned):
            return False
        self._tallied()
        for hint in quick_insert.hints(planned):
            self._notify(hint)
        return True

    def run_marked(self, name: str, given: Mapping[str, Any]) -> list[Row] | str:
        """Run a statement that is a transaction of its own, and leaves the mark that it is given.

        Returns its rows, or the mark if it was committed but the answer was lost. UndecidedError if
        another operation must decide.
        """
        attempt = _Attempts()
        while True:
            mark = new_mark(time.monotonic() + self._offset)
            bound = {**given, "mark": mark, "at": self._clock.now() if self._clock else None}
            try:
                with self._pool.connection() as connection:
                    return _query_marked(connection, name, bound)
            except UnknownOutcomeError:
                self._pool.discard()
                if self._was_committed(mark):
                    return mark
            except LostError as error:
                self._pool.discard()
                attempt.wait_for_server(error)
            except CONFLICTING as error:
                attempt.note_conflict(error)

    def run_alone(self, name: str, params: Params) -> list[Row]:
        """Run a statement that is a transaction of its own and may be repeated."""
        attempt = _Attempts()
        while True:
            try:
                with self._pool.connection() as connection:
                    try:
                        return connection.query(name, params)
                    except CONFLICTING:
                        raise
                    except psycopg.Error as error:
                        raise connection.translate(error) from error
            except LostError as error:
                self._pool.discard()
                attempt.wait_for_server(error)
            except CONFLICTING as error:
                attempt.note_conflict(error)

    def tell(self, *hints: Hint) -> None:
        """Send hints about what was committed, and have the counts added up."""
        self._tallied()
        for hint in hints:
            self._notify(hint)

    def check(self, check: Callable[[Connection], None]) -> None:
        """Look at the server and its clock; a server that cannot be reached is not waited for."""
        attempt = _Attempts()
        while True:
            is_reached = False
            try:
                with self._pool.connection() as connection:
                    is_reached = True
                    self._check(connection, check)
                    return
            except LostError as error:
                if not is_reached:
                    raise
                attempt.wait_for_server(error)

    def _check(self, connection: Connection, check: Callable[[Connection], None]) -> None:
        try:
            check(connection)
            self._look_at_clock(*connection.begin(reads=True))
        except psycopg.Error as error:
            raise connection.translate(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _run_once(self, operation: Operation[T], attempt: _Attempts, *, reads: bool) -> T:
        with self._pool.connection() as connection:
            try:
                return self._transact(connection, operation, attempt, reads=reads)
            except psycopg.Error as error:
                if isinstance(error, (*CONFLICTING, *REFUSALS)):
                    raise
                if isinstance(error, errors.LockNotAvailable) and not attempt.passes_over:
                    raise
                raise connection.translate(error) from error

    def _transact(
        self, connection: Connection, operation: Operation[T], attempt: _Attempts, *, reads: bool
    ) -> T:
        server_time, local_time = connection.begin(reads=reads)
        self._look_at_clock(server_time, local_time)
        now = self._clock.now() if self._clock else server_time
        lanes = _layer(self._lanes)
        careful, passes_over = attempt.refused > 0, attempt.passes_over
        tx = Tx(connection, lanes, now, self._draw, careful=careful, passes_over=passes_over)
        try:
            value = run_sync(operation(tx))
            run_sync(tx.write_tallies())
        except UNREADABLE as error:
            if isinstance(error, UnicodeEncodeError):
                raise
            raise CorruptStoreError(f"a row that this call needs is damaged: {error}") from error
        try:
            connection.commit(wrote=tx.wrote and not reads)
        except UnknownOutcomeError as error:
            error.args = (*error.args, tx, lanes, value)
            raise
        return self._finish(tx, lanes, value)

    def _look_at_clock(self, server_time: float, local_time: float) -> None:
        self._offset = server_time - local_time
        self._looked_at = local_time

    def _finish(self, tx: Tx, lanes: Lanes, value: T) -> T:
        """Do what follows a commit."""
        self._lanes.ids.update(lanes.ids)
        self._lanes.queues.update(lanes.queues)
        self._discards.extend(tx.discards)
        if tx.wrote:
            self._tallied()
        for kind, subjects in tx.hints.items():
            self._notify(Hint(kind, tuple(subjects)))
        return value

    def _was_committed(self, mark: str) -> bool:
        """Find out how the transaction of a mark ended whose COMMIT got no answer."""
        attempt = _Attempts()
        while True:
            try:
                with self._pool.connection() as connection:
                    return self._look_for(connection, mark)
            except UnavailableError as error:
                self._pool.discard()
                attempt.wait_for_server(error)

    def _look_for(self, connection: Connection, mark: str) -> bool:
        try:
            connection.query("deny_mark", (mark,))
            [(is_committed,)] = connection.query("mark", (mark,))
        except psycopg.Error as error:
            raise connection.translate(error) from error
        return bool(is_committed)


def _query_marked(connection: Connection, name: str, given: Mapping[str, Any]) -> list[Row]:
    try:
        return connection.query(name, given)
    except CONFLICTING:
        raise
    except psycopg.Error as error:
        if error.sqlstate == UNDECIDED or isinstance(error, REFUSALS):
            raise UndecidedError(str(error)) from error
        if connection.is_lost:
            raise UnknownOutcomeError(str(given["mark"])) from error
        raise connection.translate(error) from error


class _Attempts:
    """How often one call was tried, and why it is given up."""

    def __init__(self) -> None:
        self.refused = 0
        # Whether another transaction holds a queue for long.
        self.passes_over = False
        self._conflicts = 0
        self._until = time.monotonic() + PATIENCE
        self._pause = 0.0

    def wait_for_server(self, error: Exception) -> None:
        """Pause before the next attempt; a job that is asked to stop does not wait any more."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise error
        stopped = threading.Event()
        with waiting_for("the PostgreSQL server", stopped):
            check_stop()
            stopped.wait(min(self._pause, left))
        check_stop()
        self._pause = min(max(2 * self._pause, 0.05), LONGEST_PAUSE)

    def note_conflict(self, error: Exception) -> None:
        self._conflicts += 1
        if self._conflicts == CONFLICTS:
            if isinstance(error, ConflictError):
                raise error
            raise ConflictError(f"too many transactions conflict: {error}") from error
        time.sleep(random.random() * min(0.001 * 2**self._conflicts, 0.1))  # noqa: S311 - jitter

    def note_refusal(self, error: Exception) -> None:
        self.refused += 1
        if self.refused == REFUSED_TWICE:
            raise UsageError(f"the database rejected a value: {error}") from error


def _layer(lanes: Lanes) -> Lanes:
    """Return lanes that know all of `lanes`, and keep to themselves what they learn.

    A lane is known to others only once the transaction that made it is committed.
    """
    layer = Lanes()
    layer.ids, layer.queues = ChainMap({}, lanes.ids), ChainMap({}, lanes.queues)
    return layer

"""The only writer: all waiting operations are committed together (group commit).

A commit costs one fsync, whether it holds one operation or a thousand. Operations queue for one
thread, and the longer an fsync takes, the more operations share the next one. A blocking caller
that finds the queue empty runs its operation itself, without waking the thread.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import apsw

from ...core.clock import Clock
from ...core.pending import Pending, failed, in_event_loop, run_sync, wake
from ...core.retry import Draw
from ...core.unreadable import UNREADABLE
from ...errors import ConveyorError, CorruptStoreError, UnavailableError, UsageError
from ..messages import Discards, Hint
from ..move_mark import FROZEN
from ..sql.transaction import Lanes, Tx
from .connection import Database

T = TypeVar("T")
Operation = Callable[[Tx], Coroutine[Any, Any, T]]

MOST_AT_ONCE = 1000
# A value that the database rejects must not fail the other operations of the transaction.
REFUSALS = apsw.ConstraintError, OverflowError
# A damaged row fails the operation that needs it, and no other one of the transaction.
JOIN = 30.0


class _Call:
    """One submitted operation and its pending answer."""

    __slots__ = ("operation", "pending", "reads")

    def __init__(self, operation: Operation[Any], *, reads: bool) -> None:
        self.operation = operation
        self.reads = reads
        self.pending: Pending[Any] = Pending()


_Answer = tuple[_Call, Any, ConveyorError | None]


class _HalfDoneError(Exception):
    """An operation failed after it had written, and there is no savepoint to roll back to."""


class Writer:
    """Owns the connection. `notify` gets the hints of what was committed, in any thread.

    `discards` gets the jobs that were discarded; they are logged elsewhere, because a handler that
    called the store here would wait for itself.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        notify: Callable[[Hint], None],
        discards: Discards,
        draw: Draw = random.random,
    ) -> None:
        self.pid = os.getpid()
        self._db = db
        self._clock = clock
        self._notify = notify
        self._discards = discards
        self._draw = draw
        self._lanes = Lanes()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._closed = False
        self._unfinished = 0
        self._queue_lock = threading.Lock()
        self._transaction_lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="conveyor-sqlite", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T], *, reads: bool) -> Pending[T]:
        """Run an operation completely or not at all, in the order of the calls.

        `reads` promises that it changes nothing.
        """
        call = _Call(operation, reads=reads)
        with self._queue_lock:
            if self._closed:
                return failed(UnavailableError(f"{self._db.path} was closed"))
            alone = self._unfinished == 0 and not in_event_loop()
            self._unfinished += 1
            if not alone:
                self._calls.put(call)
        if alone:
            self._perform([call])
        return call.pending

    def close(self) -> None:
        """Run the waiting operations, then release the file."""
        with self._queue_lock:
            if self._closed:
                return
            self._closed = True
            self._calls.put(None)
        self._thread.join(JOIN)

    def _serve(self) -> None:
        going = True
        while going:
            calls: list[_Call] = []
            going = self._collect(calls)
            if calls:
                self._perform(calls)
        with self._transaction_lock:
            self._db.close()

    def _collect(self, calls: list[_Call]) -> bool:
        """Collect all waiting calls; returns False once the writer was closed."""
        call = self._calls.get()
        while call is not None:
            calls.append(call)
            if len(calls) == MOST_AT_ONCE:
                return True
            try:
                call = self._calls.get_nowait()
            except Empty:
                return True
        return False

    def _perform(self, calls: list[_Call]) -> None:
        try:
            with self._transaction_lock:
                self._transact_and_answer(calls)
        finally:
            with self._queue_lock:
                self._unfinished -= len(calls)

    def _transact_and_answer(self, calls: list[_Call]) -> None:
        try:
            try:
                answers, hints = self._transact(calls, careful=False)
            except _HalfDoneError:
                self._lanes.forget()
                answers, hints = self._transact(calls, careful=True)
        except Exception as error:  # noqa: BLE001 - callers wait: whatever it is must reach them
            self._lanes.forget()
            looks = [call for call in calls if call.reads]
            if len(looks) == len(calls):
                self._fail(looks, error)
                return
            self._fail([call for call in calls if not call.reads], error)
            if looks:  # a full disk, say, can still be read
                self._transact_and_answer(looks)
            return
        except BaseException:  # Ctrl-C in a caller that carries out its own call
            self._lanes.forget()
            raise
        for call, value, refusal in answers:
            if refusal is None:
                call.pending.resolve(value)
            else:
                call.pending.fail(refusal)
        wake([call.pending for call in calls])
        for hint in hints:
            self._notify(hint)

    def _transact(self, calls: list[_Call], *, careful: bool) -> tuple[list[_Answer], list[Hint]]:
        """Run the calls in one transaction.

        A savepoint costs as much as an operation, and few operations fail after they have
        written. So none is set unless `careful`; _HalfDoneError asks for a careful second run.
        """
        tx = Tx(self._db, self._lanes, self._clock.now(), self._draw, careful=careful)
        reads = all(call.reads for call in calls)
        run = self._run_with_care if careful else self._run
        with self._db.reading() if reads else self._db.writing():
            answers = [run(call, tx) for call in calls]
            try:
                _drive(tx.write_tallies())
            except UsageError as error:  # from a deferred statement
                raise _HalfDoneError from error
        self._discards.extend(tx.discards)
        return answers, [Hint(kind, tuple(subjects)) for kind, subjects in tx.hints.items()]

    def _run(self, call: _Call, tx: Tx) -> _Answer:
        tx.wrote = False
        try:
            return call, _drive(call.operation(tx)), None
        except ConveyorError as error:
            # A statement deferred by an earlier operation may have failed in this one.
            if tx.wrote or isinstance(error.__cause__, REFUSALS):
                raise _HalfDoneError from error
            return call, None, error

    def _run_with_care(self, call: _Call, tx: Tx) -> _Answer:
        tx.save_counts()
        self._db.savepoint()
        try:
            value = _drive(call.operation(tx))
            _drive(tx.run_deferred())
        except ConveyorError as error:
            self._db.roll_back_to_savepoint()
            tx.restore_counts()
            self._lanes.forget()
            return call, None, error
        self._db.release_savepoint()
        return call, value, None

    def _fail(self, calls: list[_Call], error: Exception) -> None:
        for call in calls:
            call.pending.fail(error)
        wake([call.pending for call in calls])


def _drive(work: Coroutine[Any, Any, T]) -> T:
    try:
        return run_sync(work)
    except REFUSALS as error:
        if FROZEN in str(error):
            raise UnavailableError(f"this store is closed: {FROZEN}") from error
        raise UsageError(f"the database rejected a value: {error}") from error
    except UNREADABLE as error:
        raise CorruptStoreError(f"a row that this call needs is damaged: {error}") from error

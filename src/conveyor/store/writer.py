"""The one thread that writes: everything that waits is committed together (group commit).

A commit costs one fsync, whether it holds one operation or a thousand; so callers queue here, and
the longer an fsync takes the more of them share the next one.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import apsw

from ..clock import Clock
from ..errors import ConveyorError, UnavailableError, UsageError
from ..pending import Pending, failed, run_sync, wake
from ..retry import Draw
from .database import Database
from .protocol import Hint
from .transaction import Lanes, Tx

T = TypeVar("T")
Operation = Callable[[Tx], Coroutine[Any, Any, T]]

MOST_AT_ONCE = 1000
JOIN = 30.0


class _Call:
    """One operation that somebody waits for."""

    __slots__ = ("operation", "pending", "reads")

    def __init__(self, operation: Operation[Any], *, reads: bool) -> None:
        self.operation = operation
        self.reads = reads
        self.pending: Pending[Any] = Pending()


class Writer:
    """Owns the connection. `tell` gets the hints of what was committed, in the writer's thread."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        tell: Callable[[Hint], None],
        draw: Draw = random.random,
    ) -> None:
        self.pid = os.getpid()
        self._db = db
        self._clock = clock
        self._tell = tell
        self._draw = draw
        self._lanes = Lanes()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._closed = False
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="conveyor-sqlite", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T], *, reads: bool) -> Pending[T]:
        """Have an operation carried out wholly or not at all, in the order of the calls.

        `reads` promises that it changes nothing.
        """
        call = _Call(operation, reads=reads)
        with self._gate:
            if self._closed:
                return failed(UnavailableError(f"{self._db.path} was closed"))
            self._calls.put(call)
        return call.pending

    def close(self) -> None:
        """Carry out what waits, then let go of the file."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._calls.put(None)
        self._thread.join(JOIN)

    def _serve(self) -> None:
        going = True
        while going:
            calls: list[_Call] = []
            going = self._gather(calls)
            if calls:
                self._carry_out(calls)
        self._db.close()

    def _gather(self, calls: list[_Call]) -> bool:
        """Wait for a call and take all that are there; say whether to go on."""
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

    def _carry_out(self, calls: list[_Call]) -> None:
        tx = Tx(self._db, self._lanes, self._clock.now(), self._draw)
        answers: list[tuple[_Call, Any, ConveyorError | None]] = []
        reads = all(call.reads for call in calls)
        try:
            with self._db.reading() if reads else self._db.writing():
                for call in calls:
                    answers.append(self._run(call, tx, alone=reads or len(calls) == 1))
                run_sync(tx.write_tallies())
        except Exception as error:  # noqa: BLE001 - callers wait: whatever it is must reach them
            self._lanes.forget()
            self._fail(calls, error)
            return
        for call, value, refusal in answers:
            if refusal is None:
                call.pending.resolve(value)
            else:
                call.pending.fail(refusal)
        wake([call.pending for call in calls])
        for kind, subjects in tx.hints.items():
            self._tell(Hint(kind, tuple(subjects)))

    def _run(self, call: _Call, tx: Tx, *, alone: bool) -> tuple[_Call, Any, ConveyorError | None]:
        tx.begin_operation()
        if alone:
            return call, self._drive(call, tx), None
        self._db.savepoint()
        try:
            value = self._drive(call, tx)
        except ConveyorError as error:
            self._db.undo()
            tx.undo_operation()
            return call, None, error
        self._db.keep()
        return call, value, None

    def _drive(self, call: _Call, tx: Tx) -> Any:
        try:
            return run_sync(call.operation(tx))
        except apsw.ConstraintError as error:
            raise UsageError(f"the store refused it: {error}") from error

    def _fail(self, calls: list[_Call], error: Exception) -> None:
        for call in calls:
            call.pending.fail(error)
        wake([call.pending for call in calls])

"""Coroutines that enqueue at the same time share statements: all that came during the last one.

Two statements are under way at once, each with half of what waits: while the server inserts one
half, this process prepares the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from ...core.job import NewJob
from ...core.pending import Pending, wake
from ...errors import UnavailableError
from ...system.file_threads import FileThreads
from ..messages import Accepted, Offered
from .connection import LostError, UnknownOutcomeError
from .transactions import General, Transactions

# How many statements are under way at once.
SHARERS = 2
# What one statement takes at most: calls, jobs, and bytes of arguments.
MOST_CALLS, MOST_JOBS, MOST_BYTES = 500, 1000, 4 * 1024 * 1024


class _Insert:
    """One call and its pending answer."""

    __slots__ = ("capacity", "general", "jobs", "pending")

    def __init__(self, jobs: Sequence[NewJob], capacity: int | None, general: General) -> None:
        self.jobs = jobs
        self.capacity = capacity
        self.general = general
        self.pending: Pending[Accepted | Offered] = Pending()


class WaitingInserts:
    """The inserts of an event loop's coroutines, until one of at most `sharers` threads comes."""

    def __init__(self, transactions: Transactions, threads: FileThreads, *, sharers: int) -> None:
        self._transactions = transactions
        self._threads = threads
        self._lock = threading.Lock()
        self._idle = sharers
        # Threads that have been asked to come, and have not taken their share yet.
        self._coming = 0
        self._waiting: deque[_Insert] = deque()

    def add(
        self, jobs: Sequence[NewJob], capacity: int | None, general: General
    ) -> Pending[Accepted | Offered]:
        """Insert plain jobs of one queue soon; call it in an event loop."""
        call = _Insert(jobs, capacity, general)
        with self._lock:
            self._waiting.append(call)
            if not self._idle:
                return call.pending
            self._idle -= 1
            self._coming += 1
        started = self._threads.run(self._insert_waiting)
        # Without any thread, this fails at once.
        return call.pending if not started.done else self._give_up(call, started)

    def _insert_waiting(self) -> None:
        """Insert a share of what waits; come again if more does, after the others' operations."""
        try:
            by_queue: dict[tuple[str, int | None], list[_Insert]] = {}
            for call in self._take():
                by_queue.setdefault((call.jobs[0].queue, call.capacity), []).append(call)
            for calls in by_queue.values():
                self._insert(calls)
        finally:
            with self._lock:
                is_done = not self._waiting
                self._idle += is_done
                self._coming += not is_done
            if not is_done:
                self._threads.resume(self._insert_waiting)

    def _take(self) -> list[_Insert]:
        taken: list[_Insert] = []
        jobs = size = 0
        with self._lock:
            self._coming -= 1
            sharing = 1 + self._coming + self._idle
            share = min(MOST_CALLS, -(-len(self._waiting) // sharing))
            while len(taken) < share and jobs < MOST_JOBS and size < MOST_BYTES:
                taken.append(self._waiting.popleft())
                jobs += len(taken[-1].jobs)
                size += sum(len(new.args) for new in taken[-1].jobs)
        return taken

    def _insert(self, calls: list[_Insert]) -> None:
        answers: list[Accepted] | None = None
        in_doubt = False
        if len(calls) > 1:
            try:
                answers = self._transactions.insert_together(
                    [call.jobs for call in calls], calls[0].capacity
                )
            except UnavailableError as error:  # each call tries again for itself
                in_doubt = isinstance(error, UnknownOutcomeError)
            except Exception:  # noqa: BLE001 - whatever it is, each call gets its answer
                in_doubt = True
        if answers is not None:
            for call, answer in zip(calls, answers, strict=True):
                call.pending.resolve(answer)
        else:
            self._insert_each(calls, in_doubt=in_doubt)
        wake([call.pending for call in calls])

    def _insert_each(self, calls: list[_Insert], *, in_doubt: bool) -> None:
        lost: LostError | None = None
        for call in calls:
            try:
                if lost is not None:  # they have waited for the server together
                    raise LostError(str(lost)) from lost
                answer = self._transactions.insert(
                    call.jobs, call.capacity, call.general, in_doubt=in_doubt
                )
                call.pending.resolve(answer)
            except Exception as error:  # noqa: BLE001 - errors are answers too
                lost = error if isinstance(error, LostError) else None
                call.pending.fail(error)

    def _give_up(self, call: _Insert, started: Pending[None]) -> Pending[Accepted | Offered]:
        try:
            started.result()
        except RuntimeError as error:
            with self._lock:
                self._idle += 1
                self._coming -= 1
                if call in self._waiting:
                    self._waiting.remove(call)
                    call.pending.fail(error)
        return call.pending

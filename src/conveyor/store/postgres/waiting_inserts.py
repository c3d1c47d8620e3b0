"""Coroutines that enqueue at the same time share a statement: all that came during the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ...core.job import NewJob
from ...core.pending import Pending, wake
from ...errors import UnavailableError
from ...system.file_threads import FileThreads
from ..messages import Accepted, Offered
from .connection import UnknownOutcomeError
from .transactions import General, Transactions

# How many calls share a statement at most.
MOST_AT_ONCE = 500


class _Insert:
    """One call and its pending answer."""

    __slots__ = ("general", "jobs", "pending")

    def __init__(self, jobs: Sequence[NewJob], general: General) -> None:
        self.jobs = jobs
        self.general = general
        self.pending: Pending[Accepted | Offered] = Pending()


class WaitingInserts:
    """The inserts of an event loop's coroutines, until a thread takes them."""

    def __init__(self, transactions: Transactions, threads: FileThreads) -> None:
        self._transactions = transactions
        self._threads = threads
        self._waiting: deque[_Insert] = deque()

    def add(self, jobs: Sequence[NewJob], general: General) -> Pending[Accepted | Offered]:
        """Insert plain jobs of one queue soon; call it in an event loop."""
        call = _Insert(jobs, general)
        self._waiting.append(call)
        started = self._threads.run(self._insert_waiting)
        # Without any thread, this fails at once.
        return call.pending if not started.done else self._give_up(call, started)

    def _insert_waiting(self) -> None:
        by_queue: dict[str, list[_Insert]] = {}
        for _ in range(MOST_AT_ONCE):
            try:
                call = self._waiting.popleft()
            except IndexError:  # another thread took the rest
                break
            by_queue.setdefault(call.jobs[0].queue, []).append(call)
        for calls in by_queue.values():
            self._insert(calls)

    def _insert(self, calls: list[_Insert]) -> None:
        answers: list[Accepted] | None = None
        in_doubt = False
        if len(calls) > 1:
            try:
                answers = self._transactions.insert_together([call.jobs for call in calls])
            except UnavailableError as error:  # each call tries again for itself
                in_doubt = isinstance(error, UnknownOutcomeError)
        if answers is not None:
            for call, answer in zip(calls, answers, strict=True):
                call.pending.resolve(answer)
        else:
            for call in calls:
                self._insert_alone(call, in_doubt=in_doubt)
        wake([call.pending for call in calls])

    def _insert_alone(self, call: _Insert, *, in_doubt: bool) -> None:
        try:
            answer = self._transactions.insert(call.jobs, call.general, in_doubt=in_doubt)
            call.pending.resolve(answer)
        except Exception as error:  # noqa: BLE001 - errors are answers too
            call.pending.fail(error)

    def _give_up(self, call: _Insert, started: Pending[None]) -> Pending[Accepted | Offered]:
        try:
            started.result()
        except RuntimeError as error:
            if call in self._waiting:
                self._waiting.remove(call)
                call.pending.fail(error)
        return call.pending

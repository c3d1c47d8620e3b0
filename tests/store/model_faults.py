"""Memory stores with a planted fault each, which the model test must notice, and its callbacks."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from conveyor.core.job import Callback
from conveyor.core.lifecycle import Failed, Interrupted, Snoozed
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Report

# Unique keys of jobs, and what calls do to their holders.
KEYS: list[dict[str, Any]] = [
    *({}, {}, {}, {"key": "k"}, {"key": "l"}),
    *({"key": "k", "on_conflict": wish} for wish in ("join", "replace", "postpone")),
    {"key": "l", "on_conflict": "replace"},
    {"key": "k", "on_conflict": "postpone", "postpone_limit": 5.0},
]
ALERT = Callback(on="discarded", task="alert", parameter="ended", queue="c")
# Its jobs enter a bounded queue, and may be claimed and end there.
AFTER = Callback(on="finished", task="after", parameter="ended", queue="a", priority=1)


class Faulty(MemoryStore):
    """Looks at each report before the store does, and may meddle."""

    def settle(self, reports: Any) -> Any:
        return super().settle([self.meddled(report) for report in reports])

    def exchange(self, reports: Any, wants: Any, claimant: Any, *, limit: int) -> Any:
        return super().exchange(
            [self.meddled(each) for each in reports], wants, claimant, limit=limit
        )

    def meddled(self, report: Report) -> Report:
        return report

    def change(self, job_id: str, **changes: Any) -> None:
        books = self._memory.index
        if job_id in books.jobs:
            books.jobs[job_id] = msgspec.structs.replace(books.jobs[job_id], **changes)


class NoFence(Faulty):
    def meddled(self, report: Report) -> Report:
        job = self._memory.index.jobs.get(report.id)
        return report if job is None else Report(report.id, job.lease, report.outcome)


class OneTooMany(MemoryStore):
    def insert(self, jobs: Any, *, capacity: Any = None, **how: Any) -> Any:
        more = None if capacity is None else capacity + 1
        return super().insert(jobs, capacity=more, **how)


class ReleaseCounts(Faulty):
    def meddled(self, report: Report) -> Report:
        if isinstance(report.outcome, Interrupted):
            self.change(report.id, attempt=self._memory.index.jobs[report.id].attempt + 1)
        return report


class ForgetsKeys(MemoryStore):
    def insert(self, jobs: Any, **how: Any) -> Any:
        self._memory.index._keys.clear()
        return super().insert(jobs, **how)


class ConfirmsAll(MemoryStore):
    def claim(self, wants: Any, claimant: Any, *, limit: int) -> Any:
        return super().claim(
            wants, msgspec.structs.replace(claimant, confirm_within=None), limit=limit
        )


class InsertsTwice(MemoryStore):
    def insert(self, jobs: Any, **how: Any) -> Any:
        return super().insert(jobs, **{**how, "again": False})


class LastComesFirst(MemoryStore):
    def _run(self, *args: Any, **kwargs: Any) -> Any:
        for queue in self._memory.queues.values():
            queue.offers = deque(sorted(queue.offers, key=int, reverse=True))
        return super()._run(*args, **kwargs)


class CancelForgotten(Faulty):
    def meddled(self, report: Report) -> Report:
        if isinstance(report.outcome, Failed | Snoozed | Interrupted):
            self.change(report.id, cancel_requested_at=None)
        return report


class ForgetsCallbacks(Faulty):
    def meddled(self, report: Report) -> Report:
        if isinstance(report.outcome, Failed):
            self._memory.callbacks.pop(report.id, None)
        return report


FAULTY = (
    NoFence,
    OneTooMany,
    ReleaseCounts,
    ForgetsKeys,
    LastComesFirst,
    CancelForgotten,
    ConfirmsAll,
    InsertsTwice,
    ForgetsCallbacks,
)

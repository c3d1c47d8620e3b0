"""Stores with one broken part each, for the planted faults of faults.py."""

from __future__ import annotations

from typing import Any

import msgspec

from conveyor.core.job import JobRecord, State, WorkerInfo
from conveyor.core.lifecycle import Interrupted
from conveyor.core.pending import Pending
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Lease, Report


class Broken(MemoryStore):
    """A memory store that lets a fault look into its books."""

    @property
    def books(self) -> Any:
        return self._memory.index

    def put(self, job: JobRecord, **changed: Any) -> None:
        self.books.put(msgspec.structs.replace(job, **changed))

    def running(self) -> list[JobRecord]:
        return list(self.books.running_jobs())


class SettlesAnyLease(Broken):
    def exchange(self, reports: Any, *rest: Any, **more: Any) -> Any:
        now = {job.id: job.lease for job in self.running()}
        reports = [Report(each.id, now.get(each.id, each.lease), each.outcome) for each in reports]
        return super().exchange(reports, *rest, **more)


class ExtendsAnyLease(Broken):
    def extend(self, leases: Any, *, lease_for: float) -> Any:
        now = {job.id: job.lease for job in self.running()}
        leases = [Lease(each.id, now.get(each.id, each.lease)) for each in leases]
        return super().extend(leases, lease_for=lease_for)


class RescuesAll(Broken):
    def rescue(self, *, dead: Any = (), begun: Any = None, evidence: str = "", limit: int) -> Any:
        if dead:
            return super().rescue(dead=dead, begun=begun, evidence=evidence, limit=limit)
        for job in self.running():
            self.put(job, lease_until=1.0)
        return super().rescue(limit=limit)


class BlamesAll(Broken):
    def rescue(self, **how: Any) -> Any:
        return super().rescue(**{**how, "begun": None})


class ForgivesAll(Broken):
    def rescue(self, **how: Any) -> Any:
        return super().rescue(**{**how, "begun": ()})


class CountsReleases(Broken):
    def exchange(self, reports: Any, *rest: Any, **more: Any) -> Any:
        given = {each.id for each in reports if isinstance(each.outcome, Interrupted)}
        answer = super().exchange(reports, *rest, **more)
        for job_id in given:
            job = self.books.jobs[job_id]
            if job.state is State.AVAILABLE:
                self.put(job, attempt=job.attempt + 1)
        return answer


class HandsOutRunning(Broken):
    def exchange(self, reports: Any, wants: Any, *rest: Any, **more: Any) -> Any:
        before = self.running() if wants else []
        if len(before) == 1 and before[0].id not in {each.id for each in reports}:
            self.put(before[0], state=State.AVAILABLE)
        return super().exchange(reports, wants, *rest, **more)


class AppliesTwice(Broken):
    def exchange(self, reports: Any, *rest: Any, **more: Any) -> Any:
        for each in reports:
            job = self.books.jobs[each.id]
            if job.lease == each.lease and job.state is not State.RUNNING:
                self.put(job, state=State.RUNNING)
        return super().exchange(reports, *rest, **more)


class ForgetsCancelAtRescue(Broken):
    def rescue(self, **how: Any) -> Any:
        for job in self.running():
            if (job.lease_until or 0.0) < self.now() or job.worker in how.get("dead", ()):
                self.put(job, cancel_requested_at=None)
        return super().rescue(**how)


class CancelsAtOnce(Broken):
    def cancel(self, job_id: str, *, reason: str, force: bool = False) -> Any:
        job = self.books.jobs.get(job_id)
        if job is not None and job.state is State.RUNNING:
            self.put(job, state=State.CANCELLED, lease_until=None, final_at=self.now())
        return super().cancel(job_id, reason=reason, force=force)


class KeepsTheLease(Broken):
    def exchange(self, reports: Any, wants: Any, claimant: Any, **more: Any) -> Any:
        before = {job.id: job.lease for job in self.books.jobs.values() if job.lease}
        answer = super().exchange(reports, wants, claimant, **more).result()
        kept = [
            msgspec.structs.replace(job, lease=before.get(job.id, job.lease)) for job in answer.jobs
        ]
        for job in kept:
            self.books.put(job)
        pending: Pending[Any] = Pending()
        pending.resolve(msgspec.structs.replace(answer, jobs=tuple(kept)))
        return pending


class RemovesAll(Broken):
    def dismiss(self, worker: str, *, force: bool = False) -> Any:
        for job in self.running():
            self.put(job, worker=worker)
        return super().dismiss(worker, force=force)


class ForgetsOrders(Broken):
    def beat(self, worker: WorkerInfo) -> Any:
        super().beat(worker).result()
        pending: Pending[Any] = Pending()
        pending.resolve("work")
        return pending


class TakesAnyOutput(Broken):
    def write_output(self, chunks: Any) -> Any:
        for chunk in chunks:
            job = self.books.jobs[chunk.job_id]
            if job.state is not State.RUNNING or job.lease != chunk.lease:
                self.books.output[job.id].append(chunk)
        return super().write_output(chunks)


class SlowClock(Broken):
    """Judges by a time that is only taken anew every ten seconds."""

    def __init__(self, clock: Any, draw: Any) -> None:
        super().__init__(_Stale(clock), draw)


class _Stale:
    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._taken = -1e9

    def now(self) -> float:
        if abs(self._clock.now() - self._taken) > 10.0:
            self._taken = self._clock.now()
        return self._taken

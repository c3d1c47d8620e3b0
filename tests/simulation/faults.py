"""Planted faults: a world with one broken part, each of which the simulation has to catch.

`caught_by` are the rules of which a seed has to break one. A masked fault is one that no rule can
see, because something else makes up for it; the reason stands beside it, and a test sees to it
that it stays true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from jobs import Child, ScriptedRunner
from workers import Plan, Station

from conveyor.core.job import JobRecord, State
from conveyor.core.lifecycle import Interrupted
from conveyor.core.pending import Pending
from conveyor.errors import UnavailableError
from conveyor.maintenance.upkeep import Upkeep
from conveyor.runners.job_control import Ending, JobControl, Stopped, StopRequest
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Exchanged, Hint, Lease, Renewal, Report
from conveyor.worker.dispatcher import Slots
from conveyor.worker.lease_renewer import Claim, Leases


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and how that shows."""

    what: str
    caught_by: frozenset[str] = frozenset()
    masked: str = ""
    store: Callable[..., MemoryStore] = MemoryStore
    parts: dict[str, Any] = field(default_factory=dict)

    def plan(self) -> Plan:
        plan = Plan()
        for name, part in self.parts.items():
            setattr(plan, name, part)
        return plan


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


class CountsHandBacks(Broken):
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
    def exchange(self, reports: Any, wants: Any, who: Any, **more: Any) -> Any:
        before = {job.id: job.lease for job in self.books.jobs.values() if job.lease}
        answer = super().exchange(reports, wants, who, **more).result()
        kept = [
            msgspec.structs.replace(job, lease=before.get(job.id, job.lease)) for job in answer.jobs
        ]
        for job in kept:
            self.books.put(job)
        pending: Pending[Any] = Pending()
        pending.resolve(msgspec.structs.replace(answer, jobs=tuple(kept)))
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


class DeafAtRenewal(Slots):
    def _obey(self, lease: Lease, renewal: Renewal) -> None:
        if renewal.verdict != "cancel":
            super()._obey(lease, renewal)


class GoesOnWhenLost(Slots):
    def _obey(self, lease: Lease, renewal: Renewal) -> None:
        if renewal.verdict != "lost":
            super()._obey(lease, renewal)


class DropsReports(Slots):
    async def _exchange(self, reports: list[Report], room: int) -> None:
        try:
            await super()._exchange(reports, room)
        except UnavailableError:
            return


class ForgetsClaimedAhead(Slots):
    def _give_back(self, count: int) -> None:
        self._ready.take_back(count)


class BeginsUnconfirmed(Slots):
    """Takes a claim's answer for all that is needed, and confirms it by and by."""

    def _take(self, answer: Exchanged, reports: list[Report], claim: Claim) -> None:
        self._ready.add(() if self._draining else answer.jobs, claim)
        super()._take(answer, reports, claim)


class NeverRenews(Leases):
    async def _renew_all(self) -> None:
        return


class CountsFromReceipt(Leases):
    async def confirm(self, leases: Any, patience: float) -> Any:
        confirmed = await super().confirm(leases, patience)
        now = self._elapsed()
        return None if confirmed is None else (Claim(now, now), confirmed[1])

    def _note(self, leases: Any, sent: float) -> None:
        super()._note(leases, self._elapsed())


class NeverFences(Leases):
    def _fence(self) -> None:
        self._good_until.clear()


class NeverLate(Leases):
    def is_late(self, claim: Claim) -> bool:
        return False


class NeverStopsThem(Slots):
    def stop_running(self, reason: str, *, grace: float) -> None:
        """Leave them alone, though the deadline has passed."""

    def abandon(self) -> list[Any]:
        """Stay with them."""
        return []


class DeafToWork(Slots):
    def hear(self, hint: Hint) -> None:
        if hint.kind != "work":
            super().hear(hint)


class DeafToCancel(Slots):
    def hear(self, hint: Hint) -> None:
        if hint.kind != "cancel":
            super().hear(hint)


class NeverSweeps(Upkeep):
    async def _rescue(self, *, sweeping: bool) -> None:
        return


class SweepsTwice(Upkeep):
    async def _rescue(self, *, sweeping: bool) -> None:
        await super()._rescue(sweeping=sweeping)
        await super()._rescue(sweeping=True)


class LeavesCodeBehind(ScriptedRunner):
    """Says that a child has stopped as soon as it was told to."""

    async def run(self, control: JobControl) -> Ending:
        if control.stopping:
            return Stopped()
        child = Child(self.station, control)

        def stop(request: StopRequest) -> None:
            child.stop(request)
            if not child.ending.done():
                child.ending.set_result(Stopped())

        control.on_stop(stop)
        return await child.ending


def _takes_silence_for_death(**parts: Any) -> Upkeep:
    silent = 2 * parts["sweep"]
    store = parts["store"]
    parts["dead"] = parts["died"] = lambda worker, *_: worker.beat_at < store.now() - silent
    return Upkeep(**parts)


def _with(leases: type[Leases], *, fences: bool = True) -> Callable[..., Slots]:
    return lambda **parts: Slots(**{**parts, "leases": leases, "fences": fences})


def _awake_time(station: Station) -> Callable[[], float]:
    return lambda: station.world.loop.now - station.process.behind


def _rules(*names: str) -> frozenset[str]:
    return frozenset(names)


FAULTS = (
    Fault("settling ignores the lease", _rules("settle", "made up"), store=SettlesAnyLease),
    Fault("renewing ignores the lease", _rules("lease", "fenced"), store=ExtendsAnyLease),
    Fault("rescue does not look whether the lease ended", _rules("rescue"), store=RescuesAll),
    Fault("a crash is blamed on jobs that had not begun", _rules("crashes"), store=BlamesAll),
    Fault("a crash is blamed on nobody", _rules("crashes"), store=ForgivesAll),
    Fault("a hand-back counts as an attempt", _rules("attempts"), store=CountsHandBacks),
    Fault("a claim hands out a running job", _rules("claim"), store=HandsOutRunning),
    Fault("a report that comes twice is applied twice", _rules("final"), store=AppliesTwice),
    Fault("a rescue forgets the cancel", _rules("cancel"), store=ForgetsCancelAtRescue),
    Fault("cancelled is said before the code ended", _rules("settle"), store=CancelsAtOnce),
    Fault("a claim does not raise the lease", _rules("claim"), store=KeepsTheLease),
    Fault("output is taken under any lease", _rules("output"), store=TakesAnyOutput),
    Fault("the store judges by a stale clock", _rules("rescue", "lapse"), store=SlowClock),
    Fault("a renewal's cancel is ignored", _rules("cancel"), parts={"slots": DeafAtRenewal}),
    Fault("a lost lease is ignored", _rules("fenced"), parts={"slots": GoesOnWhenLost}),
    Fault(
        "reports are dropped when the store is away",
        _rules("untold"),
        parts={"slots": DropsReports},
    ),
    Fault(
        "a drained worker forgets what it had claimed",
        _rules("left behind"),
        parts={"slots": ForgetsClaimedAhead},
    ),
    Fault(
        "a job begins before its claim is confirmed",
        _rules("unconfirmed"),
        parts={"slots": BeginsUnconfirmed},
    ),
    Fault(
        "leases are not renewed",
        _rules("lapse"),
        parts={"slots": _with(NeverRenews, fences=False)},
    ),
    Fault(
        "a lease counts from the receipt of its confirmation",
        _rules("self-fence"),
        parts={"slots": _with(CountsFromReceipt)},
    ),
    Fault(
        "a lease that cannot be renewed is not given up",
        _rules("self-fence"),
        parts={"slots": _with(NeverFences)},
    ),
    Fault(
        "what was claimed before a long pause is begun after it",
        _rules("self-fence"),
        parts={"slots": _with(NeverLate)},
    ),
    Fault("the drain's deadline is ignored", _rules("drain"), parts={"slots": NeverStopsThem}),
    Fault("lapsed leases are never looked for", _rules("stuck"), parts={"upkeep": NeverSweeps}),
    Fault(
        "silence is taken for death", _rules("alive"), parts={"upkeep": _takes_silence_for_death}
    ),
    Fault(
        "a runner says stopped while its child goes on",
        _rules("settled early"),
        parts={"processes": LeavesCodeBehind},
    ),
    Fault(
        "hints of work are not heard",
        masked="a worker also looks for work by itself, every `poll` seconds",
        parts={"slots": DeafToWork},
    ),
    Fault(
        "every sweep is done twice",
        masked="rescuing is idempotent: the second finds nothing",
        parts={"upkeep": SweepsTwice},
    ),
    Fault("hints of cancels are not heard", _rules("prompt cancel"), parts={"slots": DeafToCancel}),
    Fault(
        "the time a lid was closed is not counted",
        _rules("self-fence"),
        parts={"elapsed": _awake_time},
    ),
)

"""Planted faults: a world with one broken part, each of which the simulation has to catch.

`caught_by` are the rules of which a seed has to break one. A masked fault is one that no rule can
see, because something else makes up for it; the reason stands beside it, and a test sees to it
that it stays true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import broken_stores as stores
from jobs import Child, ScriptedRunner
from runs import LEASE
from workers import Parts

from conveyor.core.job import WorkerInfo
from conveyor.errors import UnavailableError
from conveyor.maintenance.rescuer import Rescuer
from conveyor.runners.job_control import JobControl, RunResult, Stopped, StopRequest
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Hint, Lease, Renewal, Report
from conveyor.worker.cancellation import LeaseVerdicts
from conveyor.worker.claim_confirmer import ClaimConfirmer
from conveyor.worker.dispatcher import Dispatcher
from conveyor.worker.held_jobs import HeldJob, HeldJobs
from conveyor.worker.lease_renewer import LeaseRenewer
from conveyor.worker.shutdown import WorkerShutdown


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and how that shows."""

    what: str
    caught_by: frozenset[str] = frozenset()
    masked: str = ""
    store: Callable[..., MemoryStore] = MemoryStore
    parts: dict[str, Any] = field(default_factory=dict)

    def worker_parts(self) -> type[Parts]:
        return type("FaultyParts", (Parts,), self.parts)


class DeafAtRenewal(LeaseVerdicts):
    def apply(self, lease: Lease, renewal: Renewal) -> None:
        if renewal.verdict != "cancel":
            super().apply(lease, renewal)


class GoesOnWhenLost(LeaseVerdicts):
    def apply(self, lease: Lease, renewal: Renewal) -> None:
        if renewal.verdict != "lost":
            super().apply(lease, renewal)


class DropsReports(Dispatcher):
    async def _exchange(self, reports: Sequence[Report], room: int) -> None:
        try:
            await super()._exchange(reports, room)
        except UnavailableError:
            self._held.remove_reported(reports)


class ForgetsClaimedAhead(HeldJobs):
    def release_unstarted(self) -> None:
        self.release_surplus(self.ready)
        super().release_unstarted()

    def release_surplus(self, count: int) -> None:
        for row in list(self._ready)[-count:]:
            self._ready.remove(row)


class BeginsUnconfirmed(ClaimConfirmer):
    """Takes a claim's answer for all that is needed; the next renewal confirms it."""

    def confirm(self, rows: Sequence[HeldJob], asked_at: float) -> None:
        for row in rows:
            self._held.confirm(row, sure_at=asked_at)


class NeverFences(LeaseRenewer):
    def __init__(self, **parts: Any) -> None:
        super().__init__(**{**parts, "fences": False})


class NeverRenews(NeverFences):
    async def _renew_all(self) -> bool:
        return False


class CountsFromReceipt(LeaseRenewer):
    async def confirm(self, rows: Any, timeout: float) -> Any:
        answer = await super().confirm(rows, timeout)
        return None if answer is None else (self._elapsed(), answer[1])

    def _note(self, rows: Any, sent: float) -> None:
        super()._note(rows, self._elapsed())


class NeverLate(LeaseRenewer):
    def is_late(self, row: HeldJob) -> bool:
        return False


class NeverStopsThem(WorkerShutdown):
    def _stop_running(self) -> None:
        """Leave them alone, though the deadline has passed."""

    def abandon(self) -> None:
        """Stay with them."""


class DeafToWork(Dispatcher):
    def receive(self, hint: Hint) -> None:
        if hint.kind != "work":
            super().receive(hint)


class DeafToCancel(Dispatcher):
    def receive(self, hint: Hint) -> None:
        if hint.kind != "cancel":
            super().receive(hint)


class NeverSweeps(Rescuer):
    async def rescue(self, *, expired: bool) -> None:
        return


class SweepsTwice(Rescuer):
    async def rescue(self, *, expired: bool) -> None:
        await super().rescue(expired=expired)
        await super().rescue(expired=True)


class TakesSilenceForDeath(Rescuer):
    def __init__(self, store: Any, **parts: Any) -> None:
        def is_silent(worker: WorkerInfo, *_: str) -> bool:
            return worker.beat_at < store.now() - LEASE / 2

        super().__init__(store, **{**parts, "is_dead": is_silent, "has_died": is_silent})


class LeavesCodeBehind(ScriptedRunner):
    """Says that a child has stopped as soon as it was told to."""

    async def run(self, control: JobControl) -> RunResult:
        if control.stopping:
            return Stopped()
        child = Child(self.station, control)

        def stop(request: StopRequest) -> None:
            child.stop(request)
            if not child.ending.done():
                child.ending.set_result(Stopped())

        control.on_stop(stop)
        return await child.ending


def _awake_time(parts: Parts) -> Callable[[], float]:
    station = parts.station
    return lambda: station.world.loop.now - station.process.behind


def _rules(*names: str) -> frozenset[str]:
    return frozenset(names)


FAULTS = (
    Fault("settling ignores the lease", _rules("settle", "made up"), store=stores.SettlesAnyLease),
    Fault("renewing ignores the lease", _rules("lease", "fenced"), store=stores.ExtendsAnyLease),
    Fault(
        "rescue does not look whether the lease ended", _rules("rescue"), store=stores.RescuesAll
    ),
    Fault(
        "a crash is blamed on jobs that had not begun", _rules("crashes"), store=stores.BlamesAll
    ),
    Fault("a crash is blamed on nobody", _rules("crashes"), store=stores.ForgivesAll),
    Fault("a release counts as an attempt", _rules("attempts"), store=stores.CountsReleases),
    Fault("a claim hands out a running job", _rules("claim"), store=stores.HandsOutRunning),
    Fault("a report that comes twice is applied twice", _rules("final"), store=stores.AppliesTwice),
    Fault("a rescue forgets the cancel", _rules("cancel"), store=stores.ForgetsCancelAtRescue),
    Fault("cancelled is said before the code ended", _rules("settle"), store=stores.CancelsAtOnce),
    Fault("a claim does not raise the lease", _rules("claim"), store=stores.KeepsTheLease),
    Fault("output is taken under any lease", _rules("output"), store=stores.TakesAnyOutput),
    Fault("the store judges by a stale clock", _rules("rescue", "lapse"), store=stores.SlowClock),
    Fault(
        "a renewal's cancel is ignored", _rules("cancel"), parts={"lease_verdicts": DeafAtRenewal}
    ),
    Fault("a lost lease is ignored", _rules("fenced"), parts={"lease_verdicts": GoesOnWhenLost}),
    Fault(
        "reports are dropped when the store is away",
        _rules("untold"),
        parts={"dispatcher": DropsReports},
    ),
    Fault(
        "a drained worker forgets what it had claimed",
        _rules("left behind"),
        parts={"held_jobs": ForgetsClaimedAhead},
    ),
    Fault(
        "a job begins before its claim is confirmed",
        _rules("unconfirmed"),
        parts={"claim_confirmer": BeginsUnconfirmed},
    ),
    Fault(
        "leases are not renewed",
        _rules("lapse"),
        parts={"lease_renewer": NeverRenews},
    ),
    Fault(
        "a lease counts from the receipt of its confirmation",
        _rules("self-fence"),
        parts={"lease_renewer": CountsFromReceipt},
    ),
    Fault(
        "a lease that cannot be renewed is not given up",
        _rules("self-fence"),
        parts={"lease_renewer": NeverFences},
    ),
    Fault(
        "what was claimed before a long pause is begun after it",
        _rules("self-fence"),
        parts={"lease_renewer": NeverLate},
    ),
    Fault("the drain's deadline is ignored", _rules("drain"), parts={"shutdown": NeverStopsThem}),
    Fault("lapsed leases are never looked for", _rules("stuck"), parts={"rescuer": NeverSweeps}),
    Fault("silence is taken for death", _rules("alive"), parts={"rescuer": TakesSilenceForDeath}),
    Fault(
        "a runner says stopped while its child goes on",
        _rules("settled early"),
        parts={"process_runner": LeavesCodeBehind},
    ),
    Fault("a removal takes the jobs of all workers", _rules("dismissal"), store=stores.RemovesAll),
    Fault("a removed worker is not told", _rules("drain"), store=stores.ForgetsOrders),
    Fault(
        "hints of work are not heard",
        masked="a worker also looks for work by itself, every `poll` seconds",
        parts={"dispatcher": DeafToWork},
    ),
    Fault(
        "every sweep is done twice",
        masked="rescuing is idempotent: the second finds nothing",
        parts={"rescuer": SweepsTwice},
    ),
    Fault(
        "hints of cancels are not heard",
        _rules("prompt cancel"),
        parts={"dispatcher": DeafToCancel},
    ),
    Fault(
        "the time a lid was closed is not counted",
        _rules("self-fence"),
        parts={"make_elapsed": _awake_time},
    ),
)

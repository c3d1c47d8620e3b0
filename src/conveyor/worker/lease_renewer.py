"""Renews the leases of held jobs, and checks at once those that may have been cancelled.

A cancel is a fact in the store. A hint announces it at once; without the hint the next renewal
finds it. A hint that arrives while a claim is in flight is remembered for the jobs of that claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from ..core.event_log import open_event_log
from ..core.job import JobRecord
from ..core.timeout import wait_for_event
from ..errors import AccessError, ConveyorError
from ..runners.job_control import JobControl, StopRequest
from ..store.messages import Renewal
from ..store.protocol import WorkerStore
from .cancellation import LOST, LeaseVerdicts, check_count, request_stop
from .completed_jobs import is_completed
from .held_jobs import HeldJob, HeldJobs

log = open_event_log("lease_renewer")

# How often it checks whether a renewal is due: after a pause of the machine, it is due at once.
CHECK_EVERY = 1.0
# How long it waits, in seconds, before it repeats a look-up that got no answer.
RETRY_AFTER = 0.25
# The part of a lease after which it counts as lost if it could not be renewed: the rest is for the
# job's code to stop in.
FENCE = 0.8


class LeaseRenewer:
    """Renews all leases every quarter of `lease_for` seconds and has `verdicts` act on the answers.

    `fences`: a job whose lease could not be renewed for most of its length is stopped, as others
    may reach the store and claim it. The length counts from when the renewal was sent.
    """

    def __init__(
        self,
        *,
        store: WorkerStore,
        held: HeldJobs,
        verdicts: LeaseVerdicts,
        lease_for: float,
        fences: bool,
        elapsed: Callable[[], float],
    ) -> None:
        self._store = store
        self._held = held
        self._verdicts = verdicts
        self._lease_for, self._late_after = lease_for, FENCE * lease_for
        self._fences = fences
        self._elapsed = elapsed
        # Ids to look up now; None is all of them.
        self._requested: set[str] | None = set()
        # Ids of hints that came while a claim was in flight; None is all of them.
        self._hinted: set[str] | None = set()
        self._claiming = False
        # Leases that were renewed after more than half of them had passed, and calls without an
        # answer.
        self.late = self.failed = 0
        self.on_denied: Callable[[AccessError], None] = _ignore
        self._nudged = asyncio.Event()

    async def run(self) -> None:
        """Renew until cancelled."""
        every = self._lease_for / 4
        due = self._elapsed() + every
        while True:
            await wait_for_event(self._nudged, self._until_fence(min(CHECK_EVERY, every)))
            self._nudged.clear()
            self._fence()
            requested, self._requested = self._requested, set()
            if self._elapsed() >= due:
                due = self._elapsed() + every
                answered = await self._renew_all()
            else:
                rows = self._held.renewable
                answered = await self._renew(
                    [row for row in rows if requested is None or row.job.id in requested]
                )
            if not answered and requested != set():
                # Somebody waits for these to be stopped: do not wait for the next renewal.
                await asyncio.sleep(self._until_fence(RETRY_AFTER))
                self._look_up(requested)

    def is_late(self, row: HeldJob) -> bool:
        """Whether a job that has not started may belong to another worker by now.

        That is so after this process, or the whole machine, has stood still for long.
        """
        return self._elapsed() - row.sure_at > self._late_after

    def check_for_cancels(self, ids: Sequence[str]) -> None:
        """Look up whether these jobs were cancelled, or any job if there are no ids."""
        if self._claiming:
            self._hinted = _joined(self._hinted, ids)
        for row in self._held.unconfirmed:
            row.cancel_hinted |= not ids or row.job.id in ids
        if ids:
            self._look_up({row.job.id for row in self._held.renewable}.intersection(ids))
        else:
            self._look_up(None)

    def claim_sent(self) -> float:
        """Note that a claim is in flight from now on; returns the time."""
        self._claiming = True
        return self._elapsed()

    def claim_answered(self, jobs: Iterable[JobRecord]) -> None:
        """Note that the claim is over, and which jobs came that need no confirmation."""
        hinted, self._hinted = self._hinted, set()
        self._claiming = False
        if hinted is None or hinted:
            self._look_up({job.id for job in jobs if hinted is None or job.id in hinted})

    async def confirm(
        self, rows: Sequence[HeldJob], timeout: float
    ) -> tuple[float, list[Renewal]] | None:
        """Confirm provisional claims; returns when that was sent and what the store answered.

        None: there was no answer, and the claims may be confirmed or not.
        """
        for row in rows:
            row.cancel_hinted = False
        sent = self._elapsed()
        renewals = await self._extend(rows, timeout)
        if renewals is None:
            return None
        self._look_up({row.job.id for row in rows if row.cancel_hinted})
        return sent, renewals

    def _look_up(self, ids: set[str] | None) -> None:
        if ids is None or self._requested is None:
            self._requested = None
        else:
            self._requested |= ids
        if self._requested is None or self._requested:
            self._nudged.set()

    async def _renew_all(self) -> bool:
        return await self._renew(self._held.renewable)

    async def _renew(self, rows: Sequence[HeldJob]) -> bool:
        """Renew some leases and act on the verdicts; return whether the store answered."""
        if not rows:
            return True
        sent = self._elapsed()
        renewals = await self._extend(rows, self._until_fence(self._lease_for / 4))
        if renewals is None:
            return False
        self._note(rows, sent)
        for row, renewal in zip(rows, renewals, strict=True):
            if renewal.verdict == "lost" and row.control is not None and row.control.completing:
                await self._judge_completing(row, row.control)
            elif renewal.verdict != "continue":
                self._verdicts.apply(row.lease, renewal)
        return True

    async def _judge_completing(self, row: HeldJob, control: JobControl) -> None:
        """Stop a job that has lost its lease, unless that is because it is completed."""
        if not await is_completed(row, control) and row.phase == "running":
            request_stop(control, StopRequest("lost", LOST))

    async def _extend(self, rows: Sequence[HeldJob], timeout: float) -> list[Renewal] | None:
        leases = [row.lease for row in rows]
        try:
            async with asyncio.timeout(timeout):
                renewals = await self._store.extend(leases, lease_for=self._lease_for)
            check_count(renewals, len(leases))
        except AccessError as error:
            self.on_denied(error)
            return None
        except (ConveyorError, TimeoutError) as error:
            self.failed += 1
            log.error("lease.not_renewed jobs=%d error=%s", len(leases), str(error) or "no answer")  # noqa: TRY400 - no traceback helps here
            return None
        return renewals

    def _note(self, rows: Iterable[HeldJob], sent: float) -> None:
        latest = sent - self._lease_for / 2
        for row in rows:
            self.late += row.sure_at < latest
            row.sure_at, row.fenced = sent, False

    def _fence(self) -> None:
        now = self._elapsed()
        for row in self._fenceable():
            if self._fence_at(row) <= now:
                self._verdicts.fence(row)

    def _until_fence(self, most: float) -> float:
        """Return how long to wait: at most `most` seconds, and not beyond the next fence."""
        now = self._elapsed()
        return max(0.0, min([most, *(self._fence_at(row) - now for row in self._fenceable())]))

    def _fenceable(self) -> list[HeldJob]:
        return [row for row in self._held.renewable if not row.fenced] if self._fences else []

    def _fence_at(self, row: HeldJob) -> float:
        return row.sure_at + self._late_after


def _joined(known: set[str] | None, ids: Sequence[str]) -> set[str] | None:
    """Return the union, where None stands for everything, and so does no id at all."""
    return None if known is None or not ids else known.union(ids)


def _ignore(_error: AccessError) -> None:
    """Do nothing."""

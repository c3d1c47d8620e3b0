"""Keeps the leases of what a worker holds, and passes on what the store says of each.

A cancel is a fact in the store. It is heard at once by a hint, and at the latest at the next
renewal; one that comes while a claim's answer is on its way is remembered for the jobs in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..core.job import JobRecord
from ..core.timeout import wait_for_event
from ..errors import ConveyorError
from ..store.messages import Lease, Renewal
from ..store.protocol import WorkerStore

log = logging.getLogger("conveyor.lease_renewer")

# How often it is looked whether a renewal is due: after a pause of the machine, at once.
LOOK = 1.0
# How long it waits, in seconds, until it asks again what became of jobs after no answer came.
PAUSE = 0.25
# The part of a lease after which it counts as lost, if it could not be renewed: the rest is for the
# job's code to stop in.
FENCE = 0.8


class Claim(NamedTuple):
    """When some jobs were asked for, and when they came: renewals from then on are about them."""

    asked_at: float
    taken_at: float


class Leases:
    """Renews every quarter of `lease_for` seconds what `held` returns, and has `obey` act on it.

    `fence_off` is told of a lease that could not be renewed for most of its length, counted from
    when that was last asked for: somebody else will soon have the job. None where the store cannot
    be out of our reach while others reach it.
    """

    def __init__(
        self,
        *,
        store: WorkerStore,
        lease_for: float,
        held: Callable[[], Sequence[JobRecord]],
        obey: Callable[[Lease, Renewal], None],
        fence_off: Callable[[Lease], None] | None,
        elapsed: Callable[[], float],
    ) -> None:
        self._store = store
        self._lease_for = lease_for
        self._held = held
        self._obey = obey
        self._elapsed = elapsed
        self._fence_off = fence_off
        self._good_until: dict[Lease, float] = {}
        self._sure_at = elapsed()
        self._asked: set[str] | None = set()
        self._remembered: set[str] | None = set()
        self._awaiting = False
        # What is being confirmed, and whether a cancel was heard that may have missed it.
        self._confirming: dict[str, bool] = {}
        self._nudged = asyncio.Event()

    async def keep(self) -> None:
        """Renew until cancelled."""
        every = self._lease_for / 4
        due = self._elapsed() + every
        while True:
            await wait_for_event(self._nudged, self._until_fence(min(LOOK, every)))
            self._nudged.clear()
            self._fence()
            asked, self._asked = self._asked, set()
            if self._elapsed() >= due:
                due = self._elapsed() + every
                answered = await self._renew_all()
            else:
                answered = await self._renew(
                    [job for job in self._held() if asked is None or job.id in asked]
                )
            if not answered and asked != set():
                # Somebody waits for these to be stopped, so not at the next renewal only.
                await asyncio.sleep(self._until_fence(PAUSE))
                self._ask(asked)

    def is_late(self, claim: Claim) -> bool:
        """Whether a job that was claimed then, and not begun yet, may be somebody else's by now.

        So it is when this process, or the whole machine, has stood still for long.
        """
        renewed = self._sure_at >= claim.taken_at
        sure_at = self._sure_at if renewed else claim.asked_at
        return self._elapsed() - sure_at > FENCE * self._lease_for

    def hear(self, ids: Sequence[str]) -> None:
        """Take it that these jobs, or any if there are none, may have been cancelled."""
        held = {job.id for job in self._held()}
        named = held.intersection(ids)
        if self._awaiting:
            self._remembered = _joined(self._remembered, ids)
        for each in self._confirming:
            self._confirming[each] |= not ids or each in ids
        if not ids:
            self._ask(None)
        elif named:
            self._ask(named)

    def expect(self) -> float:
        """Note that a claim is asked for now; returns the time to give to `took`."""
        self._awaiting = True
        return self._elapsed()

    def took(self, jobs: Sequence[JobRecord], asked_at: float) -> Claim:
        """Note what the claim gave; none if it failed, or is to be confirmed."""
        remembered, self._remembered = self._remembered, set()
        self._awaiting = False
        if self._fence_off is not None:
            until = asked_at + FENCE * self._lease_for
            self._good_until.update({Lease(job.id, job.lease): until for job in jobs})
        if remembered is None or remembered:
            self._ask({job.id for job in jobs if remembered is None or job.id in remembered})
        return Claim(asked_at, self._elapsed())

    async def confirm(
        self, leases: Sequence[Lease], patience: float
    ) -> tuple[Claim, list[Renewal]] | None:
        """Confirm what a provisional claim gave. None: no answer came, so it may be so or not.

        The claim that it returns counts from now on.
        """
        self._confirming.update({lease.id: False for lease in leases})
        sent = self._elapsed()
        renewals = await self._extend(leases, patience)
        heard = {lease.id for lease in leases if self._confirming.pop(lease.id, False)}
        if renewals is None:
            return None
        self._note(leases, sent)
        self._ask(heard)
        return Claim(sent, self._elapsed()), renewals

    def _ask(self, ids: set[str] | None) -> None:
        if ids is None or self._asked is None:
            self._asked = None
        else:
            self._asked |= ids
        if self._asked is None or self._asked:
            self._nudged.set()

    async def _renew_all(self) -> bool:
        sent = self._elapsed()
        held = self._held()
        if not held:
            self._good_until.clear()
        answered = await self._renew(held)
        if answered:
            self._sure_at = sent
        return answered

    async def _renew(self, jobs: Sequence[JobRecord]) -> bool:
        """Renew the leases of some jobs and act on what the store says; say whether it answered."""
        leases = [Lease(job.id, job.lease) for job in jobs]
        if not leases:
            return True
        sent = self._elapsed()
        renewals = await self._extend(leases, self._until_fence(self._lease_for / 4))
        if renewals is None:
            return False
        known = self._good_until
        held = [Lease(job.id, job.lease) for job in self._held()]
        self._good_until = {each: known[each] for each in held if each in known}
        self._note(leases, sent)
        for lease, renewal in zip(leases, renewals, strict=True):
            if renewal.verdict != "continue":
                self._obey(lease, renewal)
        return True

    async def _extend(self, leases: Sequence[Lease], patience: float) -> list[Renewal] | None:
        try:
            async with asyncio.timeout(patience):
                return await self._store.extend(leases, lease_for=self._lease_for)
        except (ConveyorError, TimeoutError) as error:
            log.error("lease.not_renewed jobs=%d error=%s", len(leases), error or "no answer")  # noqa: TRY400 - it says all there is
            return None

    def _note(self, leases: Sequence[Lease], sent: float) -> None:
        """Note that leases were renewed, at the earliest when that was asked for."""
        if self._fence_off is not None:
            self._good_until.update(dict.fromkeys(leases, sent + FENCE * self._lease_for))

    def _until_fence(self, most: float) -> float:
        """Return how long to wait: at most so long, and not beyond the first lease to fence off."""
        now = self._elapsed()
        return max(0.0, min([most, *(until - now for until in self._good_until.values())]))

    def _fence(self) -> None:
        now = self._elapsed()
        late = [lease for lease, until in self._good_until.items() if until <= now]
        for lease in late:
            del self._good_until[lease]
            if self._fence_off is not None:
                self._fence_off(lease)


def _joined(known: set[str] | None, ids: Sequence[str]) -> set[str] | None:
    """Return the union, where None stands for everything, and so does no id at all."""
    return None if known is None or not ids else known.union(ids)

"""Keeps the leases of what a worker holds, and passes on what the store says of each.

A cancel is a fact in the store. It is heard at once by a hint, and at the latest at the next
renewal; one that comes while a claim's answer is on its way is remembered for the jobs in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from .errors import ConveyorError
from .job import JobRecord
from .store.protocol import Lease, Renewal, WorkerStore

log = logging.getLogger("conveyor.leases")

# How often it is looked whether a renewal is due: after a pause of the machine, at once.
LOOK = 1.0


class Leases:
    """Renews every quarter of `lease_for` seconds what `held` returns, and has `obey` act on it.

    `fence_off` is told of a lease that could not be renewed in time, counted from when that was
    last asked for: somebody else may have the job now. None where the store cannot be out of our
    reach while others reach it.
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
        self._asked: set[str] | None = set()
        self._remembered: set[str] | None = set()
        self._awaiting = False
        self._nudged = asyncio.Event()

    async def keep(self) -> None:
        """Renew until cancelled."""
        every = self._lease_for / 4
        due = self._elapsed() + every
        while True:
            try:
                async with asyncio.timeout(min(LOOK, every)):
                    await self._nudged.wait()
            except TimeoutError:
                pass
            self._nudged.clear()
            self._fence()
            asked, self._asked = self._asked, set()
            if self._elapsed() >= due:
                due = self._elapsed() + every
                await self._renew(self._held())
            elif asked is None or asked:
                await self._renew([job for job in self._held() if asked is None or job.id in asked])

    def hear(self, ids: Sequence[str]) -> None:
        """Take it that these jobs, or any if there are none, may have been cancelled."""
        held = {job.id for job in self._held()}
        named = held.intersection(ids)
        if self._awaiting:
            self._remembered = _joined(self._remembered, ids)
        if not ids:
            self._ask(None)
        elif named:
            self._ask(named)

    def expect(self) -> float:
        """Note that a claim is asked for now; returns the time to give to `took`."""
        self._awaiting = True
        return self._elapsed()

    def took(self, jobs: Sequence[JobRecord], asked_at: float) -> None:
        """Note what the claim gave; none if it failed."""
        remembered, self._remembered = self._remembered, set()
        self._awaiting = False
        if self._fence_off is not None:
            until = asked_at + self._lease_for
            self._good_until.update({Lease(job.id, job.lease): until for job in jobs})
        if remembered is None or remembered:
            self._ask({job.id for job in jobs if remembered is None or job.id in remembered})

    def _ask(self, ids: set[str] | None) -> None:
        if ids is None or self._asked is None:
            self._asked = None
        else:
            self._asked |= ids
        if self._asked is None or self._asked:
            self._nudged.set()

    async def _renew(self, jobs: Sequence[JobRecord]) -> None:
        leases = [Lease(job.id, job.lease) for job in jobs]
        if not leases:
            self._good_until.clear()
            return
        sent = self._elapsed()
        try:
            async with asyncio.timeout(self._patience()):
                renewals = await self._store.extend(leases, lease_for=self._lease_for)
        except (ConveyorError, TimeoutError) as error:
            log.error("lease.not_renewed jobs=%d error=%s", len(leases), error or "no answer")  # noqa: TRY400 - it says all there is
            return
        if self._fence_off is not None:
            until = sent + self._lease_for
            known = self._good_until
            held = [Lease(job.id, job.lease) for job in self._held()]
            self._good_until = {each: known[each] for each in held if each in known}
            self._good_until.update(dict.fromkeys(leases, until))
        for lease, renewal in zip(leases, renewals, strict=True):
            if renewal.verdict != "continue":
                self._obey(lease, renewal)

    def _patience(self) -> float:
        """Return how long to wait for an answer: not beyond the end of a lease that is fenced."""
        now = self._elapsed()
        ends = [until - now for until in self._good_until.values()]
        return max(0.0, min([self._lease_for / 4, *ends]))

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

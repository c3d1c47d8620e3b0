"""Confirms provisional claims: the store has to know that jobs have come before they may begin.

The answer to a claim over a network may be lost, and nobody would have the jobs in it. So such a
claim lasts for moments only, unless the worker says that it has come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..core.job import JobRecord
from ..store.messages import Lease, Renewal
from .lease_renewer import FENCE, Claim, Leases

log = logging.getLogger("conveyor.claim_confirmer")

# How long it waits, in seconds, until it asks a store again that has given no answer.
PAUSE = 0.25


class Unconfirmed:
    """The jobs that a worker was given and has not confirmed yet, each claim in one batch.

    `begin` is told of those that may begin, `give_back` of those that are to go back at once. That
    also becomes of jobs that could not be confirmed within `within` seconds, counted from when they
    were asked for: the store may have heard it, though its answer never came.
    """

    def __init__(
        self,
        *,
        leases: Leases,
        within: float,
        begin: Callable[[Sequence[JobRecord], Claim], None],
        give_back: Callable[[Sequence[JobRecord]], None],
        elapsed: Callable[[], float],
    ) -> None:
        self._leases = leases
        self._within = within
        self._begin = begin
        self._give_back = give_back
        self._elapsed = elapsed
        self._jobs: dict[Lease, JobRecord] = {}
        self._taken: asyncio.Queue[tuple[Sequence[Lease], float]] = asyncio.Queue()

    def __len__(self) -> int:
        return len(self._jobs)

    def take(self, jobs: Sequence[JobRecord], claim: Claim) -> None:
        """Confirm these beside whatever else goes on."""
        if jobs:
            taken = {Lease(job.id, job.lease): job for job in jobs}
            self._jobs.update(taken)
            self._taken.put_nowait((list(taken), claim.asked_at))

    def withdraw(self) -> list[JobRecord]:
        """Return all that is not confirmed, and forget it: none of it will begin."""
        jobs = list(self._jobs.values())
        self._jobs.clear()
        return jobs

    async def run(self) -> None:
        """Confirm until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._confirm(*await self._taken.get()))

    async def _confirm(self, leases: Sequence[Lease], asked_at: float) -> None:
        give_up_at = asked_at + FENCE * self._within
        while held := [each for each in leases if each in self._jobs]:
            left = give_up_at - self._elapsed()
            if left <= 0:
                log.warning("claim.not_confirmed jobs=%d", len(held))
                self._give_back([self._jobs.pop(each) for each in held])
                return
            confirmed = await self._leases.confirm(held, min(left, self._within / 4))
            if confirmed is not None:
                self._sort(held, *confirmed)
                return
            await asyncio.sleep(PAUSE)

    def _sort(self, leases: Sequence[Lease], claim: Claim, renewals: Sequence[Renewal]) -> None:
        good: list[JobRecord] = []
        for lease, renewal in zip(leases, renewals, strict=True):
            job = self._jobs.pop(lease, None)
            if job is None:  # given back meanwhile
                continue
            match renewal.verdict:
                case "continue":
                    good.append(job)
                case "cancel":  # handing it back makes it cancelled
                    self._give_back([job])
                case "lost":
                    log.warning("claim.lost id=%s lease=%d", lease.id, lease.lease)
        self._begin(good, claim)

"""Confirms provisional claims: a job starts only after the store knows that it has arrived.

If the answer to a claim is lost on the network, no worker knows of the jobs in it. So such a claim
lasts only seconds, unless the worker confirms it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..core.event_log import open_event_log
from ..store.messages import Renewal
from .held_jobs import HeldJob, HeldJobs
from .lease_renewer import FENCE, LeaseRenewer

log = open_event_log("claim_confirmer")

# How long it waits, in seconds, before it asks a store again that has not answered.
RETRY_AFTER = 0.25


class ClaimConfirmer:
    """Confirms each claim as one batch; its jobs then become ready.

    Jobs that were cancelled meanwhile are released, and so are those that could not be confirmed
    within `within` seconds of the claim: the store may know, though its answer never arrived.
    """

    def __init__(
        self,
        *,
        held: HeldJobs,
        leases: LeaseRenewer,
        within: float,
        elapsed: Callable[[], float],
    ) -> None:
        self._held = held
        self._leases = leases
        self._within = within
        self._elapsed = elapsed
        self._claims: asyncio.Queue[tuple[Sequence[HeldJob], float]] = asyncio.Queue()

    def confirm(self, rows: Sequence[HeldJob], asked_at: float) -> None:
        """Confirm the jobs of a claim that was sent at `asked_at`, in the background."""
        if rows:
            self._claims.put_nowait((rows, asked_at))

    async def run(self) -> None:
        """Confirm until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._confirm(*await self._claims.get()))

    async def _confirm(self, rows: Sequence[HeldJob], asked_at: float) -> None:
        give_up_at = asked_at + FENCE * self._within
        while pending := [row for row in rows if row.phase == "unconfirmed"]:
            left = give_up_at - self._elapsed()
            if left <= 0:
                log.warning("claim.not_confirmed jobs=%d", len(pending))
                for row in pending:
                    self._held.release(row)
                return
            answer = await self._leases.confirm(pending, min(left, self._within / 4))
            if answer is not None:
                sent, renewals = answer
                for row, renewal in zip(pending, renewals, strict=True):
                    self._apply(row, renewal, sent)
                return
            await asyncio.sleep(RETRY_AFTER)

    def _apply(self, row: HeldJob, renewal: Renewal, sent: float) -> None:
        if row.phase != "unconfirmed":  # it was released meanwhile
            return
        match renewal.verdict:
            case "continue":
                self._held.confirm(row, sure_at=sent)
            case "cancel":  # releasing it makes it cancelled
                self._held.release(row)
            case "lost":
                log.warning("claim.lost id=%s lease=%d", row.job.id, row.job.lease)
                self._held.drop(row)

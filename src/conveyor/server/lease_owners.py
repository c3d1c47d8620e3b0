"""Sees to it that an agent touches only jobs that its own workers hold."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.job import JobRecord, State
from ..errors import AccessError, NotFoundError
from ..store.messages import Lease
from ..store.protocol import Store
from .auth import Caller, may_be

# How many leases are remembered with their holders.
KNOWN = 100_000


class Holders:
    """Who holds which lease. What is not remembered, as after a restart, is looked up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, int], str] = {}

    def took(self, caller: Caller, jobs: Sequence[JobRecord]) -> None:
        """Remember who was given these jobs."""
        if caller.is_admin or caller.token is None:
            return
        if len(self._known) + len(jobs) > KNOWN:
            self._known.clear()
        self._known.update({(job.id, job.lease): caller.token.id for job in jobs})

    def gave_back(self, leases: Sequence[Lease]) -> None:
        """Forget leases that have ended."""
        for lease in leases:
            self._known.pop((lease.id, lease.lease), None)

    async def check(self, caller: Caller, leases: Sequence[Lease]) -> None:
        """Let a caller write under these leases, or AccessError.

        A lease that is over by now is nobody's: what is written under it is refused anyway. One
        that was not given yet could be somebody else's by the time of writing.
        """
        if caller.is_admin or caller.token is None:
            return
        mine = caller.token.id
        for lease in leases:
            if self._known.get((lease.id, lease.lease)) == mine:
                continue
            try:
                job = await self._store.get(lease.id)
            except NotFoundError:
                continue
            held = job.state is State.RUNNING and job.lease == lease.lease
            foreign = held and not may_be(caller, job.worker or "")
            if foreign or lease.lease > job.lease:
                raise AccessError(
                    f"the token {mine} does not hold job {lease.id}: an agent may touch only jobs "
                    "that it has claimed"
                )

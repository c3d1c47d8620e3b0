"""Makes sure that an agent writes only to jobs that its own workers hold."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.job import JobRecord, State
from ..errors import AccessError, NotFoundError
from ..store.messages import Lease
from ..store.protocol import Store
from .auth import Principal

MAX_KNOWN_LEASES = 100_000


class LeaseOwners:
    """Which token holds which lease. Leases it does not know, as after a restart, are looked up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._token_of: dict[tuple[str, int], str] = {}

    def record(self, principal: Principal, jobs: Sequence[JobRecord]) -> None:
        """Remember who claimed these jobs."""
        if principal.is_admin or principal.token is None:
            return
        if len(self._token_of) + len(jobs) > MAX_KNOWN_LEASES:
            self._token_of.clear()
        self._token_of.update({(job.id, job.lease): principal.token.id for job in jobs})

    def forget(self, leases: Sequence[Lease]) -> None:
        """Forget leases that have ended."""
        for lease in leases:
            self._token_of.pop((lease.id, lease.lease), None)

    async def check(self, principal: Principal, leases: Sequence[Lease]) -> None:
        """Allow writes under these leases, or raise AccessError.

        A lease that has ended is allowed: the store refuses such a write anyway. A lease that does
        not exist yet is not: by the time of the write another token could hold it.
        """
        if principal.is_admin or principal.token is None:
            return
        own_id = principal.token.id
        for lease in leases:
            if self._token_of.get((lease.id, lease.lease)) == own_id:
                continue
            try:
                job = await self._store.get(lease.id)
            except NotFoundError:
                continue
            is_current = job.state is State.RUNNING and job.lease == lease.lease
            is_foreign = is_current and not principal.may_act_as(job.worker or "")
            if is_foreign or lease.lease > job.lease:
                raise AccessError(
                    f"token {own_id} does not hold job {lease.id}: an agent may write only to "
                    "jobs that it has claimed"
                )

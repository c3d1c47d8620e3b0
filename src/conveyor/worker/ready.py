"""The jobs that a worker has claimed and that wait for a slot of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from ..core.job import JobRecord
from ..store.messages import Lease
from .lease_renewer import Claim


class Ready:
    """Hands jobs to slots in the order in which they came. Use it within one event loop."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[JobRecord, Claim]] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def jobs(self) -> list[JobRecord]:
        """What waits."""
        return [job for job, _ in self._jobs]

    def add(self, jobs: Sequence[JobRecord], claim: Claim) -> None:
        """Have slots take these, the next that are free."""
        self._jobs.extend((job, claim) for job in jobs)
        for _ in range(min(len(self._idle), len(self._jobs))):
            future = self._idle.popleft()
            if not future.done():
                future.set_result(None)

    async def next(self) -> tuple[JobRecord, Claim]:
        """Return the next job, and when it was claimed, once there is one."""
        while not self._jobs:
            future = asyncio.get_running_loop().create_future()
            self._idle.append(future)
            await future
        return self._jobs.popleft()

    def take_back(self, count: int) -> list[JobRecord]:
        """Take those that came last away again."""
        return [self._jobs.pop()[0] for _ in range(count)]

    def remove(self, lease: Lease) -> list[JobRecord]:
        """Take the job under this lease away, if it still waits."""
        for place in self._jobs:
            job, _ = place
            if job.id == lease.id and job.lease == lease.lease:
                self._jobs.remove(place)
                return [job]
        return []

"""Blocks slots that have no job, and wakes one of them for each new job."""

from __future__ import annotations

import asyncio
from collections import deque


class IdleSlots:
    """The slots that wait, in their order. It belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    def wake(self, count: int) -> None:
        """Wake the slots that have waited longest, as many as there are new jobs."""
        for _ in range(min(count, len(self._waiting))):
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    async def wait(self) -> None:
        """Wait until woken."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():
                self.wake(1)  # it was woken before it was cancelled
            elif future in self._waiting:
                self._waiting.remove(future)
            raise

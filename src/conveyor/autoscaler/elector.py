"""Leader election among scalers of one name: only the leader acts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..core.event_log import open_event_log
from ..errors import ConveyorError
from ..store.messages import Leader
from ..store.protocol import Store

log = open_event_log("autoscaler")

# How long a leader keeps its leadership without renewing it, in seconds.
LEADER_TTL = 30.0
# The part of that after which the leadership is renewed during a long cycle.
RENEW_AFTER = 0.25


class Elector:
    """One candidate, `holder`, for the leadership `name`.

    `elapsed` is a monotonic clock in seconds. It is read before the call of the store, so that the
    leadership ends here before it ends in the store.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        holder: str,
        *,
        elapsed: Callable[[], float],
        ttl: float = LEADER_TTL,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name, self.holder = name, holder
        self._store, self._ttl = store, ttl
        self._elapsed, self._sleep = elapsed, sleep
        self._leads_until = float("-inf")

    @property
    def is_leader(self) -> bool:
        """Whether no other scaler can lead now."""
        return self._elapsed() < self._leads_until

    async def acquire(self, note: str | None = None) -> Leader:
        """Acquire or renew the leadership, and store a note with it; returns the leader."""
        asked_at = self._elapsed()
        leader = await self._store.lead(self.name, self.holder, hold=self._ttl, note=note)
        is_leader = leader.holder == self.holder
        self._leads_until = asked_at + self._ttl if is_leader else float("-inf")
        return leader

    async def renew_until_cancelled(self) -> None:
        """Renew the leadership in the background. It expires if the store is unavailable."""
        while True:
            await self._sleep(self._ttl * RENEW_AFTER)
            try:
                await self.acquire()
            except ConveyorError as error:
                log.warning("scale.unavailable error=%s", error)

    async def resign(self) -> None:
        """Give up the leadership, so that another can lead at once; best effort."""
        if not self.is_leader:
            return
        self._leads_until = float("-inf")
        try:
            await self._store.lead(self.name, self.holder, hold=0)
        except ConveyorError as error:
            log.warning("scale.unavailable error=%s", error)

"""One scaler of several acts: the one that holds the leadership, for as long as that lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..errors import ConveyorError
from ..store.messages import Leader
from ..store.protocol import Store

log = logging.getLogger("conveyor.autoscaler")

# For how long one that is not heard from any more still leads, in seconds.
HOLD = 30.0
# The part of that after which it is renewed during long work.
RENEW = 0.25


class Leadership:
    """The leadership `name`, as `holder` has it or not.

    `elapsed` tells how much time has passed since some moment. It counts from before the store is
    asked, so that it ends here before it does there.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        holder: str,
        *,
        elapsed: Callable[[], float],
        hold: float = HOLD,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name, self.holder = name, holder
        self._store, self._hold = store, hold
        self._elapsed, self._sleep = elapsed, sleep
        self._until = float("-inf")

    @property
    def held(self) -> bool:
        """Whether nobody else can lead now."""
        return self._elapsed() < self._until

    async def take(self, note: str | None = None) -> Leader:
        """Take or keep it, with a note if there is one; returns who leads."""
        asked_at = self._elapsed()
        leader = await self._store.lead(self.name, self.holder, hold=self._hold, note=note)
        mine = leader.holder == self.holder
        self._until = asked_at + self._hold if mine else float("-inf")
        return leader

    async def keep(self) -> None:
        """Renew it until cancelled. What cannot be renewed lapses."""
        while True:
            await self._sleep(self._hold * RENEW)
            try:
                await self.take()
            except ConveyorError as error:
                log.warning("scale.unavailable error=%s", error)

    async def give_up(self) -> None:
        """Let somebody else lead at once; a store that does not hear it lets it lapse."""
        if not self.held:
            return
        self._until = float("-inf")
        try:
            await self._store.lead(self.name, self.holder, hold=0)
        except ConveyorError as error:
            log.warning("scale.unavailable error=%s", error)

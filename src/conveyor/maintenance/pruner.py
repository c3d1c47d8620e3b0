"""Deletes old final jobs, and contents of files that no job needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..core.job import State
from ..store.protocol import Store

PRUNE_EVERY = 60.0
# How soon it goes on, in seconds, when there was more to delete than one batch.
NEXT_BATCH_AFTER = 1.0
BATCH = 1000

DAY = 86400.0
RETENTION: Mapping[State, float] = {
    State.COMPLETED: DAY,
    State.CANCELLED: 7 * DAY,
    State.DISCARDED: 30 * DAY,
}


class Pruner:
    """Prunes once a minute. `retention` is how long final jobs are kept, in seconds, by state."""

    def __init__(
        self,
        store: Store,
        *,
        retention: Mapping[State, float] = RETENTION,
        elapsed: Callable[[], float],
    ) -> None:
        self._store = store
        self._retention = retention
        self._elapsed = elapsed
        self._due = elapsed() + PRUNE_EVERY / 2

    def make_due(self) -> None:
        """Prune in the next round."""
        self._due = self._elapsed()

    async def prune_if_due(self, times: float = 1.0) -> None:
        """Delete old jobs, if it is time; `times` as rarely if there is little to delete."""
        now = self._elapsed()
        if now < self._due:
            return
        pruned = await self._store.prune(self._retention, limit=BATCH)
        self._due = now + (NEXT_BATCH_AFTER if pruned == BATCH else PRUNE_EVERY)
        await self._store.sweep_contents(limit=BATCH)

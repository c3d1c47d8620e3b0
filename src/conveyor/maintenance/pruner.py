"""Deletes old final jobs, and contents of files that no job needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..core.job import State
from ..store.protocol import Store

PRUNE_EVERY = 60.0
# How soon it goes on, in seconds, when there was more to delete than one batch.
NEXT_BATCH_AFTER = 1.0
# Jobs in one transaction, and in one of a store across a network, where a call waits longer than it
# works and nobody waits for it.
BATCH, LARGE_BATCH = 1000, 5000
# How many transactions and how long, in seconds, a round may take.
MOST_BATCHES, BUSY_FOR = 50, 0.1

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
        self._batch = LARGE_BATCH if store.can_be_partitioned else BATCH

    def make_due(self) -> None:
        """Prune in the next round."""
        self._due = self._elapsed()

    async def prune_if_due(self, times: float = 1.0) -> None:
        """Delete old jobs, if it is time; `times` as rarely if there is little to delete."""
        began = self._elapsed()
        if began < self._due:
            return
        self._due = began + NEXT_BATCH_AFTER
        for _ in range(MOST_BATCHES):
            if await self._store.prune(self._retention, limit=self._batch) < self._batch:
                self._due = began + PRUNE_EVERY * times
                break
            if self._elapsed() - began > BUSY_FOR:
                break
        await self._store.sweep_contents(limit=BATCH)

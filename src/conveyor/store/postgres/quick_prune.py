"""Deletes old jobs in one statement for each batch, and begins where the last batch ended.

The index of final jobs keeps the entries of deleted ones until a vacuum that no transaction holds
back, and a search for the oldest walks them all.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...core.job import State
from ...core.queue_totals import leaving
from ..sql.operations.discards import recount_queues
from ..sql.operations.maintenance import prune
from ..sql.rows import NO_QUEUE
from ..sql.transaction import Tx


class QuickPrune:
    """Prunes for one process. What is beside jobs is left to the shared operation."""

    def __init__(self) -> None:
        # When the last deleted job of a state ended, while more of that state are left.
        self._floors: dict[State, float] = {}

    async def prune(self, tx: Tx, retention: Mapping[State, float], *, limit: int) -> int:
        """Delete a batch, unless another process is doing it; returns how many jobs."""
        if not (await tx.rows("try_to_prune"))[0][0]:
            return 0
        pruned = 0
        has_strays = False
        for state, seconds in retention.items():
            if pruned < limit:
                rows = await self._delete(tx, state, tx.now - seconds, limit - pruned)
                pruned += sum(rows.values())
                has_strays = has_strays or NO_QUEUE in rows
        if pruned == limit:
            return pruned
        if has_strays:  # it reads every job
            await recount_queues(tx)
        return pruned + await prune(tx, retention, limit=limit - pruned)

    async def _delete(self, tx: Tx, state: State, before: float, limit: int) -> dict[str, int]:
        """Delete jobs of one state; returns how many of each queue."""
        since = self._floors.get(state, float("-inf"))
        deleted: dict[str, int] = {}
        total, latest = 0, since
        for lane, count, last in await tx.rows("prune_old", (state, since, before, limit)):
            queue = await tx.queue_of(lane)
            await tx.tally(queue, state, -count)
            await tx.note_past(queue, leaving(state, deleted=True), count)
            deleted[queue] = deleted.get(queue, 0) + count
            total, latest = total + count, max(latest, last)
        if total == limit:
            self._floors[state] = latest
        else:
            self._floors.pop(state, None)
        return deleted

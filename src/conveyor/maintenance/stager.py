"""Makes due jobs available."""

from __future__ import annotations

from ..store.protocol import MaintenanceStore

BATCH = 1000


class Stager:
    """Stages what is due, and remembers when the next job will be."""

    def __init__(self, store: MaintenanceStore) -> None:
        self._store = store
        self.next_due_at: float | None = None

    async def stage(self) -> bool:
        """Make due jobs available; return whether there were any."""
        staged = await self._store.stage(limit=BATCH)
        self.next_due_at = staged.next_due_at
        return staged.moved > 0

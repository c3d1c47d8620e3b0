"""What all viewers of the dashboard are told each second: computed once, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import msgspec

from ...core.event_log import open_event_log
from ...errors import ConveyorError
from ...store.protocol import Store

log = open_event_log("dashboard")

EVERY = 1.0  # seconds


class SnapshotFeed:
    """Computes a snapshot each second while somebody looks. Belongs to one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wakes: set[Callable[[], None]] = set()
        self._task: asyncio.Task[None] | None = None
        # The last snapshot as JSON, and how many there were.
        self.latest = b""
        self.number = 0

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._wakes)

    @contextmanager
    def viewer(self, wake: Callable[[], None]) -> Generator[None]:
        """Call `wake` after each snapshot within the context."""
        self._wakes.add(wake)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            yield
        finally:
            self._wakes.discard(wake)
            if not self._wakes:
                self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            self.latest = msgspec.json.encode(await self._read())
            self.number += 1
            for wake in self._wakes:
                wake()
            await asyncio.sleep(EVERY)

    async def _read(self) -> dict[str, Any]:
        try:
            return {"at": self._store.now(), **await read_health(self._store)}
        except ConveyorError as error:
            # The pages show what they have, and that the store cannot be reached.
            log.warning("snapshot.failed error=%s", error)
        except Exception:  # else the feed would end, and pages would go on to say "live"
            log.exception("snapshot.failed")
        return {"at": self._store.now(), "health": None}


async def read_health(store: Store) -> dict[str, Any]:
    """Return how many problems there are, and how many jobs wait and run."""
    seen = await store.overview(queues=0)
    return {"health": seen.health, "waiting": seen.waiting, "running": seen.running}

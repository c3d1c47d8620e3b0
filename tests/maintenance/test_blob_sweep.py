"""The upkeep removes the contents of files that nobody needs, where it prunes."""

from __future__ import annotations

import asyncio
import hashlib

from conveyor.core.job import WorkerInfo
from conveyor.maintenance.upkeep import PRUNE, Upkeep
from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol_files import UNUSED
from conveyor.testing import FakeClock

ME = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1, queues=()
)


def test_contents_that_nobody_needs_go_within_a_round_of_pruning() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    digest = hashlib.sha256(b"x").hexdigest()
    store.write_content(digest, 0, b"x", last=True).result()

    async def work() -> None:
        upkeep = Upkeep(store=store, me=lambda: ME, elapsed=clock.now)
        await upkeep.round()
        clock.advance(UNUSED - 1)
        await upkeep.round()
        assert digest in store._blobs.contents
        clock.advance(PRUNE + 2)
        await upkeep.round()
        assert digest not in store._blobs.contents

    asyncio.run(work())

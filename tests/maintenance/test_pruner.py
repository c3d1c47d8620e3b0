"""Pruning removes the contents of files that no job needs."""

from __future__ import annotations

import asyncio
import hashlib

from conveyor.maintenance.pruner import PRUNE_EVERY, Pruner
from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol_files import UNUSED
from conveyor.testing import FakeClock


def test_contents_that_no_job_needs_are_deleted_when_it_prunes() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    digest = hashlib.sha256(b"x").hexdigest()
    store.write_content(digest, 0, b"x", last=True).result()

    async def work() -> None:
        pruner = Pruner(store, elapsed=clock.now)
        await pruner.prune_if_due()
        clock.advance(UNUSED - 1)
        await pruner.prune_if_due()
        assert digest in store._blobs.contents
        clock.advance(PRUNE_EVERY + 2)
        await pruner.prune_if_due()
        assert digest not in store._blobs.contents

    asyncio.run(work())

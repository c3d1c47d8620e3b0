"""Pruning: how soon the next batch follows, and the contents of files that no job needs."""

from __future__ import annotations

import asyncio
import hashlib

from conveyor.core.job import NewJob, State
from conveyor.maintenance.pruner import BATCH, NEXT_BATCH_AFTER, PRUNE_EVERY, Pruner
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


def test_a_full_batch_is_followed_by_another_within_a_second_and_a_partial_one_is_not() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    old = [NewJob(id=f"job-{number:04}", task="t", queue="q") for number in range(BATCH + 1)]
    store.insert(old).result()
    for job in old:
        store.cancel(job.id, reason="r").result()

    async def left_after(pruner: Pruner, seconds: float) -> int:
        clock.advance(seconds)
        await pruner.prune_if_due()
        return sum(sum(queue.counts.values()) for queue in await store.counts())

    async def main() -> None:
        pruner = Pruner(store, retention={State.CANCELLED: 0.5}, elapsed=clock.now)
        assert await left_after(pruner, PRUNE_EVERY) == 1
        assert await left_after(pruner, NEXT_BATCH_AFTER) == 0
        store.insert([NewJob(id="late", task="t", queue="q")]).result()
        store.cancel("late", reason="r").result()
        assert await left_after(pruner, NEXT_BATCH_AFTER) == 1
        assert await left_after(pruner, PRUNE_EVERY) == 0

    asyncio.run(main())

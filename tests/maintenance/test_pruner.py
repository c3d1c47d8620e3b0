"""Pruning: how soon the next batch follows, and the contents of files that no job needs."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Mapping

from conveyor.core.job import NewJob, State
from conveyor.core.pending import Pending
from conveyor.maintenance.pruner import BATCH, NEXT_BATCH_AFTER, PRUNE_EVERY, Pruner
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Filter
from conveyor.store.protocol_files import UNUSED
from conveyor.testing import FakeClock

NUMBERS = itertools.count()


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


class SlowPruning(MemoryStore):
    """A store in which a batch takes some time."""

    takes = 0.0

    def prune(self, retention: Mapping[State, float], *, limit: int) -> Pending[int]:
        self.slow_clock.advance(self.takes)
        return super().prune(retention, limit=limit)

    slow_clock: FakeClock


def test_full_batches_follow_each_other_for_a_tenth_of_each_second() -> None:
    clock = FakeClock()
    store = SlowPruning(clock)
    store.slow_clock = clock

    def cancel(count: int) -> None:
        for number in range(count):
            job = NewJob(id=f"job-{next(NUMBERS):06}", task="t", queue="q")
            store.insert([job]).result()
            store.cancel(job.id, reason=str(number)).result()

    async def left_after(pruner: Pruner, seconds: float) -> int:
        clock.advance(seconds)
        await pruner.prune_if_due()
        return sum(sum(queue.counts.values()) for queue in await store.counts())

    async def main() -> None:
        pruner = Pruner(store, retention={State.CANCELLED: 0.5}, elapsed=clock.now)
        cancel(3 * BATCH + 1)
        store.takes = 0.06
        assert await left_after(pruner, PRUNE_EVERY) == BATCH + 1
        assert await left_after(pruner, NEXT_BATCH_AFTER - 0.2) == BATCH + 1
        store.takes = 0.0
        assert await left_after(pruner, NEXT_BATCH_AFTER) == 0
        cancel(1)
        assert await left_after(pruner, NEXT_BATCH_AFTER) == 1
        assert await left_after(pruner, PRUNE_EVERY) == 0

    asyncio.run(main())


def test_among_many_workers_each_looks_more_rarely() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)

    async def main() -> None:
        pruner = Pruner(store, retention={State.CANCELLED: 0.5}, elapsed=clock.now)
        clock.advance(PRUNE_EVERY)
        await pruner.prune_if_due(2.0)
        store.insert([NewJob(id="a", task="t", queue="q")]).result()
        store.cancel("a", reason="r").result()
        for is_there in (True, False):
            clock.advance(PRUNE_EVERY)
            await pruner.prune_if_due(2.0)
            assert bool(await store.find(Filter(), limit=1)) is is_there

    asyncio.run(main())

"""The stager makes due jobs available, and knows when the next one is due."""

from __future__ import annotations

import asyncio

from conveyor.core.job import NewJob, State
from conveyor.maintenance.stager import Stager
from conveyor.store.memory.store import MemoryStore
from conveyor.testing import FakeClock


def test_a_job_becomes_available_when_it_is_due(clock: FakeClock, store: MemoryStore) -> None:
    due_at = clock.now() + 10
    store.insert([NewJob(id="a", task="t", run_at=due_at)]).result()

    async def work() -> None:
        stager = Stager(store)
        assert not await stager.stage()
        assert stager.next_due_at == due_at
        clock.advance(10)
        assert await stager.stage()
        assert stager.next_due_at is None

    asyncio.run(work())
    assert store.get("a").result().state is State.AVAILABLE

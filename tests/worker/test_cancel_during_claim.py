"""A cancel that meets a job while it is being claimed is heard, whatever else is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from conveyor import Conveyor, Job, State
from conveyor.core.job import OutputChunk
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Renewal


class Full(MemoryStore):
    """Keeps what jobs write only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def write_output(self, chunks: Sequence[OutputChunk]) -> list[Renewal]:  # type: ignore[override]
        self.asked.set()
        await self.go.wait()
        return await super().write_output(chunks)


def test_a_job_claimed_while_output_is_sent_receives_its_cancel() -> None:
    store = Full()
    belt = Conveyor(store=store)

    @belt.task
    async def speak() -> None:
        print("something")
        second.append(await endless.aenqueue())
        await asyncio.sleep(60)

    @belt.task
    async def endless() -> None:
        await asyncio.sleep(60)

    second = list[Job[None]]()

    async def main() -> None:
        async with belt.worker(slots=2, drain=0.0):
            await speak.aenqueue()
            async with asyncio.timeout(60):
                await store.asked.wait()
                [job] = second
                while (await job.arefresh()).state is not State.RUNNING:  # noqa: ASYNC110 - it is asked for
                    await asyncio.sleep(0.001)
                assert not await job.acancel(wait=0.0)
                await asyncio.sleep(0)
                store.go.set()
                # Far less than the quarter of a lease after which it would be heard in any case.
                assert (await job.await_final(10.0)).state is State.CANCELLED

    asyncio.run(main())

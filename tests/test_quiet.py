"""A worker that is told to be quiet is so from then on, whatever the store says."""

from __future__ import annotations

import asyncio

from conveyor import Conveyor
from conveyor.job import WorkerInfo
from conveyor.store.memory import MemoryStore
from conveyor.store.messages import Order


class Hesitant(MemoryStore):
    """Answers to a beat only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def beat(self, worker: WorkerInfo) -> Order:  # type: ignore[override]
        answer = await super().beat(worker)
        self.asked.set()
        await self.go.wait()
        return answer


def test_an_answer_that_was_on_its_way_does_not_undo_what_was_wished() -> None:
    async def main() -> list[str]:
        store, said = Hesitant(), list[str]()
        worker = Conveyor(store=store).worker()
        worker.on_phase = lambda phase, _running: said.append(phase)
        async with worker:
            await store.asked.wait()
            worker.be_quiet()
            store.go.set()
            async with asyncio.timeout(20):
                while not store.workers().result()[0].quiet:
                    store.asked.clear()
                    await store.asked.wait()
        return said

    assert asyncio.run(main()) == ["quiet", "draining"]


def test_a_wish_from_before_the_first_beat_is_kept() -> None:
    async def main() -> list[str]:
        store, said = Hesitant(), list[str]()
        worker = Conveyor(store=store).worker()
        worker.on_phase = lambda phase, _running: said.append(phase)
        worker.be_quiet()
        store.go.set()
        async with asyncio.timeout(20), worker:
            await store.asked.wait()
            while not store.workers().result()[0].quiet:
                store.asked.clear()
                await store.asked.wait()
            assert await store.beat(store.workers().result()[0]) == "quiet"
        return said

    assert asyncio.run(main()) == ["quiet", "draining"]

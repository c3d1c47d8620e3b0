"""A worker that is told to be quiet is so from then on, whatever the store says."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from conveyor import Conveyor
from conveyor.core.job import WorkerInfo
from conveyor.core.pending import Pending
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Order


class Hesitant(MemoryStore):
    """Answers to a beat only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        return SlowAnswer(self, super().beat(worker))


class SlowAnswer(Pending[Order]):
    """The answer to a beat, for whom the store hesitates."""

    def __init__(self, store: Hesitant, answer: Pending[Order]) -> None:
        super().__init__()
        self._store = store
        self._answered = answer

    def __await__(self) -> Generator[Any, None, Order]:
        answer = yield from self._answered.__await__()
        self._store.asked.set()
        yield from self._store.go.wait().__await__()
        return answer


def test_a_late_response_does_not_undo_a_newer_request() -> None:
    async def main() -> list[str]:
        store, said = Hesitant(), list[str]()
        worker = Conveyor(store=store).worker()
        worker.on_phase = lambda phase, _running: said.append(phase)
        async with worker:
            await store.asked.wait()
            worker.be_quiet()
            store.go.set()
            async with asyncio.timeout(60):
                while not store.workers().result()[0].quiet:
                    store.asked.clear()
                    await store.asked.wait()
        return said

    assert asyncio.run(main()) == ["quiet", "draining"]


def test_a_request_made_before_the_first_heartbeat_is_kept() -> None:
    async def main() -> list[str]:
        store, said = Hesitant(), list[str]()
        worker = Conveyor(store=store).worker()
        worker.on_phase = lambda phase, _running: said.append(phase)
        worker.be_quiet()
        store.go.set()
        async with asyncio.timeout(60), worker:
            await store.asked.wait()
            while not store.workers().result()[0].quiet:
                store.asked.clear()
                await store.asked.wait()
            assert await store.beat(store.workers().result()[0]) == "quiet"
        return said

    assert asyncio.run(main()) == ["quiet", "draining"]


def test_a_worker_ordered_to_drain_cannot_resume_itself() -> None:
    async def main() -> list[str]:
        store, said = Hesitant(), list[str]()
        store.go.set()
        belt = Conveyor(store=store)
        release, begun = asyncio.Event(), asyncio.Event()

        @belt.task
        async def waits() -> None:
            begun.set()
            await release.wait()

        worker = belt.worker()
        draining = asyncio.Event()

        def hear(phase: str, _running: object) -> None:
            said.append(phase)
            draining.set()

        worker.on_phase = hear
        async with asyncio.timeout(60), worker:
            job = await waits.aenqueue()
            await begun.wait()
            await store.order(worker.id, "drain")
            worker.be_quiet(quiet=False)
            await draining.wait()
            for _ in range(2):  # it beats on, as its wish is dropped
                store.asked.clear()
                worker.parts.maintenance.wake(sweep=True)
                await store.asked.wait()
            assert await store.beat(store.workers().result()[0]) == "drain"
            release.set()
            await job
            assert worker._run is not None
            await worker._run  # it ends by itself, within the block
        assert store.workers().result() == []
        return said

    assert asyncio.run(main()) == ["draining"]


def test_an_embedded_worker_drains_on_an_order_from_the_store() -> None:
    store = MemoryStore()
    belt = Conveyor(store=store)

    @belt.task
    async def double(number: int) -> int:
        return 2 * number

    worker = belt.start(slots=1)
    assert double.enqueue(2).result(60) == 4
    assert store.order(worker.id, "drain").result()
    assert worker.ended.wait(60)
    assert store.workers().result() == []
    assert belt.stop(60)
    # The program goes on, and may start another.
    belt.start(slots=1)
    assert double.enqueue(3).result(60) == 6
    assert belt.stop(60)

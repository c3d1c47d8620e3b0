"""Where calls do not keep their order, a worker claims only once the store knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from conveyor import AccessError, Conveyor
from conveyor.core.job import WorkerInfo
from conveyor.core.pending import Pending, failed, wake
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Exchanged, Order, Report, Want

LONG = 60.0


class OvertakenStore(MemoryStore):
    """The first beat takes effect only when the test lets it arrive; other calls overtake it."""

    keeps_call_order = False

    def __init__(self) -> None:
        super().__init__()
        self.beats: list[tuple[WorkerInfo, Pending[Order]]] = []
        self.sent = asyncio.Event()
        self.has_arrived = False
        self.claims = 0

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        if self.has_arrived:
            return super().beat(worker)
        pending: Pending[Order] = Pending()
        self.beats.append((worker, pending))
        self.sent.set()
        return pending

    def let_arrive(self) -> None:
        self.has_arrived = True
        for worker, pending in self.beats:
            pending.resolve(super().beat(worker).result())
            wake([pending])

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], *args: Any, **options: Any
    ) -> Pending[Exchanged]:
        self.claims += bool(wants)
        return super().exchange(reports, wants, *args, **options)


def test_the_first_claim_follows_the_first_beat() -> None:
    store = OvertakenStore()
    belt = Conveyor(store=store)

    @belt.task
    async def job() -> int:
        return 1

    enqueued = job.enqueue()

    async def main() -> None:
        worker = belt.worker(slots=1)
        running = asyncio.create_task(worker.run())
        await store.sent.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert store.claims == 0
        store.let_arrive()
        assert await enqueued == 1
        worker.drain()
        await running

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_a_worker_that_the_store_never_hears_of_can_be_drained() -> None:
    store = OvertakenStore()
    belt = Conveyor(store=store)

    async def main() -> None:
        worker = belt.worker(slots=1)
        running = asyncio.create_task(worker.run())
        await store.sent.wait()
        worker.drain()
        store.let_arrive()
        await running

    asyncio.run(asyncio.wait_for(main(), LONG))
    assert store.claims == 0


class RefusingStore(OvertakenStore):
    """Takes no beat, as a server does once the worker's token is revoked."""

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        return failed(AccessError(f"the token of {worker.id} is revoked"))


def test_a_worker_whose_first_beat_is_refused_ends() -> None:
    async def main() -> None:
        worker = Conveyor(store=RefusingStore()).worker(slots=1)
        await worker.run()
        assert worker.denied == f"the token of {worker.id} is revoked"

    asyncio.run(asyncio.wait_for(main(), LONG))

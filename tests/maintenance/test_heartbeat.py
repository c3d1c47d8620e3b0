"""The heartbeat tells the store that a worker lives, and the worker what it is ordered to do."""

from __future__ import annotations

import asyncio

import pytest

from conveyor.core.job import WorkerInfo
from conveyor.core.pending import Pending, wake
from conveyor.maintenance.heartbeat import WorkerHeartbeat
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Order

ME = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1, queues=()
)


def heartbeat(store: MemoryStore, orders: list[Order]) -> WorkerHeartbeat:
    made = WorkerHeartbeat(store, lambda: ME)
    made.on_order = orders.append
    return made


@pytest.mark.parametrize("order", ["work", "quiet", "drain"])
def test_each_beat_passes_on_the_order_of_the_store(store: MemoryStore, order: Order) -> None:
    async def work() -> None:
        orders = list[Order]()
        made = heartbeat(store, orders)
        await made.beat()
        await store.order("w", order)
        await made.beat()
        assert orders == ["work", order]

    asyncio.run(work())


def test_a_request_of_the_worker_is_newer_than_the_answer_of_the_store(store: MemoryStore) -> None:
    async def work() -> None:
        orders = list[Order]()
        made = heartbeat(store, orders)
        made.request("quiet")
        await made.beat()
        assert (orders, made.has_request) == (["quiet"], False)
        assert await store.beat(ME) == "quiet"

    asyncio.run(work())


def test_a_drain_is_final_whatever_the_worker_requests(store: MemoryStore) -> None:
    async def work() -> None:
        orders = list[Order]()
        made = heartbeat(store, orders)
        await made.beat()
        await store.order("w", "drain")
        made.request("work")
        await made.beat()
        assert (orders, made.has_request) == (["work", "drain"], False)

    asyncio.run(work())


class SlowBeats(MemoryStore):
    """A store that carries out a beat late: when the test says so."""

    def beat(self, worker: WorkerInfo) -> Pending[Order]:
        self.beating: Pending[Order] = Pending()
        self.arrive = lambda: self.beating.resolve(super(SlowBeats, self).beat(worker).result())
        return self.beating


def test_a_worker_leaves_after_a_beat_that_is_still_on_its_way() -> None:
    async def work() -> None:
        store = SlowBeats()
        made = heartbeat(store, [])
        beating = asyncio.create_task(made.beat())
        await asyncio.sleep(0)
        beating.cancel()
        leaving = asyncio.create_task(made.leave())
        await asyncio.sleep(0)
        store.arrive()
        wake([store.beating])
        await leaving
        assert await store.workers() == []

    asyncio.run(work())

"""The heartbeat tells the store that a worker lives, and the worker what it is ordered to do."""

from __future__ import annotations

import asyncio

import pytest

from conveyor.core.job import WorkerInfo
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

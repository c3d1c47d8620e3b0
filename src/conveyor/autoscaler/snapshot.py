"""A snapshot of waiting jobs, workers and machines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from ..core.job import WorkerInfo
from ..errors import ConveyorError
from ..store.call_style import AsyncCalls
from ..store.messages import Load
from ..store.page_walk import read_workers
from ..store.protocol import Store
from .provider import Machine, Provider

# Maximum number of loads (queues and label sets) in a snapshot.
MAX_LOADS = 10_000


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the store and the providers report at `at`, by the store's clock.

    `machines` are by provider; `unreachable` has the reason, by provider.
    """

    at: float
    loads: Sequence[Load]
    workers: Sequence[WorkerInfo]
    machines: Mapping[str, Sequence[Machine]]
    unreachable: Mapping[str, str]


async def take_snapshot(store: Store, providers: Mapping[str, Provider]) -> Snapshot:
    """Query the store and all providers; UnavailableError if the store does not answer."""
    # The clock of a remote store is read over the network.
    at = await asyncio.to_thread(store.now)
    loads = await store.load(limit=MAX_LOADS)
    machines: dict[str, Sequence[Machine]] = {}
    unreachable: dict[str, str] = {}

    async def list_machines(name: str, provider: Provider) -> None:
        try:
            machines[name] = await provider.list()
        except ConveyorError as error:
            unreachable[name] = str(error)

    async with asyncio.TaskGroup() as group:
        for name, provider in providers.items():
            group.create_task(list_machines(name, provider))
    # After the machines, so that the agent of a listed machine has had time to register.
    workers = await read_workers(AsyncCalls(), store)
    return Snapshot(at=at, loads=loads, workers=workers, machines=machines, unreachable=unreachable)

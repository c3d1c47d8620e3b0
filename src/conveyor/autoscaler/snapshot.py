"""One look at the world: what waits, who works, which machines there are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from ..core.job import WorkerInfo
from ..errors import ConveyorError
from ..store.messages import Load
from ..store.protocol import Store
from .provider import Machine, Provider

# Most queues and sets of labels that are looked at.
LOADS = 10_000


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What one look has seen, by the store's clock `at`.

    `machines` are by provider; of one that could not be asked `blind` says why.
    """

    at: float
    loads: Sequence[Load]
    workers: Sequence[WorkerInfo]
    machines: Mapping[str, Sequence[Machine]]
    blind: Mapping[str, str]


async def look(store: Store, providers: Mapping[str, Provider]) -> Sight:
    """Look at everything; UnavailableError when that cannot be told of the store."""
    # A store beyond a network may have to be asked for its time.
    at = await asyncio.to_thread(store.now)
    loads = await store.load(limit=LOADS)
    machines: dict[str, Sequence[Machine]] = {}
    blind: dict[str, str] = {}

    async def ask(name: str, provider: Provider) -> None:
        try:
            machines[name] = await provider.list()
        except ConveyorError as error:
            blind[name] = str(error)

    async with asyncio.TaskGroup() as group:
        for name, provider in providers.items():
            group.create_task(ask(name, provider))
    # After the machines: an agent whose machine was listed has had the time to say that it is here.
    workers = await store.workers()
    return Sight(at=at, loads=loads, workers=workers, machines=machines, blind=blind)

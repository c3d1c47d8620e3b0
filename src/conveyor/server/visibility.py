"""What a token may see of queues, workers and the load, for calls that return all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec

from ..core.job import QueueInfo, WorkerInfo
from ..errors import NotFoundError
from ..store.messages import Load
from ..store.protocol import Store


async def queues_named(
    store: Store, names: Sequence[str], *, after: str = ""
) -> AsyncIterator[QueueInfo]:
    """Yield those of the named queues that were ever used, by name, after a name."""
    for name in sorted(set(names)):
        if name > after:
            with suppress(NotFoundError):  # no job was ever put into it
                yield await store.queue_info(name)


async def loads_of(store: Store, names: Sequence[str], *, limit: int) -> list[Load]:
    """Return the load of the named queues; of all queues if none is named."""
    if not names:
        return await store.load(limit=limit)
    loads: list[Load] = []
    for name in sorted(set(names)):
        if len(loads) < limit:
            loads += await store.load(limit=limit - len(loads), queue=name)
    return loads


def visible_workers(workers: Sequence[WorkerInfo], queues: Sequence[str]) -> list[WorkerInfo]:
    """Return the workers that serve any of the queues, with only what is of these queues.

    Their tasks and what their jobs wait for may be of any queue that they serve. Without queues,
    nothing is left out.
    """
    if not queues:
        return list(workers)
    visible: list[WorkerInfo] = []
    for worker in workers:
        served = tuple(queue for queue in worker.queues if queue in queues)
        if served and len(served) == len(worker.queues):
            visible.append(worker)
        elif served or not worker.queues:
            visible.append(msgspec.structs.replace(worker, queues=served, unsupported={}, waits={}))
    return visible

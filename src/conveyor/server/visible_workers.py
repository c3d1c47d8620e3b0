"""What a token that is limited to queues sees of the workers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..core.job import WorkerInfo


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

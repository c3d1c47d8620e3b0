"""Workers: who is there, what they are told, and how they go."""

from __future__ import annotations

import msgspec

from ...core.job import JobRecord, WorkerInfo
from ...core.lifecycle import lost_by
from ...errors import InvalidTransitionError, NotFoundError
from ..messages import SILENCE, Dismissed, Order
from ..worker_status import REMOVED, as_ordered, busy, draining, no_worker
from .claim import end_attempt
from .data import Memory


def beat(memory: Memory, worker: WorkerInfo) -> Order:
    """Note that a worker is there; say what it is to do."""
    memory.workers[worker.id] = msgspec.structs.replace(worker, beat_at=memory.now)
    return memory.orders.get(worker.id, "work")


def order(memory: Memory, worker: str, order: Order, *, if_idle: bool = False) -> bool:
    """Tell a worker what to do."""
    if worker not in memory.workers:
        raise NotFoundError(no_worker(worker))
    if order != "drain" and memory.orders.get(worker) == "drain":
        raise InvalidTransitionError(draining(worker))
    if if_idle and _held(memory, worker):
        return False
    _tell(memory, worker, order)
    return True


def dismiss(memory: Memory, worker: str, *, force: bool = False) -> Dismissed:
    """Have a worker go, or forget one that is silent."""
    known = memory.workers.get(worker)
    if known is None:
        raise NotFoundError(no_worker(worker))
    held = _held(memory, worker)
    if held and not force:
        raise busy(worker, len(held))
    for job in held:
        end_attempt(memory, job, lost_by(job, dead=True, begun=None, evidence=REMOVED))
        memory.say("cancel", job.id)
    forgotten = memory.now - known.beat_at > SILENCE
    if forgotten:
        leave(memory, worker)
    else:
        _tell(memory, worker, "drain")
    return Dismissed(forgotten, tuple(sorted(job.id for job in held)))


def leave(memory: Memory, worker: str) -> None:
    """Forget a worker."""
    memory.workers.pop(worker, None)
    memory.orders.pop(worker, None)


def workers(memory: Memory) -> list[WorkerInfo]:
    """Return all workers, by name."""
    return [
        as_ordered(memory.workers[name], memory.orders.get(name, "work"))
        for name in sorted(memory.workers)
    ]


def _held(memory: Memory, worker: str) -> list[JobRecord]:
    return [job for job in memory.books.running_jobs() if job.worker == worker]


def _tell(memory: Memory, worker: str, order: Order) -> None:
    if order == "work":
        memory.orders.pop(worker, None)
    else:
        memory.orders[worker] = order
    memory.say("quiet", worker)

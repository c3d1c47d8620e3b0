"""Workers: who is there, what they are told, and how they go."""

from __future__ import annotations

import msgspec

from ...core.job import JobRecord, WorkerInfo
from ...core.lifecycle import lost_by
from ..messages import Dismissed, Order
from ..worker_status import REMOVED, as_ordered, check_dismissal, check_order, is_silent, no_worker
from .claim import end_attempt
from .data import Memory


def beat(memory: Memory, worker: WorkerInfo) -> Order:
    """Note that a worker is there; say what it is to do."""
    memory.workers[worker.id] = msgspec.structs.replace(worker, beat_at=memory.now)
    return memory.orders.get(worker.id, "work")


def order(memory: Memory, worker: str, order: Order, *, if_idle: bool = False) -> bool:
    """Tell a worker what to do."""
    if worker not in memory.workers:
        raise no_worker(worker)
    check_order(worker, memory.orders.get(worker, "work"), order)
    if if_idle and _held(memory, worker):
        return False
    _tell(memory, worker, order)
    return True


def dismiss(memory: Memory, worker: str, *, force: bool = False) -> Dismissed:
    """Have a worker go, or forget one that is silent."""
    known = memory.workers.get(worker)
    if known is None:
        raise no_worker(worker)
    held = _held(memory, worker)
    check_dismissal(worker, len(held), force=force)
    for job in held:
        end_attempt(memory, job, lost_by(job, dead=True, begun=None, evidence=REMOVED))
        memory.say("cancel", job.id)
    forgotten = is_silent(known.beat_at, memory.now)
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

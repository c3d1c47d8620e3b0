"""Workers: heartbeats, orders and removal."""

from __future__ import annotations

import msgspec

from ...core.job import JobRecord, WorkerInfo
from ...core.lifecycle import lost_job_outcome
from ...core.page import LISTED, Page, cut_page
from ...core.storable import bounded_worker
from ..list_rules import worker_size
from ..messages import Dismissed, Order
from ..worker_status import REMOVED, as_ordered, check_dismissal, check_order, is_silent, no_worker
from .claim import end_lost
from .data import MemoryData
from .marks import mark_release


def beat(memory: MemoryData, worker: WorkerInfo) -> Order:
    """Record a worker's heartbeat and return its order."""
    kept = bounded_worker(worker)
    if worker.id not in memory.workers:
        mark_release(memory, kept)
    memory.workers[worker.id] = msgspec.structs.replace(kept, beat_at=memory.now)
    return memory.orders.get(worker.id, "work")


def order(memory: MemoryData, worker: str, order: Order, *, if_idle: bool = False) -> bool:
    """Give a worker an order."""
    if worker not in memory.workers:
        raise no_worker(worker)
    check_order(worker, memory.orders.get(worker, "work"), order)
    if if_idle and _held(memory, worker):
        return False
    _give_order(memory, worker, order)
    return True


def dismiss(memory: MemoryData, worker: str, *, force: bool = False) -> Dismissed:
    """Remove a worker: drain it, or delete it if it is silent."""
    known = memory.workers.get(worker)
    if known is None:
        raise no_worker(worker)
    held = _held(memory, worker)
    check_dismissal(worker, len(held), force=force)
    for job in held:
        outcome = lost_job_outcome(job, dead=[worker], begun=None, evidence=REMOVED)
        end_lost(memory, job, outcome)
        memory.hint("cancel", job.id)
    forgotten = is_silent(known.beat_at, memory.now)
    if forgotten:
        leave(memory, worker)
    else:
        _give_order(memory, worker, "drain")
    return Dismissed(forgotten, tuple(sorted(job.id for job in held)))


def leave(memory: MemoryData, worker: str) -> None:
    """Delete a worker."""
    memory.workers.pop(worker, None)
    memory.orders.pop(worker, None)


def workers(memory: MemoryData, *, after: str = "", limit: int = LISTED) -> Page[WorkerInfo]:
    """Return one page of the workers, by name."""
    found = (
        as_ordered(memory.workers[name], memory.orders.get(name, "work"))
        for name in sorted(memory.workers)
        if name > after
    )
    return cut_page(found, limit, worker_size)


def _held(memory: MemoryData, worker: str) -> list[JobRecord]:
    return [job for job in memory.index.running_jobs() if job.worker == worker]


def _give_order(memory: MemoryData, worker: str, order: Order) -> None:
    if order == "work":
        memory.orders.pop(worker, None)
    else:
        memory.orders[worker] = order
    memory.hint("quiet", worker)

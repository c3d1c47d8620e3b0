"""Workers: heartbeats, orders and removal."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ....core.job import WorkerInfo
from ....core.lifecycle import lost_job_outcome
from ....core.marks import is_new_release, release_text
from ....core.page import ENTRY_BYTES, LISTED, Page, cut_page
from ....core.storable import bounded_worker
from ....core.unreadable import UNREADABLE
from ...messages import Dismissed, Order
from ...worker_status import (
    REMOVED,
    as_ordered,
    check_dismissal,
    check_order,
    damaged_worker,
    is_silent,
    no_worker,
)
from ..executor import Params
from ..rows import Row, finite, is_time
from ..transaction import ConflictError, Tx
from .claim import end_lost
from .maintenance import running_jobs
from .marks import add_release, newest_release

# By the number in the column `quiet`.
ORDERS: tuple[Order, ...] = ("work", "quiet", "drain")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(WorkerInfo).decode


async def beat(tx: Tx, worker: WorkerInfo) -> Order:
    """Record a worker's heartbeat and return its order."""
    kept = bounded_worker(worker)
    if worker.release and not await tx.rows("standing", (worker.id,)):
        await _mark_release(tx, kept)
    return order_of(await tx.rows("beat", beat_row(kept, tx.now)))


def beat_row(worker: WorkerInfo, now: float | None) -> Params:
    """Return the parameters of the statement that records a heartbeat."""
    return worker.id, now, _encode(bounded_worker(worker))


def order_of(rows: Sequence[Row]) -> Order:
    """Return the order that this statement answers with."""
    [(number,)] = rows
    return _order(number)


async def _mark_release(tx: Tx, worker: WorkerInfo) -> None:
    """Add a mark if this worker, which has just started, is the first one of a release."""
    await tx.lock_worker("releases")  # so that two first ones make one mark
    newest = await newest_release(tx, worker)
    if newest == release_text(worker):
        return
    others = await workers(tx)
    found = list(others)
    while others.more:
        others = await workers(tx, after=others[-1].id)
        found += others
    if is_new_release(worker, newest, found, tx.now):
        await add_release(tx, worker)


async def order(tx: Tx, worker: str, order: Order, *, if_idle: bool = False) -> bool:
    """Give a worker an order."""
    await tx.lock_worker(worker)
    _, before = await _known(tx, worker)
    check_order(worker, before, order)
    if if_idle and await _count(tx, worker):
        return False
    await _give_order(tx, worker, order)
    return True


async def dismiss(tx: Tx, worker: str, *, force: bool = False) -> Dismissed:
    """Remove a worker: drain it, or delete it if it is silent."""
    await tx.lock_worker(worker)
    beat_at, _ = await _known(tx, worker)
    held = await _count(tx, worker)
    check_dismissal(worker, held, force=force)
    jobs = await running_jobs(tx, "of_worker", (worker, held))
    if len(jobs) < held:
        raise ConflictError(f"another process is changing jobs of worker {worker!r}; try again")
    for job in jobs.values():
        outcome = lost_job_outcome(job, dead=[worker], begun=None, evidence=REMOVED)
        await end_lost(tx, job, outcome)
    tx.hint("cancel", *jobs)
    forgotten = is_silent(beat_at, tx.now)
    if forgotten:
        await leave(tx, worker)
    else:
        await _give_order(tx, worker, "drain")
    return Dismissed(forgotten, tuple(sorted(jobs)))


async def leave(tx: Tx, worker: str) -> None:
    """Delete a worker."""
    await tx.rows("leave", (worker,))


async def workers(tx: Tx, *, after: str = "", limit: int = LISTED) -> Page[WorkerInfo]:
    """Return one page of the workers, by name."""
    sizes = await tx.rows("worker_sizes", (after or None, limit + 1))
    page = cut_page(sizes, limit, lambda row: ENTRY_BYTES + int(row[0] or 0))
    found = (
        as_ordered(_worker(worker, beat_at, info), _order(number))
        for worker, beat_at, info, number in await tx.rows("workers", (after or None, len(page)))
    )
    return Page(found, more=page.more)


def _worker(worker: str, beat_at: float, info: bytes) -> WorkerInfo:
    """Return a worker. One whose row is damaged serves nothing until its next beat."""
    try:
        known = _decode(info)
    except (TypeError, *UNREADABLE):
        return damaged_worker(str(worker), finite(beat_at))
    return msgspec.structs.replace(known, id=str(worker), beat_at=finite(beat_at))


def is_intact(row: Row) -> bool:
    """Whether the row of a worker can be read."""
    worker, beat_at, info, number = row
    known = _worker(worker, beat_at, info)
    return is_time(beat_at) and bool(known.boot_id) and _is_order(number)


def _order(number: int) -> Order:
    return ORDERS[number] if _is_order(number) else "work"


def _is_order(number: object) -> bool:
    return type(number) is int and number in range(len(ORDERS))


async def _known(tx: Tx, worker: str) -> tuple[float, Order]:
    rows = await tx.rows("standing", (worker,))
    if not rows:
        raise no_worker(worker)
    beat_at, number = rows[0]
    return finite(beat_at), _order(number)


async def _count(tx: Tx, worker: str) -> int:
    [(count,)] = await tx.rows("count_held", (worker,))
    return int(count)


async def _give_order(tx: Tx, worker: str, order: Order) -> None:
    await tx.change("order", [(ORDERS.index(order), worker)])
    tx.hint("quiet", worker)

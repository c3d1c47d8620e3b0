"""What operators do: inspect jobs and queues, cancel, retry, delete and pause."""

from __future__ import annotations

import msgspec

from ...core import lifecycle
from ...core.attempts import success_entry
from ...core.bounds import LARGEST_INTEGER, checked_integer, cut
from ...core.history import count_move
from ...core.job import (
    HISTORY,
    AttemptError,
    ErrorInfo,
    JobRecord,
    OutputChunk,
    QueueInfo,
    State,
)
from ...core.page import LISTED, Page, cut_page
from ...core.pause import pause
from ..enqueue_rules import no_queue
from ..list_rules import attempt_size, chunk_size, queue_size
from ..unique_keys import key_taken
from .data import MemoryData
from .enqueue import change_capacity, live_offers, make_room


def get(memory: MemoryData, job_id: str) -> JobRecord:
    """Return a job or raise NotFoundError."""
    return memory.index.job(job_id)


def history(
    memory: MemoryData, job_id: str, *, after: int = 0, limit: int = HISTORY
) -> Page[AttemptError]:
    """Return one page of the errors of a job's failed attempts."""
    kept = memory.index.history.get(memory.index.job(job_id).id, ())
    failed = (each for each in kept if each.seq > after and each.became is not State.COMPLETED)
    return cut_page(failed, limit, attempt_size)


def output(
    memory: MemoryData, job_id: str, *, after: int = 0, before: int | None = None, limit: int
) -> Page[OutputChunk]:
    """Return one page of a job's captured output."""
    kept = memory.index.output.get(memory.index.job(job_id).id, [])
    if before is not None:
        earlier = (chunk for chunk in reversed(kept) if chunk.seq < (before or LARGEST_INTEGER))
        page = cut_page(earlier, limit, chunk_size)
        return Page(page[::-1], more=page.more, next=page[-1].seq if page.more else None)
    return cut_page((chunk for chunk in kept if chunk.seq > after), limit, chunk_size)


def counts(memory: MemoryData, *, after: str = "", limit: int = LISTED) -> Page[QueueInfo]:
    """Return one page of the queues with their counts by state."""
    names = sorted(name for name in memory.queues if name > after)
    return cut_page((queue_info(memory, name) for name in names), limit, queue_size)


def queue_info(memory: MemoryData, queue: str) -> QueueInfo:
    """Return one queue with its counts by state."""
    known = memory.queues.get(queue)
    if known is None:
        raise no_queue(queue)
    return QueueInfo(
        name=queue,
        capacity=known.capacity,
        paused=known.paused,
        counts={state: memory.index.counts[queue][state] for state in State},
        offers=len(live_offers(memory, known)),
        paused_at=known.pause.paused_at,
        paused_by=known.pause.paused_by,
        pause_reason=known.pause.pause_reason,
    )


def ahead(memory: MemoryData, job_id: str) -> int:
    """Return how many available jobs of its queue come before this one."""
    return memory.index.ahead(memory.index.job(job_id))


def offered(memory: MemoryData, job_id: str) -> QueueInfo | None:
    """Return the queue at which a job is offered."""
    waiting = memory.waiting_offer(job_id)
    return None if waiting is None else queue_info(memory, waiting.jobs[0].queue)


def cancel(memory: MemoryData, job_id: str, *, reason: str, force: bool = False) -> JobRecord:
    """Cancel a waiting job; ask the worker of a running one to stop it."""
    job = memory.index.job(job_id)
    reason = cut("reason", reason)
    state = lifecycle.cancel(job)
    if state is None:
        memory.reasons.setdefault(job_id, reason)
        asked_at = job.cancel_requested_at or memory.now
        memory.hint("cancel", job_id)
        forced = job.cancel_forced or force
        return memory.index.put(
            msgspec.structs.replace(job, cancel_requested_at=asked_at, cancel_forced=forced)
        )
    count_move(memory.happened(job.queue), job, state, memory.now)
    cancelled = memory.index.end_unrun(job, state, ErrorInfo("Cancelled", reason), memory.now)
    memory.hint("final", job_id)
    make_room(memory, job.queue)
    return cancelled


def retry(memory: MemoryData, job_id: str) -> JobRecord:
    """Make a job available again, with all its retries."""
    job = memory.index.job(job_id)
    renewed = lifecycle.renew(job, memory.now)
    holder = memory.index.reclaim_key(job)
    if holder is not None:
        raise key_taken(job, holder)
    succeeded = success_entry(job)
    if succeeded is not None:
        memory.index.keep(job_id, succeeded)
    memory.hint("work", job.queue)
    count_move(memory.happened(job.queue), job, renewed.state, memory.now)
    return memory.index.put(renewed)


def delete(memory: MemoryData, job_id: str) -> None:
    """Delete a final job."""
    job = memory.index.job(job_id)
    lifecycle.check_deletable(job)
    memory.index.remove(job_id)


def set_paused(
    memory: MemoryData, queue: str, *, paused: bool, reason: str = "", by: str = ""
) -> None:
    """Pause or resume a queue."""
    known = memory.queue(queue)
    known.paused = paused
    known.pause = pause(known.pause, paused=paused, reason=reason, by=by, now=memory.now)
    if not paused:
        memory.hint("work", queue)


def set_capacity(memory: MemoryData, queue: str, capacity: int | None) -> None:
    """Change the capacity of a queue."""
    if capacity is not None:
        checked_integer(capacity, most=LARGEST_INTEGER)
    if queue not in memory.queues:
        raise no_queue(queue)
    change_capacity(memory, queue, capacity)

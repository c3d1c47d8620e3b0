"""What operators see and do: look at jobs and queues, cancel, retry, delete, pause."""

from __future__ import annotations

import msgspec

from ...core import lifecycle
from ...core.job import AttemptError, ErrorInfo, JobRecord, OutputChunk, QueueInfo, State
from ..messages import Filter
from ..unique_keys import key_taken
from .data import Memory
from .enqueue import live_offers, make_room


def get(memory: Memory, job_id: str) -> JobRecord:
    """Return a job or raise NotFoundError."""
    return memory.books.job(job_id)


def find(memory: Memory, which: Filter, *, limit: int) -> list[JobRecord]:
    """Return jobs, the newest first."""
    found: list[JobRecord] = []
    for job in reversed(memory.books.jobs.values()):  # a dict keeps the order of acceptance
        if len(found) == limit:
            break
        if _matches(job, which):
            found.append(job)
    return found


def history(memory: Memory, job_id: str) -> list[AttemptError]:
    """Return why the attempts of a job did not succeed."""
    return list(memory.books.history.get(memory.books.job(job_id).id, ()))


def output(memory: Memory, job_id: str, *, after: int = 0, limit: int) -> list[OutputChunk]:
    """Return what a job wrote, a page at a time."""
    kept = memory.books.output.get(memory.books.job(job_id).id, [])
    return [chunk for chunk in kept if chunk.seq > after][:limit]


def counts(memory: Memory) -> list[QueueInfo]:
    """Return every queue with its counts by state."""
    return [
        QueueInfo(
            name=name,
            capacity=queue.capacity,
            paused=queue.paused,
            counts={state: memory.books.counts[name][state] for state in State},
            offers=len(live_offers(memory, queue)),
        )
        for name, queue in sorted(memory.queues.items())
    ]


def ahead(memory: Memory, job_id: str) -> int:
    """Return how many available jobs of its queue come before this one."""
    return memory.books.ahead(memory.books.job(job_id))


def offered(memory: Memory, job_id: str) -> QueueInfo | None:
    """Return the queue at which a job waits in the hands of its producer."""
    for info in counts(memory):
        for offer in memory.queue(info.name).offers:
            if any(new.id == job_id for new in memory.offers[offer].jobs):
                return info
    return None


def cancel(memory: Memory, job_id: str, *, reason: str, force: bool = False) -> JobRecord:
    """Cancel a waiting job; ask the owner of a running one."""
    job = memory.books.job(job_id)
    state = lifecycle.cancel(job)
    if state is None:
        memory.reasons.setdefault(job_id, reason)
        asked_at = job.cancel_requested_at or memory.now
        memory.say("cancel", job_id)
        forced = job.cancel_forced or force
        return memory.books.put(
            msgspec.structs.replace(job, cancel_requested_at=asked_at, cancel_forced=forced)
        )
    cancelled = memory.books.end(job, state, ErrorInfo("Cancelled", reason), memory.now)
    memory.say("final", job_id)
    make_room(memory, job.queue)
    return cancelled


def retry(memory: Memory, job_id: str) -> JobRecord:
    """Make a job available again, with all its tries."""
    job = memory.books.job(job_id)
    renewed = lifecycle.renew(job, memory.now)
    holder = memory.books.reclaim_key(job)
    if holder is not None:
        raise key_taken(job, holder)
    memory.say("work", job.queue)
    return memory.books.put(renewed)


def delete(memory: Memory, job_id: str) -> None:
    """Forget a final job."""
    job = memory.books.job(job_id)
    lifecycle.check_deletable(job)
    memory.books.remove(job_id)


def set_paused(memory: Memory, queue: str, *, paused: bool) -> None:
    """Pause or resume a queue."""
    memory.queue(queue).paused = paused
    if not paused:
        memory.say("work", queue)


def _matches(job: JobRecord, which: Filter) -> bool:
    return (
        (which.queue is None or job.queue == which.queue)
        and (which.task is None or job.task == which.task)
        and (not which.states or job.state in which.states)
        and (which.before is None or job.seq < which.before)
        and (which.enqueued_before is None or job.enqueued_at < which.enqueued_before)
    )

"""Dumps of what running jobs do: requested by operators, made by workers."""

from __future__ import annotations

import msgspec

from ...core.stack import KEPT, MAX_REQUESTS, StackAnswer, StackDump, bounded_dump
from ..messages import Lease
from ..stack_rules import REQUESTS_AT_ONCE, check_running
from .claim import held
from .data import MemoryData, StackRequest


def request_stack(memory: MemoryData, job_id: str) -> None:
    """Request a dump of a running job."""
    job = memory.index.job(job_id)
    check_running(job)
    memory.stacks.pop(job_id, None)  # the newest is last
    memory.stacks[job_id] = StackRequest(job.lease, job.worker or "", StackAnswer(memory.now))
    if len(memory.stacks) > MAX_REQUESTS:
        del memory.stacks[next(iter(memory.stacks))]
    memory.hint("stack", job.worker or "")


def stack_requests(memory: MemoryData, worker: str) -> list[Lease]:
    """Return the jobs of a worker of which a dump is requested."""
    found = [
        Lease(job_id, each.lease)
        for job_id, each in memory.stacks.items()
        if each.worker == worker and each.answer.taken_at is None
    ]
    return found[:REQUESTS_AT_ONCE]


def put_stack(memory: MemoryData, lease: Lease, dump: StackDump) -> bool:
    """Store a requested dump."""
    request = memory.stacks.get(lease.id)
    if held(memory, lease.id, lease.lease) is None or request is None:
        return False
    if request.lease != lease.lease or request.answer.taken_at is not None:
        return False
    request.answer = msgspec.structs.replace(
        request.answer, taken_at=memory.now, dump=bounded_dump(dump)
    )
    return True


def stack(memory: MemoryData, job_id: str) -> StackAnswer | None:
    """Return the last request for a dump of a job, and the dump."""
    memory.index.job(job_id)
    request = memory.stacks.get(job_id)
    if request is None or request.answer.asked_at < memory.now - KEPT:
        return None
    return request.answer


def prune_stacks(memory: MemoryData) -> None:
    """Forget old requests."""
    for job_id, each in list(memory.stacks.items()):
        if each.answer.asked_at < memory.now - KEPT:
            del memory.stacks[job_id]

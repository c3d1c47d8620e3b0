"""Upkeep: due jobs staged, lost ones rescued, old ones pruned; schedules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from ...core.job import NewJob, ScheduleInfo, State
from ...core.lifecycle import lost_by
from ...errors import NotFoundError
from ..messages import Staged
from .claim import end_attempt, expire
from .data import MemoryData
from .enqueue import accept, live_offers, make_room
from .tokens import prune_access


def stage(memory: MemoryData, *, limit: int) -> Staged:
    """Make due jobs available, end expired ones, and see to offers."""
    moved = 0
    while moved < limit and (job := memory.index.pop_due(memory.now)) is not None:
        memory.index.put(msgspec.structs.replace(job, state=State.AVAILABLE))
        memory.hint("work", job.queue)
        moved += 1
    for _ in range(limit):
        job = memory.index.pop_expired(memory.now)
        if job is None:
            break
        expire(memory, job)
    for name, queue in sorted(memory.queues.items()):
        if live_offers(memory, queue):
            make_room(memory, name)
    now = memory.now
    for offer in [name for name, each in memory.offers.items() if each.until < now]:
        del memory.offers[offer]  # answered, and never collected
    return Staged(moved, memory.index.next_due_at())


def rescue(
    memory: MemoryData,
    *,
    dead: Sequence[str] = (),
    begun: Collection[str] | None = None,
    evidence: str = "",
    limit: int,
) -> list[str]:
    """End the attempts of dead workers and of leases that lapsed."""
    now, gone = memory.now, frozenset(dead)
    lost = [
        job
        for job in memory.index.running_jobs()
        if job.worker in gone or (job.lease_until or now) < now
    ]
    for job in lost[:limit]:
        outcome = lost_by(job, dead=job.worker in gone, begun=begun, evidence=evidence)
        end_attempt(memory, job, outcome)
    return [job.id for job in lost[:limit]]


def prune(memory: MemoryData, retention: Mapping[State, float], *, limit: int) -> int:
    """Forget final jobs that are older than their state is kept, and old tokens and actions."""
    pruned = 0
    for state, seconds in retention.items():
        old = memory.index.final[state]
        while pruned < limit and old and old[0][0] < memory.now - seconds:
            final_at, job_id = old.popleft()
            job = memory.index.jobs.get(job_id)
            # A retried job may have left an older entry behind.
            if job is not None and job.state is state and job.final_at == final_at:
                memory.index.remove(job_id)
                pruned += 1
    prune_access(memory, limit=limit)
    return pruned


def schedules(memory: MemoryData) -> list[ScheduleInfo]:
    """Return all schedules, by name."""
    return [memory.schedules[name] for name in sorted(memory.schedules)]


def put_schedule(memory: MemoryData, schedule: ScheduleInfo) -> ScheduleInfo:
    """Make a schedule known; one whose rule is unchanged goes on where it was."""
    known = memory.schedules.get(schedule.name)
    if known is None or _rule(known) != _rule(schedule):
        paused = known is not None and known.paused
        memory.schedules[schedule.name] = msgspec.structs.replace(schedule, paused=paused)
    return memory.schedules[schedule.name]


def pause_schedule(memory: MemoryData, name: str, *, paused: bool) -> None:
    """Pause a schedule, or let it go on."""
    memory.schedules[name] = msgspec.structs.replace(_schedule(memory, name), paused=paused)


def tick(
    memory: MemoryData, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]
) -> bool:
    """Enqueue the jobs of a tick, unless another worker did."""
    known = _schedule(memory, name)
    if known.next_at != due_at or known.paused:
        return False
    memory.schedules[name] = msgspec.structs.replace(known, next_at=next_at, last_at=due_at)
    for job in jobs:
        memory.queue(job.queue)
        accept(memory, [job])
    return True


def _schedule(memory: MemoryData, name: str) -> ScheduleInfo:
    try:
        return memory.schedules[name]
    except KeyError:
        raise NotFoundError(f"there is no schedule {name!r}") from None


def _rule(schedule: ScheduleInfo) -> tuple[str, str, str]:
    return schedule.cron, schedule.timezone, schedule.missed

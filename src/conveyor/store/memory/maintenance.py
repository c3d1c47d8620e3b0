"""Maintenance: due, expired, lost and old jobs, and schedules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from ...core.job import NewJob, ScheduleInfo, State
from ...core.lifecycle import lost_job_outcome, pick_lost
from ...core.page import LISTED, Page, cut_page
from ...core.storable import check_schedule, check_tick
from ..list_rules import queue_size
from ..messages import Staged
from ..schedule_rules import (
    add_recent,
    make_due,
    merge_schedule,
    no_schedule,
    pause_known,
    tick_schedule,
)
from .claim import end_lost, expire
from .data import MemoryData
from .enqueue import accept, check_new_ids, live_offers, make_room
from .marks import prune_marks
from .minutes import prune_minutes
from .stacks import prune_stacks
from .tokens import prune_access


def stage(memory: MemoryData, *, limit: int) -> Staged:
    """Make due jobs available, discard expired ones, accept offers and drop silent ones."""
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
        memory.delete_offer(offer)  # answered but not collected
    return Staged(moved, memory.index.next_due_at())


def rescue(
    memory: MemoryData,
    *,
    dead: Sequence[str] = (),
    begun: Collection[str] | None = None,
    evidence: str = "",
    limit: int,
) -> list[str]:
    """End the attempts of dead workers, or those of lapsed leases."""
    lost = pick_lost(memory.index.running_jobs(), dead=dead, now=memory.now, limit=limit)
    for job in lost:
        outcome = lost_job_outcome(job, dead=dead, begun=begun, evidence=evidence)
        end_lost(memory, job, outcome)
    return [job.id for job in lost]


def prune(memory: MemoryData, retention: Mapping[State, float], *, limit: int) -> int:
    """Delete final jobs after the retention of their state, and old tokens and actions."""
    pruned = 0
    for state, seconds in retention.items():
        old = memory.index.final[state]
        while pruned < limit and old and old[0][0] < memory.now - seconds:
            final_at, job_id = old.popleft()
            job = memory.index.jobs.get(job_id)
            # An entry is outdated if its job was retried.
            if job is not None and job.state is state and job.final_at == final_at:
                memory.index.remove(job_id)
                memory.callbacks.pop(job_id, None)
                pruned += 1
    prune_access(memory, limit=limit)
    prune_stacks(memory)
    prune_minutes(memory)
    prune_marks(memory)
    return pruned


def schedules(memory: MemoryData, *, after: str = "", limit: int = LISTED) -> Page[ScheduleInfo]:
    """Return one page of the schedules, by name."""
    names = sorted(name for name in memory.schedules if name > after)
    return cut_page((memory.schedules[name] for name in names), limit, queue_size)


def put_schedule(memory: MemoryData, schedule: ScheduleInfo) -> ScheduleInfo:
    """Store a schedule or change its rule."""
    check_schedule(schedule)
    stored = merge_schedule(memory.schedules.get(schedule.name), schedule)
    memory.schedules[schedule.name] = stored
    return stored


def pause_schedule(
    memory: MemoryData, name: str, *, paused: bool, reason: str = "", by: str = ""
) -> None:
    """Pause or resume a schedule."""
    known = _schedule(memory, name)
    memory.schedules[name] = pause_known(known, paused=paused, reason=reason, by=by, now=memory.now)


def run_schedule(memory: MemoryData, name: str) -> None:
    """Make a schedule due now."""
    memory.schedules[name] = make_due(_schedule(memory, name), memory.now)


def remove_schedule(memory: MemoryData, name: str) -> None:
    """Delete a schedule."""
    del memory.schedules[_schedule(memory, name).name]
    memory.recent.pop(name, None)


def recent_jobs(memory: MemoryData, name: str) -> list[str]:
    """Return the ids of the jobs of a schedule's last ticks."""
    return list(memory.recent.get(_schedule(memory, name).name, ()))


def tick(
    memory: MemoryData, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]
) -> bool:
    """Enqueue the jobs of a tick, unless another worker was faster."""
    check_tick(name, next_at, jobs)
    ticked = tick_schedule(_schedule(memory, name), due_at=due_at, next_at=next_at)
    if ticked is None:
        return False
    check_new_ids(memory, jobs)
    memory.schedules[name] = ticked
    memory.recent[name] = add_recent(memory.recent.get(name, ()), jobs)
    for job in jobs:
        memory.queue(job.queue)
        accept(memory, [job])
    return True


def _schedule(memory: MemoryData, name: str) -> ScheduleInfo:
    try:
        return memory.schedules[name]
    except KeyError:
        raise no_schedule(name) from None

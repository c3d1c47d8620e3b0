"""Maintenance: due, expired, lost and old jobs, and schedules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

import msgspec

from ....core import cron
from ....core.job import Callback, JobRecord, Missed, NewJob, ScheduleInfo, State
from ....core.lifecycle import lost_job_outcome, pick_lost
from ....core.page import LISTED, Page, cut_page
from ....core.storable import check_schedule, check_tick
from ....core.unreadable import UNREADABLE
from ....errors import UsageError
from ...list_rules import queue_size
from ...messages import Staged
from ...schedule_rules import (
    add_recent,
    make_due,
    merge_schedule,
    no_schedule,
    pause_known,
    tick_schedule,
)
from ..executor import Params
from ..rows import LANE, NO_QUEUE, finite, is_time, text, to_record
from ..transaction import Tx
from .admin import delete_final
from .callbacks import called_by, delete_callbacks, make_lanes, make_queues
from .claim import end_lost
from .discards import discard_strays, expire, recount_damaged_queues, recount_queues
from .enqueue import LARGE_ROWS, accept, delete_old_offers, make_room
from .marks import prune_marks
from .minutes import prune_minutes
from .stacks import prune_stacks
from .tokens import prune_access

_encode = msgspec.json.Encoder().encode
_decode_recent = msgspec.json.Decoder(list[str]).decode
MISSED: tuple[Missed, ...] = get_args(Missed)


async def stage(tx: Tx, *, limit: int) -> Staged:
    """Make due jobs available, discard expired ones, accept offers and drop silent ones."""
    [(has_work, next_due_at)] = await tx.rows("upkeep", (tx.now,))
    if not has_work:
        return Staged(0, next_due_at)
    due = await tx.rows("due", (tx.now, limit))
    await tx.change("make_available", [(seq, tx.now) for seq, _, _ in due])
    for _, lane, state in due:
        queue = await tx.queue_of(lane)
        await tx.tally(queue, State(state), -1)
        await tx.tally(queue, State.AVAILABLE, 1)
        tx.hint("work", queue)
    for start in range(0, limit, LARGE_ROWS):
        rows = await tx.rows("expired", (tx.now, min(LARGE_ROWS, limit - start)))
        for row in rows:
            await expire(tx, to_record(row, await tx.queue_of(row[LANE])))
        if len(rows) < LARGE_ROWS:
            break
    for (queue,) in await tx.rows("offering_queues"):
        await make_room(tx, queue, passes_over=True)
    await delete_old_offers(tx)
    following = await tx.rows("next_due")
    return Staged(len(due), following[0][0] if following else None)


async def rescue(
    tx: Tx,
    *,
    dead: Sequence[str] = (),
    begun: Collection[str] | None = None,
    evidence: str = "",
    limit: int,
) -> list[str]:
    """End the attempts of dead workers, or those of lapsed leases."""
    lists: list[tuple[str, tuple[object, ...]]] = [("of_worker", (worker,)) for worker in dead]
    if not dead and await tx.rows("any_lapsed", (tx.now,)):
        lists = [("leaseless", ()), ("lapsed", (tx.now,))]
    rescued: list[str] = []
    for statement, params in lists:
        is_last = False
        while not is_last and (asked := min(LARGE_ROWS, limit - len(rescued))) > 0:
            found = await running_jobs(tx, statement, (*params, asked))
            lost = pick_lost(found.values(), dead=dead, now=tx.now, limit=asked)
            for job in lost:
                outcome = lost_job_outcome(job, dead=dead, begun=begun, evidence=evidence)
                await end_lost(tx, job, outcome)
            rescued += [job.id for job in lost]
            is_last = len(found) < asked or not lost
    return rescued


async def running_jobs(tx: Tx, statement: str, params: Params) -> dict[str, JobRecord]:
    """Return running jobs by id: "of_worker" or "lapsed" ones."""
    rows = await tx.rows(statement, params)
    jobs = [to_record(row, await tx.queue_of(row[LANE])) for row in rows]
    return {job.id: job for job in jobs}


async def prune(tx: Tx, retention: Mapping[State, float], *, limit: int) -> int:
    """Delete final jobs after the retention of their state, and old tokens and actions.

    Jobs in damaged rows that nothing else finds are discarded first.
    """
    await discard_strays(tx)
    await recount_damaged_queues(tx)
    pruned = 0
    of_no_queue = False
    for state, seconds in retention.items():
        rows = await tx.rows("old", (state, tx.now - seconds, limit - pruned))
        for seq, lane in rows:
            queue = await tx.queue_of(lane)
            await delete_final(tx, queue, seq, state)
            of_no_queue = of_no_queue or queue == NO_QUEUE
        pruned += len(rows)
        await delete_callbacks(tx, [seq for seq, _ in rows])
    if of_no_queue and pruned < limit:  # it reads every job, so not after each of many batches
        await recount_queues(tx)
    await prune_access(tx, limit=limit)
    await prune_stacks(tx, limit=limit)
    await prune_minutes(tx)
    await prune_marks(tx, limit=limit)
    return pruned


async def put_schedule(tx: Tx, schedule: ScheduleInfo) -> ScheduleInfo:
    """Store a schedule or change its rule."""
    check_schedule(schedule)
    known = await _schedules(tx, "schedule", (schedule.name,))
    stored = merge_schedule(known[0] if known else None, schedule)
    if [stored] != known:
        rule = stored.cron, stored.timezone, stored.missed
        await tx.rows("put_schedule", (stored.name, *rule, stored.next_at))
    return stored


async def schedules(tx: Tx, *, after: str = "", limit: int = LISTED) -> Page[ScheduleInfo]:
    """Return one page of the schedules, by name."""
    return cut_page(
        await _schedules(tx, "schedules", (after or None, limit + 1)), limit, queue_size
    )


def is_schedule_intact(schedule: ScheduleInfo) -> bool:
    """Whether a schedule was read as it was declared."""
    try:
        cron.parse(schedule.cron, schedule.timezone)
    except UsageError:
        return False
    return True


async def pause_schedule(
    tx: Tx, name: str, *, paused: bool, reason: str = "", by: str = ""
) -> None:
    """Pause or resume a schedule."""
    known = await _known_schedule(tx, name)
    after = pause_known(known, paused=paused, reason=reason, by=by, now=tx.now)
    pause = after.paused_at, after.paused_by, after.pause_reason
    await tx.rows("pause_schedule", (paused, *pause, name))


async def run_schedule(tx: Tx, name: str) -> None:
    """Make a schedule due now."""
    due = make_due(await _known_schedule(tx, name), tx.now)
    await tx.rows("make_schedule_due", (due.next_at, name))


async def remove_schedule(tx: Tx, name: str) -> None:
    """Delete a schedule."""
    if not await tx.rows("remove_schedule", (name,)):
        raise no_schedule(name)


async def recent_jobs(tx: Tx, name: str) -> list[str]:
    """Return the ids of the jobs of a schedule's last ticks."""
    rows = await tx.rows("recent_jobs", (name,))
    if not rows:
        raise no_schedule(name)
    try:
        return _decode_recent(rows[0][0])
    except (TypeError, *UNREADABLE):
        return []


async def tick(tx: Tx, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]) -> bool:
    """Enqueue the jobs of a tick, unless another worker was faster."""
    check_tick(name, next_at, jobs)
    known = await _known_schedule(tx, name)
    if tick_schedule(known, due_at=due_at, next_at=next_at) is None:
        return False
    # The statement repeats the rule's conditions: another process may have been faster.
    recent = _encode(add_recent(await recent_jobs(tx, name), jobs)).decode()
    if not await tx.rows("tick", (next_at, due_at, recent, name)):
        return False
    added: list[NewJob | Callback] = [*jobs, *called_by(jobs)]
    await make_queues(tx, (each.queue for each in added))
    await make_lanes(tx, added)
    for job in jobs:
        await accept(tx, [job])
    return True


async def _known_schedule(tx: Tx, name: str) -> ScheduleInfo:
    known = await _schedules(tx, "schedule", (name,))
    if not known:
        raise no_schedule(name)
    return known[0]


async def _schedules(tx: Tx, statement: str, params: tuple[object, ...]) -> list[ScheduleInfo]:
    return [_schedule(*row) for row in await tx.rows(statement, params)]


def _schedule(
    name: Any,
    rule: Any,
    timezone: Any,
    missed: Any,
    next_at: Any,
    last_at: Any,
    paused: int,
    paused_at: Any,
    paused_by: Any,
    pause_reason: Any,
) -> ScheduleInfo:
    """Return a schedule. What cannot be read of it says so, until it is declared again."""
    readable = missed in MISSED and is_time(next_at) and isinstance(rule, str)
    return ScheduleInfo(
        name=str(name),
        cron=rule if readable else f"{rule} (damaged)",
        timezone=str(timezone),
        missed=missed if missed in MISSED else "skip",
        next_at=finite(next_at),
        last_at=None if last_at is None else finite(last_at),
        paused=bool(paused),
        paused_at=paused_at if is_time(paused_at) else None,
        paused_by=text(paused_by),
        pause_reason=text(pause_reason),
    )

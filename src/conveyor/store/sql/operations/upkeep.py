"""Upkeep: due jobs, expired jobs, lost jobs, old jobs, schedules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ....core.job import JobRecord, NewJob, ScheduleInfo, State
from ....core.lifecycle import lost_by
from ....errors import NotFoundError
from ...messages import Staged
from ..rows import LANE, to_record
from ..transaction import Params, Tx
from .admin import delete_final
from .claim import end_attempt
from .discards import expire
from .enqueue import accept, delete_old_offers, make_room
from .tokens import prune_access


async def stage(tx: Tx, *, limit: int) -> Staged:
    """Make due jobs available, discard expired ones, drop silent offers."""
    due = await tx.rows("due", (tx.now, limit))
    await tx.change("make_available", [(seq, tx.now) for seq, _, _ in due])
    for _, lane, state in due:
        queue = await tx.queue_of(lane)
        await tx.tally(queue, State(state), -1)
        await tx.tally(queue, State.AVAILABLE, 1)
        tx.hint("work", queue)
    for row in await tx.rows("expired", (tx.now, limit)):
        await expire(tx, to_record(row, await tx.queue_of(row[LANE])))
    for (queue,) in await tx.rows("offering_queues"):
        await make_room(tx, queue)
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
    """End the attempts of dead workers and of leases that lapsed."""
    rescued: list[str] = []
    for worker in dead:
        left = limit - len(rescued)
        rescued += await end_attempts_of(tx, worker, begun=begun, evidence=evidence, limit=left)
    for job in await _running(tx, "lapsed", (tx.now, limit - len(rescued))):
        await end_attempt(tx, job, lost_by(job, dead=False, begun=begun))
        rescued.append(job.id)
    return rescued


async def end_attempts_of(
    tx: Tx, worker: str, *, begun: Collection[str] | None, evidence: str, limit: int
) -> list[str]:
    """End the attempts of one worker that is dead, or counts as dead."""
    jobs = await _running(tx, "of_worker", (worker, limit))
    for job in jobs:
        await end_attempt(tx, job, lost_by(job, dead=True, begun=begun, evidence=evidence))
    return [job.id for job in jobs]


async def _running(tx: Tx, statement: str, params: Params) -> list[JobRecord]:
    rows = await tx.rows(statement, params)
    return [to_record(row, await tx.queue_of(row[LANE])) for row in rows]


async def prune(tx: Tx, retention: Mapping[State, float], *, limit: int) -> int:
    """Delete jobs that have been final for long enough, and old tokens and actions."""
    pruned = 0
    for state, seconds in retention.items():
        rows = await tx.rows("old", (state, tx.now - seconds, limit - pruned))
        for seq, lane in rows:
            await delete_final(tx, seq, state)
            await tx.tally(await tx.queue_of(lane), state, -1)
        pruned += len(rows)
    await prune_access(tx, limit=limit)
    return pruned


async def put_schedule(tx: Tx, schedule: ScheduleInfo) -> ScheduleInfo:
    """Add a schedule or change its rule."""
    known = await tx.rows("schedule", (schedule.name,))
    rule = schedule.cron, schedule.timezone, schedule.missed
    if not known or known[0][1:4] != rule:
        await tx.rows("put_schedule", (schedule.name, *rule, schedule.next_at))
    return (await _schedules(tx, "schedule", (schedule.name,)))[0]


async def schedules(tx: Tx) -> list[ScheduleInfo]:
    """Return the schedules."""
    return await _schedules(tx, "schedules", ())


async def pause_schedule(tx: Tx, name: str, *, paused: bool) -> None:
    """Stop or resume a schedule."""
    if not await tx.rows("pause_schedule", (paused, name)):
        raise NotFoundError(f"there is no schedule {name!r}")


async def tick(tx: Tx, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]) -> bool:
    """Enqueue what is due, if nobody else did."""
    if not await tx.rows("schedule", (name,)):
        raise NotFoundError(f"there is no schedule {name!r}")
    if not await tx.rows("tick", (next_at, due_at, name)):
        return False
    for job in jobs:
        await accept(tx, [job])
    return True


async def _schedules(tx: Tx, statement: str, params: tuple[object, ...]) -> list[ScheduleInfo]:
    return [
        ScheduleInfo(
            name=name,
            cron=cron,
            timezone=timezone,
            missed=missed,
            next_at=next_at,
            last_at=last_at,
            paused=bool(paused),
        )
        for name, cron, timezone, missed, next_at, last_at, paused in await tx.rows(
            statement, params
        )
    ]

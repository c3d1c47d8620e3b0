"""Applying the lifecycle's transitions to the rows of jobs."""

from __future__ import annotations

import msgspec

from ....core import lifecycle
from ....core.fingerprint import failure_fingerprint
from ....core.history import count_move
from ....core.job import FINAL, AttemptError, ErrorInfo, JobRecord, State
from ....core.lifecycle import Transition
from ...hint_rules import state_hint
from ..rows import NO_QUEUE, to_params
from ..transaction import Tx

_encode = msgspec.json.Encoder().encode


async def apply(tx: Tx, job: JobRecord, move: Transition) -> JobRecord:
    """Apply a transition, record its error and send its hint."""
    moved = lifecycle.apply(job, move, tx.now)
    row = to_params(moved)
    row["state_before"] = job.state
    # What of a damaged row cannot be read is kept as it is.
    await tx.change("end_damaged" if job.damage else "move", [row])
    if move.error is not None:
        was_run = job.state is State.RUNNING
        entry = AttemptError(
            attempt=job.attempt,
            at=tx.now,
            worker=job.worker,
            became=move.state,
            error=move.error,
            started_at=job.started_at if was_run else None,
            due_at=job.run_at,
            lease=job.lease if was_run else 0,
            fingerprint=failure_fingerprint(move.state, move.error) or "",
        )
        await note(tx, job.seq, entry)
    await tx.tally(job.queue, job.state, -1)
    await tx.tally(job.queue, moved.state, 1)
    happened = await tx.happened(job.queue)
    count_move(happened, job, moved.state, tx.now, is_refunded=move.refund_attempt)
    tx.hint(*state_hint(moved))
    return moved


async def note(tx: Tx, seq: int, entry: AttemptError) -> None:
    """Add an entry to the history of the job with a number."""
    ended = entry.attempt, entry.at, entry.worker, entry.became, _encode(entry.error)
    begun = entry.started_at, entry.due_at, entry.lease
    await tx.rows("note", (seq, *ended, *begun, entry.fingerprint or None))


async def end_unrun(tx: Tx, job: JobRecord, state: State, error: ErrorInfo) -> JobRecord:
    """Make a waiting job final without a run."""
    if state is State.DISCARDED:
        tx.discards.append((job, error))
    return await apply(tx, job, Transition(state, error=error))


async def adopt(tx: Tx, job: JobRecord, state: State) -> None:
    """Put a job into `state`, if its own is unknown, in a damaged row."""
    final_at = tx.now if state in FINAL else None
    if await tx.rows("adopt", (state, final_at, job.seq)) and job.queue != NO_QUEUE:
        counted = await tx.rows("count_queue", (job.queue,))
        await tx.recount(job.queue, {State(each): count for each, count in counted})

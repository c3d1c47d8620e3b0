"""Letting the lifecycle's decisions become true: one job, one transition."""

from __future__ import annotations

from zlib import crc32

import msgspec

from ....core.job import ERROR_LINE, FINAL, ErrorInfo, JobRecord, State
from ....core.lifecycle import Transition
from ..transaction import Tx

_encode = msgspec.json.Encoder().encode


async def apply(tx: Tx, job: JobRecord, move: Transition) -> JobRecord:
    """Let a transition become true, note its error, and say so to whoever listens."""
    final = move.state in FINAL
    moved = msgspec.structs.replace(
        job,
        state=move.state,
        attempt=job.attempt - move.refund_attempt,
        crashes=job.crashes + move.crashed,
        run_at=job.run_at if move.delay is None else tx.now + move.delay,
        error=job.error if move.error is None else str(move.error)[:ERROR_LINE],
        result=move.result,
        worker=job.worker if final else None,
        lease_until=None,
        final_at=tx.now if final else None,
    )
    await tx.rows(
        "move",
        {
            "seq": job.seq,
            "state": moved.state,
            "attempt": moved.attempt,
            "crashes": moved.crashes,
            "run_at": moved.run_at,
            "error": moved.error,
            "result": moved.result,
            "result_checksum": None if moved.result is None else crc32(moved.result),
            "worker": moved.worker,
            "final_at": moved.final_at,
        },
    )
    if move.error is not None:
        line = job.seq, job.attempt, tx.now, job.worker, move.state, _encode(move.error)
        await tx.rows("note", line)
    await tx.tally(job.queue, job.state, -1)
    await tx.tally(job.queue, moved.state, 1)
    if final:
        tx.hint("final", job.id)
    else:
        tx.hint("work" if moved.state is State.AVAILABLE else "due", job.queue)
    return moved


async def end(tx: Tx, job: JobRecord, state: State, error: ErrorInfo) -> JobRecord:
    """Make a waiting job final without a run."""
    return await apply(tx, job, Transition(state, error=error))

"""Jobs that are discarded without a run: they expired, or their row is damaged."""

from __future__ import annotations

import msgspec

from ....core.job import ERROR_LINE, ErrorInfo, JobRecord, State
from ....core.lifecycle import EXPIRED
from ....errors import CorruptStoreError
from ..rows import ID, SEQ, Row
from ..transaction import Tx
from .transitions import end_unrun

_encode = msgspec.json.Encoder().encode


async def expire(tx: Tx, job: JobRecord) -> None:
    """Discard a waiting job that expired."""
    await end_unrun(tx, job, State.DISCARDED, EXPIRED)


async def discard_damaged(tx: Tx, row: Row, queue: str, error: CorruptStoreError) -> None:
    """Discard a job whose row is damaged; keep everything but its state as it is."""
    info = ErrorInfo("CorruptStoreError", str(error))
    discarded = {"seq": row[SEQ], "final_at": tx.now, "error": str(info)[:ERROR_LINE]}
    await tx.change("discard", [discarded])
    await tx.rows("note", (row[SEQ], 0, tx.now, None, State.DISCARDED, _encode(info)))
    await tx.tally(queue, State.AVAILABLE, -1)
    await tx.tally(queue, State.DISCARDED, 1)
    tx.hint("final", row[ID])

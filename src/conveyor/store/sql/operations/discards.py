"""Jobs that are discarded without a run: they expired, or their row is damaged."""

from __future__ import annotations

from ....core.job import JobRecord, State
from ....core.lifecycle import EXPIRED, damage_error
from ..transaction import Tx
from .transitions import end_unrun


async def expire(tx: Tx, job: JobRecord) -> None:
    """Discard a waiting job that expired."""
    await end_unrun(tx, job, State.DISCARDED, EXPIRED)


async def discard_damaged(tx: Tx, job: JobRecord) -> None:
    """Discard a waiting job whose row is damaged."""
    await end_unrun(tx, job, State.DISCARDED, damage_error(job))

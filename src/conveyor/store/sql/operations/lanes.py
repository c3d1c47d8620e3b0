"""The labels that the jobs of a lane require, if the lane's row is damaged."""

from __future__ import annotations

from ....core.job import JobRecord
from ..rows import to_record
from ..transaction import Tx


async def labels_of_next(tx: Tx, lane: int, queue: str) -> tuple[str, ...] | JobRecord:
    """Return the labels that the next job of a lane requires; that job, if it is damaged as well.

    Every job has the labels of its lane, so one damaged row of a lane costs no job.
    """
    rows = await tx.rows("next_of_lane", (lane,))
    if not rows:
        return ()  # there is nothing to claim
    job = to_record(rows[0], queue)
    return job if job.damage else job.options.requires

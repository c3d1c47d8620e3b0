"""The labels that the jobs of a lane require, even if the lane's row is damaged."""

from __future__ import annotations

from ....core.job import JobRecord
from ..rows import decode_labels, to_record
from ..transaction import Tx


async def lane_labels(tx: Tx, lane: int, queue: str, requires: str) -> tuple[str, ...] | JobRecord:
    """Return the labels of a lane, or its next job, if that is damaged as well as the lane's row.

    Every job has the labels of its lane, so one damaged row of a lane costs no job.
    """
    labels = decode_labels(requires)
    if labels is not None:
        return labels
    rows = await tx.rows("next_of_lane", (lane,))
    job = to_record(rows[0], queue) if rows else None
    if job is None:
        return ()  # no worker can claim a job of it
    return job if job.damage else job.options.requires

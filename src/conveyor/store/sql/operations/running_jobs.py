"""The jobs that run, or should have stopped, for the longest."""

from __future__ import annotations

from ....core.job import DETAILS, Detail, JobRecord
from ..rows import LANE, listed_record
from ..transaction import Tx


async def longest_running(tx: Tx, *, limit: int, stopping: bool = False) -> list[JobRecord]:
    """Return running jobs, the longest first; only those asked to stop, by when, if `stopping`."""
    included: frozenset[Detail] = frozenset({"options", "stopping"} if stopping else ())
    details = {f"with_{name}": name in included for name in DETAILS}
    params = {**details, "stopping": stopping or None, "limit": limit}
    return [
        listed_record(row, await tx.queue_of(row[LANE]), DETAILS - included)
        for row in await tx.rows("longest_running", params)
    ]

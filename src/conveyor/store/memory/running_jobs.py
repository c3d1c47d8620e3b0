"""The jobs that run, or should have stopped, for the longest."""

from __future__ import annotations

from ...core.job import DETAILS, Detail, JobRecord, leave_out
from .data import MemoryData


def longest_running(memory: MemoryData, *, limit: int, stopping: bool = False) -> list[JobRecord]:
    """Return running jobs, the longest first; only those asked to stop, by when, if `stopping`."""
    found = [
        (job.cancel_requested_at if stopping else job.started_at, job.seq, job)
        for job in memory.index.running_jobs()
        if not stopping or job.cancel_requested_at is not None
    ]
    found.sort(key=lambda each: (each[0] or 0.0, each[1]))
    kept: frozenset[Detail] = frozenset({"options", "stopping"} if stopping else ())
    omitted = DETAILS - kept
    return [leave_out(job, omitted) for _, _, job in found[:limit]]

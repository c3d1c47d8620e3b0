"""What a claim makes of a job, and what a worker is told about its lease: rules of every store."""

from __future__ import annotations

from ..core import lifecycle
from ..core.job import JobRecord
from .messages import Claimant, Renewal


def lease(job: JobRecord, claimant: Claimant, now: float) -> JobRecord:
    """Return an available job as its claimant gets it.

    A provisional claim has not started until its lease is extended for the first time.
    """
    within = claimant.confirm_within
    return lifecycle.claim(
        job,
        worker=claimant.worker,
        lease_until=now + (claimant.lease_for if within is None else within),
        started_at=now if within is None else None,
    )


def lost(job_id: str) -> Renewal:
    """Return the verdict on a lease that is stale."""
    return Renewal(job_id, "lost")


def renewal(
    job_id: str, *, cancel_requested_at: float | None, reason: str | None, forced: bool
) -> Renewal:
    """Return the verdict on a lease that stands."""
    if cancel_requested_at is None:
        return Renewal(job_id, "continue")
    return Renewal(job_id, "cancel", reason or "", forced)

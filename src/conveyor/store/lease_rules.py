"""What a claim makes of a job, and what a worker is told about its lease: rules of every store."""

from __future__ import annotations

from ..core.lifecycle import LeaseTerms
from .messages import Claimant, Renewal


def lease_terms(claimant: Claimant, now: float) -> LeaseTerms:
    """Return how a claimant gets the jobs that it claims now.

    A provisional claim has not started until its lease is extended for the first time.
    """
    within = claimant.confirm_within
    return LeaseTerms(
        claimant.worker,
        until=now + (claimant.lease_for if within is None else within),
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

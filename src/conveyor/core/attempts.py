"""All attempts of a job: those that its history has, and the last one, which its own row has."""

from __future__ import annotations

from collections.abc import Sequence

from .job import AttemptError, ErrorInfo, JobRecord, State
from .record import Record


class Attempt(Record, frozen=True, kw_only=True):
    """One attempt of a job. Times are Unix seconds by the store's clock.

    `due_at` is since when it could have started, and `waited` how many seconds it then waited; both
    are None where an older version recorded the attempt. `outcome` is the state
    that the job had after it, "running" as long as it runs. `error` is None if it succeeded or
    still runs. `lease` is the lease under which it ran, as its output has it; 0 if that was not
    recorded. `seq` grows, and readers page by it; the last attempt, which the job's own row has,
    has 0. Attempts that did not count are left out: those that were snoozed, or returned at a
    shutdown. So is an expiry or a cancel before the first start, which has no `started_at`.
    """

    attempt: int
    outcome: State
    lease: int = 0
    worker: str | None = None
    due_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    waited: float | None = None
    error: ErrorInfo | None = None
    fingerprint: str = ""
    seq: int = 0


def attempt_of(entry: AttemptError) -> Attempt:
    """Return the attempt that an entry of the history describes."""
    return Attempt(
        attempt=entry.attempt,
        outcome=entry.became,
        lease=entry.lease,
        worker=entry.worker,
        due_at=entry.due_at,
        started_at=entry.started_at,
        ended_at=entry.at,
        waited=_waited(entry.due_at, entry.started_at),
        error=None if entry.became is State.COMPLETED else entry.error,
        fingerprint=entry.fingerprint,
        seq=entry.seq,
    )


def last_attempt(job: JobRecord) -> Attempt | None:
    """Return the attempt that only the job's row has: one that runs or has succeeded."""
    if job.state not in (State.RUNNING, State.COMPLETED):
        return None
    return Attempt(
        attempt=job.attempt,
        outcome=job.state,
        lease=job.lease,
        worker=job.worker,
        due_at=job.run_at,
        started_at=job.started_at,
        ended_at=job.final_at,
        waited=_waited(job.run_at, job.started_at),
    )


def success_entry(job: JobRecord) -> AttemptError | None:
    """Return the entry that keeps the success of a job which is about to run again."""
    if job.state is not State.COMPLETED or job.final_at is None:
        return None
    return AttemptError(
        attempt=job.attempt,
        at=job.final_at,
        worker=job.worker,
        became=State.COMPLETED,
        error=ErrorInfo("", ""),
        started_at=job.started_at,
        due_at=job.run_at,
        lease=job.lease,
    )


def with_last(entries: Sequence[AttemptError], job: JobRecord) -> list[Attempt]:
    """Return the last page of a job's attempts, oldest first."""
    attempts = [attempt_of(each) for each in entries]
    last = last_attempt(job)
    return attempts if last is None else [*attempts, last]


def _waited(due_at: float | None, started_at: float | None) -> float | None:
    if due_at is None or started_at is None:
        return None
    return max(0.0, started_at - due_at)

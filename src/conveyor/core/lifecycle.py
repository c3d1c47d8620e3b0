"""The job state machine: every change of a job's state is decided here and nowhere else.

This module does no I/O and reads no clock, so a table of inputs and outputs tests it completely.
Stores apply what these functions return, in the transaction that has read the job.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter
from typing import assert_never

import msgspec

from ..errors import InvalidTransitionError, UsageError
from .bounds import BOUNDS, checked_number, checked_seconds, cut
from .error_info import bounded_error, error_info
from .job import (
    AVAILABLE,
    ERROR_LINE,
    FINAL,
    RUNNING,
    SUPPORT_TIMEOUT,
    WAITING,
    ErrorInfo,
    JobRecord,
    NewJob,
    State,
)
from .retry import Draw, retry_delay
from .retry_on import is_listed

RESULT_LIMIT = BOUNDS["result"].limit


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """The attempt returned. `result` is JSON, or None for a job that returned None."""

    result: bytes | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The attempt raised, timed out or failed by its exit code. `retry`: another try may help."""

    error: ErrorInfo
    retry: bool = True


class Crashed(msgspec.Struct, frozen=True, tag="crashed"):
    """The worker died while it ran the job. The attempt does not count, but the crash does."""

    error: ErrorInfo


class Snoozed(msgspec.Struct, frozen=True, tag="snoozed"):
    """The job asked to run again in `delay` seconds. The attempt does not count.

    A delay of more than 100 years fails the attempt instead.
    """

    delay: float


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """The job was stopped on request, and its code has ended."""

    reason: str


class Interrupted(msgspec.Struct, frozen=True, tag="interrupted"):
    """The worker returned the job to its queue. The attempt does not count."""


class Unsupported(msgspec.Struct, frozen=True, tag="unsupported"):
    """The worker's code does not know the task, or its parameters. The attempt does not count."""

    error: ErrorInfo


# A job that no worker's code could run is tried again after a second, then whenever it has waited
# half as long again, but at least every five minutes.
MIN_SUPPORT_DELAY, MAX_SUPPORT_DELAY = 1.0, 300.0

EXPIRED = ErrorInfo("Expired", "it was not started before its expires_at")
DROPPED = "Dropped"
LEASE_ENDED = ErrorInfo("WorkerLost", "its lease ended: the worker was frozen or cut off")
WORKER_DIED = ErrorInfo("WorkerLost", "the worker's process died")

NotSucceeded = Failed | Crashed | Snoozed | Cancelled | Interrupted | Unsupported
Outcome = Succeeded | NotSucceeded


def checked_outcome(outcome: Outcome) -> Outcome:
    """Return an outcome as it is stored: long texts of errors are cut.

    A snooze for a time that makes no sense, or a result that is too large, fails the attempt.
    """
    if isinstance(outcome, Succeeded):
        return outcome if fits(outcome) else _result_too_large(outcome)
    return _bounded(outcome)


def fits(outcome: Succeeded) -> bool:
    """Whether a result is small enough to be stored."""
    return outcome.result is None or len(outcome.result) <= RESULT_LIMIT


def _result_too_large(outcome: Succeeded) -> Failed:
    return Failed(
        ErrorInfo(
            "EncodingError",
            f"the result is {len(outcome.result or b''):,} bytes of JSON, above the limit of "
            f"{RESULT_LIMIT:,}; store it elsewhere and return its name",
        )
    )


def _bounded(outcome: NotSucceeded) -> NotSucceeded:
    match outcome:
        case Snoozed(delay):
            try:
                return Snoozed(checked_snooze(delay))
            except UsageError as error:
                return Failed(error_info(error))
        case Failed(error) | Crashed(error) | Unsupported(error):
            return msgspec.structs.replace(outcome, error=bounded_error(error))
        case Cancelled(reason):
            return Cancelled(cut("message", reason))
        case _:
            return outcome


def checked_snooze(delay: float) -> float:
    """Return for how long a job may sleep: 0 if it is overdue; UsageError if that is no time."""
    name = "the delay of a Snooze"
    return checked_seconds(max(0.0, checked_number(delay, name)), name)


class Transition(msgspec.Struct, frozen=True):
    """A change of a job's state. `delay` in seconds from now sets run_at; None keeps it.

    `unsupported`: the job waits for a worker whose code can run it, or not; None: that is unknown.
    """

    state: State
    delay: float | None = None
    refund_attempt: bool = False
    crashed: bool = False
    error: ErrorInfo | None = None
    result: bytes | None = None
    unsupported: bool | None = None

    @property
    def is_retry(self) -> bool:
        """Whether the attempt failed, and another one follows."""
        return self.state is State.RETRYABLE and not self.refund_attempt


COMPLETED = Transition(State.COMPLETED)


def apply(job: JobRecord, transition: Transition, now: float) -> JobRecord:
    """Return the job as it is after a transition."""
    if transition is COMPLETED:  # hot path: nothing else of the job changes
        return msgspec.structs.replace(
            job, state=transition.state, result=None, lease_until=None, final_at=now
        )
    error, delay, final = transition.error, transition.delay, transition.state in FINAL
    since = job.unsupported_since
    if transition.unsupported is not None:
        since = (now if since is None else since) if transition.unsupported else None
    return msgspec.structs.replace(
        job,
        state=transition.state,
        attempt=job.attempt - transition.refund_attempt,
        crashes=job.crashes + transition.crashed,
        run_at=job.run_at if delay is None else now + delay,
        error=job.error if error is None else str(error)[:ERROR_LINE],
        result=transition.result,
        worker=job.worker if final else None,
        lease_until=None,
        final_at=now if final else None,
        unsupported_since=since,
    )


def first_state(new: NewJob, now: float) -> tuple[State, float]:
    """Return the first state of a job that is enqueued now, and its run_at."""
    run_at = now + new.delay if new.run_at is None else new.run_at
    return State.SCHEDULED if run_at > now else AVAILABLE, run_at


def has_expired(job: JobRecord, now: float) -> bool:
    """Whether a waiting job must not start any more."""
    expires_at = job.options.expires_at
    return expires_at is not None and expires_at <= now


class LeaseTerms(msgspec.Struct, frozen=True):
    """What the jobs of one claim have in common: the worker, and from when until when it has them.

    Nothing has started (`started_at` is None) until a provisional claim is confirmed.
    """

    worker: str
    until: float
    started_at: float | None


def claim(job: JobRecord, terms: LeaseTerms) -> JobRecord:
    """Return the job as claimed: running, with its next lease."""
    return msgspec.structs.replace(
        job,
        state=RUNNING,
        attempt=job.attempt + 1,
        lease=job.lease + 1,
        worker=terms.worker,
        lease_until=terms.until,
        started_at=terms.started_at,
        stopping=(),
    )


def settle(job: JobRecord, outcome: Outcome, *, draw: Draw = random.random) -> Transition:
    """Decide the next state of a running job whose attempt has ended."""
    if job.state is not RUNNING:
        raise InvalidTransitionError(f"job {job.id} is {job.state}, so it cannot be settled")
    # Hot path: most jobs succeed, and a match would cost as much as all the rest.
    if isinstance(outcome, Succeeded):
        result = outcome.result
        if result is None or fits(outcome):
            return COMPLETED if result is None else Transition(State.COMPLETED, result=result)
        outcome = _result_too_large(outcome)
    judged = _judged(job, outcome)
    match judged:
        case Cancelled(reason):
            return Transition(State.CANCELLED, error=ErrorInfo("Cancelled", reason))
        case Failed(error) | Crashed(error) | Unsupported(error) if (
            job.cancel_requested_at is not None
        ):
            return Transition(State.CANCELLED, error=error)
        case Snoozed() | Interrupted() if job.cancel_requested_at is not None:
            return Transition(State.CANCELLED, error=ErrorInfo("Cancelled", "stopped on request"))
        case Snoozed(delay):
            return Transition(State.SCHEDULED, delay=delay, refund_attempt=True, unsupported=False)
        case Unsupported(error):
            return _return_unsupported(job, error)
        case Interrupted():
            return Transition(State.AVAILABLE, refund_attempt=True)
        case Crashed(error) if job.crashes + 1 >= job.options.crash_limit:
            return Transition(State.DISCARDED, error=error, crashed=True)
        case Crashed(error):
            return Transition(State.AVAILABLE, refund_attempt=True, crashed=True, error=error)
        case Failed(error, retry):
            return _fail(job, error, retry=retry, draw=draw)
    assert_never(judged)


def _judged(job: JobRecord, outcome: NotSucceeded) -> NotSucceeded:
    """Return how an attempt counts: a job that cannot be read can only end."""
    if job.damage and not isinstance(outcome, Cancelled):
        return Failed(damage_error(job), retry=False)
    return _bounded(outcome)


def _fail(job: JobRecord, error: ErrorInfo, *, retry: bool, draw: Draw) -> Transition:
    """Decide about a job whose attempt failed."""
    if not retry or not job.has_retries_left:
        return Transition(State.DISCARDED, error=error)
    if not is_listed(job.options.retry_on, (error.type, *error.bases)):
        return Transition(State.DISCARDED, error=_not_retried(error, job.options.retry_on))
    delay = retry_delay(job.options.backoff, job.attempt, draw)
    return Transition(State.RETRYABLE, delay=delay, error=error, unsupported=False)


def _return_unsupported(job: JobRecord, error: ErrorInfo) -> Transition:
    """Decide about a job that a worker's code cannot run; another worker may have other code."""
    since = job.unsupported_since
    waited = 0.0 if since is None or job.started_at is None else job.started_at - since
    if waited >= SUPPORT_TIMEOUT:
        hours = f"{SUPPORT_TIMEOUT / 3600:.0f} h"
        message = f"{error.message} (no worker could run it for {hours})"
        final = msgspec.structs.replace(error, message=message)
        return Transition(State.DISCARDED, error=final, refund_attempt=True)
    delay = min(MAX_SUPPORT_DELAY, max(MIN_SUPPORT_DELAY, waited / 2))
    return Transition(
        State.RETRYABLE,
        delay=delay,
        refund_attempt=True,
        unsupported=True,
        # Only the first time is in the history, which would otherwise have hundreds of entries.
        error=error if since is None else None,
    )


def pick_lost(
    running: Iterable[JobRecord], *, dead: Sequence[str], now: float, limit: int
) -> list[JobRecord]:
    """Return the jobs to rescue: those of dead workers, or else lapsed leases, oldest first."""
    if dead:
        order = {worker: float(number) for number, worker in enumerate(dead)}
        lost = [(order[job.worker], job) for job in running if job.worker in order]
    else:  # a lease without an end, in a damaged row, has ended too
        leased = ((job.lease_until or 0.0, job) for job in running)
        lost = [(until, job) for until, job in leased if until < now]
    lost.sort(key=itemgetter(0))
    return [job for _, job in lost[:limit]]


def lost_job_outcome(
    job: JobRecord, *, dead: Collection[str], begun: Collection[str] | None, evidence: str = ""
) -> Outcome:
    """Return how an attempt ended whose worker is among the `dead` or let the lease lapse.

    A claim that was never confirmed (no `started_at`) has started nothing and is only undone.
    `begun` are the jobs whose code the dead workers had started, or None if that is unknown; the
    other jobs did not crash. `evidence` is what is known about the worker's death.
    """
    if job.started_at is None:
        return Interrupted()
    if job.worker not in dead:
        return Crashed(LEASE_ENDED)
    if begun is not None and job.id not in begun:
        return Interrupted()
    told = f"{WORKER_DIED.message}: {evidence}" if evidence else WORKER_DIED.message
    return Crashed(ErrorInfo(WORKER_DIED.type, told))


def drop_error(queue: str, capacity: int | None) -> ErrorInfo:
    """Return the error of a job that a queue with when_full="drop_oldest" discarded."""
    why = f"queue {queue!r} was full ({capacity}) and drops its oldest job for a new one"
    return ErrorInfo(DROPPED, why)


def damage_error(job: JobRecord) -> ErrorInfo:
    """Return the error of a job whose row cannot be read."""
    return ErrorInfo(
        "CorruptStoreError",
        f"the row of job {job.id} is damaged: {job.damage}. Enqueue the job again from its source, "
        "and check the disk; `conveyor doctor` looks at the whole file",
    )


def cancel(job: JobRecord) -> State | None:
    """Return the state of a cancelled waiting job, or None if a worker must stop the job first."""
    if job.state in WAITING:
        return State.CANCELLED
    if job.state is State.RUNNING:
        return None
    raise InvalidTransitionError(
        f"job {job.id} is already {job.state}: it ended before it could be cancelled"
    )


def retry(job: JobRecord) -> State:
    """Return the state of a job that an operator retries."""
    if job.is_final or job.state in (State.RETRYABLE, State.SCHEDULED):
        return State.AVAILABLE
    raise InvalidTransitionError(
        f"job {job.id} is {job.state}: only a job that ended or waits for its time can be retried"
    )


def renew(job: JobRecord, now: float) -> JobRecord:
    """Return the job as an operator's retry leaves it: with all its retries, and no result."""
    return msgspec.structs.replace(
        job,
        state=retry(job),
        attempt=0,
        crashes=0,
        run_at=now,
        final_at=None,
        result=None,
        cancel_requested_at=None,
        cancel_forced=False,
        stopping=(),
        unsupported_since=None,
    )


def beyond_retry(job: JobRecord) -> InvalidTransitionError:
    """Return the error for a retry of a job that cannot be read any more."""
    return InvalidTransitionError(
        f"job {job.id} cannot be retried: {job.damage}; enqueue it again from its source"
    )


def check_deletable(job: JobRecord) -> None:
    """Raise InvalidTransitionError for a job that is not final."""
    if not job.is_final:
        raise InvalidTransitionError(
            f"job {job.id} is {job.state}: only a final job can be deleted; cancel it first"
        )


def _not_retried(error: ErrorInfo, retry_on: Sequence[str]) -> ErrorInfo:
    reason = f"not retried, because retry_on lists only {', '.join(retry_on)}"
    return msgspec.structs.replace(error, message=f"{error.message} ({reason})".lstrip())

"""The events of the attempts of one worker, each once the store has accepted what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ..core.events import (
    JobCancelled,
    JobDiscarded,
    JobEnded,
    JobReleased,
    JobRescued,
    JobRetrying,
    JobSnoozed,
    JobStarted,
    JobSucceeded,
)
from ..core.job import ErrorInfo, JobRecord, State
from ..core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Snoozed,
    Succeeded,
    Unsupported,
    checked_outcome,
    settle,
)
from ..store.messages import Exchanged, Report
from .event_delivery import EventDelivery

RELEASED = "the worker has returned it"
STOPPED = "stopped on request"


class RunningAttempt(msgspec.Struct):
    """An attempt that has started here. `ran` and `exception` are known once its code has ended."""

    job: JobRecord
    began: float
    ran: float = 0.0
    exception: BaseException | None = None


class JobEvents:
    """The attempts that were started and are not reported yet. It belongs to one event loop.

    Each leaves by `settle`, by `leave`, or by `forget`, however its job leaves the worker.

    Nothing need be noted while there are no `subscriptions`. `now` is the store's clock, and
    `elapsed` a monotonic one.
    """

    def __init__(
        self,
        delivery: EventDelivery,
        *,
        worker: str,
        now: Callable[[], float],
        elapsed: Callable[[], float],
    ) -> None:
        self._delivery = delivery
        # Read for each job.
        self.subscriptions = delivery.subscriptions
        self._worker = worker
        self._now = now
        self._elapsed = elapsed
        self._attempts: dict[tuple[str, int], RunningAttempt] = {}

    def start(self, job: JobRecord) -> None:
        """Note that the code of a job starts; its claim is confirmed."""
        self.note_unrun(job)
        if self._delivery.wants(JobStarted):
            now = self._now()
            waited = max(0.0, now - job.run_at)
            self._delivery.emit(
                JobStarted(at=now, worker=self._worker, job_id=job.id, job=job, waited=waited)
            )

    def note_unrun(self, job: JobRecord) -> None:
        """Note that a job ends here without a start: its task is unknown."""
        self._attempts[job.id, job.lease] = RunningAttempt(job, self._elapsed())

    def end(self, job: JobRecord, exception: BaseException | None) -> None:
        """Note that the code of a job has ended. That is no event before the store knows it."""
        attempt = self._attempts.get((job.id, job.lease))
        if attempt is not None:
            attempt.ran = self._elapsed() - attempt.began
            attempt.exception = exception

    def leave(self, job: JobRecord, *, completed: bool) -> None:
        """Note an attempt of which nothing is reported: it was `completed` by its application.

        Otherwise its lease is lost, and what it did is no event.
        """
        attempt = self._attempts.pop((job.id, job.lease), None)
        if attempt is not None and completed:
            self._emit(attempt, Succeeded(), State.COMPLETED)

    def forget(self, reports: Sequence[Report]) -> None:
        """Forget attempts of which the worker keeps nothing: no report of them is sent again."""
        if self._attempts:
            for report in reports:
                self._attempts.pop((report.id, report.lease), None)

    def settle(self, reports: Sequence[Report], answer: Exchanged) -> None:
        """Report what the store has accepted, of jobs that were started here."""
        if not self._attempts:
            return
        settled = set(answer.settled)
        # Of two attempts of one job only the later one can have been accepted.
        newest: dict[str, int] = {}
        for report in reports:
            newest[report.id] = max(report.lease, newest.get(report.id, 0))
        for report in reports:
            attempt = self._attempts.pop((report.id, report.lease), None)
            is_accepted = report.id in settled and newest[report.id] == report.lease
            if attempt is not None and is_accepted:
                outcome = checked_outcome(report.outcome)
                became = answer.became.get(report.id) or _expected(attempt.job, outcome)
                self._emit(attempt, outcome, became)

    def rescued(self, ids: Iterable[str]) -> None:
        """Report that attempts of workers that are gone were ended."""
        if self._delivery.wants(JobRescued):
            for job_id in ids:
                event = JobRescued(at=self._now(), worker=self._worker, job_id=job_id)
                self._delivery.emit(event)

    def discarded(self, job: JobRecord, error: ErrorInfo) -> None:
        """Report a job that the store has discarded without an attempt here."""
        if self._delivery.wants(JobDiscarded):
            self._delivery.emit(
                JobDiscarded(
                    at=self._now(),
                    worker=self._worker,
                    job_id=job.id,
                    job=job,
                    state=State.DISCARDED,
                    error=error,
                )
            )

    def _emit(self, attempt: RunningAttempt, outcome: Outcome, became: State) -> None:
        event = self._event(attempt, outcome, became)
        if event is not None:
            self._delivery.emit(event)

    def _event(self, attempt: RunningAttempt, outcome: Outcome, became: State) -> JobEnded | None:
        kind = _kind(outcome, became)
        if not self._delivery.wants(kind):
            return None
        fields: dict[str, Any] = {
            "at": self._now(),
            "worker": self._worker,
            "job_id": attempt.job.id,
            "job": attempt.job,
            "state": became,
            "ran": attempt.ran,
            **_details(kind, outcome, attempt),
        }
        return kind(**fields)


def _kind(outcome: Outcome, became: State) -> type[JobEnded]:
    if became is State.COMPLETED:
        return JobSucceeded
    if became is State.DISCARDED:
        return JobDiscarded
    if became is State.CANCELLED:
        return JobCancelled
    match outcome:
        case Failed():
            return JobRetrying
        case Snoozed():
            return JobSnoozed
        case _:
            return JobReleased


def _details(kind: type[JobEnded], outcome: Outcome, attempt: RunningAttempt) -> dict[str, object]:
    error = outcome.error if isinstance(outcome, Failed | Crashed | Unsupported) else None
    if kind is JobRetrying or kind is JobDiscarded:
        told = error or ErrorInfo("Discarded", "")
        return {"error": told, "exception": attempt.exception}
    if kind is JobCancelled:
        return {
            "reason": outcome.reason if isinstance(outcome, Cancelled) else str(error or STOPPED)
        }
    if kind is JobSnoozed:
        return {"delay": outcome.delay if isinstance(outcome, Snoozed) else 0.0}
    if kind is JobReleased:
        return {"reason": RELEASED if isinstance(outcome, Interrupted) else str(error)}
    return {}


def _expected(job: JobRecord, outcome: Outcome) -> State:
    """Return what becomes of a job, for a server that does not say so."""
    return State.COMPLETED if isinstance(outcome, Succeeded) else settle(job, outcome).state

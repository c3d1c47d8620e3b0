"""How jobs look on the wire: as in the store, but arguments and results are JSON, not bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from ...core.job import (
    NO_OPTIONS,
    JobRecord,
    NewJob,
    Options,
    Progress,
    State,
    StopNote,
)
from ...core.lifecycle import Cancelled, Crashed, Failed, Interrupted, Outcome, Snoozed, Succeeded
from ..messages import Exchanged, Lease, Report

NOTHING = msgspec.Raw(b"null")
NO_ARGS = msgspec.Raw(b"{}")
# JSON has no infinity. Nothing that is counted in seconds or steps is larger than this.
LARGEST = 1e18


class JobView(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A job as the server knows it. Times are Unix seconds, durations seconds."""

    # The fields and their order are those of JobRecord.
    seq: int
    id: str
    task: str
    queue: str
    args: msgspec.Raw
    state: State
    priority: int
    run_at: float
    enqueued_at: float
    attempt: int = 0
    lease: int = 0
    crashes: int = 0
    worker: str | None = None
    lease_until: float | None = None
    cancel_requested_at: float | None = None
    started_at: float | None = None
    final_at: float | None = None
    result: msgspec.Raw = msgspec.field(default_factory=lambda: NOTHING)
    error: str | None = None
    progress: Progress | None = None
    cancel_forced: bool = False
    stopping: tuple[StopNote, ...] = ()
    options: Options = NO_OPTIONS


FIELDS = JobView.__struct_fields__
ARGS, RESULT = FIELDS.index("args"), FIELDS.index("result")


class NewJobView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A job to enqueue. Without an `id` the server makes one; give a UUID to be able to repeat.

    `args` are the arguments by name. `delay` is seconds from now; `run_at` is Unix seconds.
    """

    task: str
    id: str = ""
    args: msgspec.Raw = msgspec.field(default_factory=lambda: NO_ARGS)
    priority: int = 0
    run_at: float | None = None
    delay: float = 0.0
    options: Options = NO_OPTIONS


class SucceededView(msgspec.Struct, frozen=True, tag="succeeded", omit_defaults=True):
    """The attempt returned `result`."""

    result: msgspec.Raw = msgspec.field(default_factory=lambda: NOTHING)


OutcomeView = SucceededView | Failed | Crashed | Snoozed | Cancelled | Interrupted


class ReportView(msgspec.Struct, frozen=True, gc=False):
    """How one attempt ended, under the lease it ran with."""

    id: str
    lease: int
    outcome: OutcomeView


class ExchangedView(msgspec.Struct, frozen=True):
    """What came of a batch: ids whose report was accepted, and the newly claimed jobs."""

    settled: tuple[str, ...]
    jobs: tuple[JobView, ...]


def job_view(job: JobRecord) -> JobView:
    """Return a job as it is sent."""
    values: list[Any] = list(msgspec.structs.astuple(job))
    values[ARGS] = msgspec.Raw(job.args)
    values[RESULT] = _raw(job.result)
    return JobView(*values)


def job_of(view: JobView) -> JobRecord:
    """Return the job that was sent."""
    values: dict[str, Any] = dict(zip(FIELDS, msgspec.structs.astuple(view), strict=True))
    values["args"] = bytes(view.args)
    values["result"] = _bytes(view.result)
    return JobRecord(**values)


def new_job_view(job: NewJob) -> NewJobView:
    """Return a new job as it is sent; its queue is named beside it."""
    return NewJobView(
        id=job.id,
        task=job.task,
        args=msgspec.Raw(job.args),
        priority=job.priority,
        run_at=None if job.run_at is None else _finite(job.run_at),
        delay=_finite(job.delay),
        options=job.options,
    )


def new_job_of(view: NewJobView, queue: str) -> NewJob:
    """Return the new job that was sent."""
    return NewJob(
        id=view.id,
        task=view.task,
        queue=queue,
        args=bytes(view.args),
        priority=view.priority,
        run_at=view.run_at,
        delay=view.delay,
        options=view.options,
    )


def report_view(report: Report) -> ReportView:
    """Return a report as it is sent."""
    return ReportView(report.id, report.lease, _outcome_view(report.outcome))


def report_of(view: ReportView) -> Report:
    """Return the report that was sent."""
    outcome = view.outcome
    if isinstance(outcome, SucceededView):
        return Report(view.id, view.lease, Succeeded(_bytes(outcome.result)))
    return Report(view.id, view.lease, outcome)


def exchanged_view(answer: Exchanged) -> ExchangedView:
    """Return what came of a batch as it is sent."""
    return ExchangedView(answer.settled, tuple(map(job_view, answer.jobs)))


def exchanged_of(view: ExchangedView) -> Exchanged:
    """Return what came of a batch."""
    return Exchanged(view.settled, tuple(map(job_of, view.jobs)))


def progress_view(lease: Lease, progress: Progress) -> tuple[Lease, Progress]:
    """Return progress as it can be sent: a number that JSON cannot hold is cut, or left out."""
    total = progress.total
    return lease, Progress(
        _finite(progress.done),
        None if total is None else _finite(total),
        progress.message,
    )


def _outcome_view(outcome: Outcome) -> OutcomeView:
    match outcome:
        case Succeeded(result):
            return SucceededView(_raw(result))
        case Snoozed(delay):
            return Snoozed(_finite(delay))
        case other:
            return other


def _finite(number: float) -> float:
    # Not a number at all (NaN) counts as nothing.
    return min(LARGEST, max(-LARGEST, number)) if number == number else 0.0  # noqa: PLR0124


def _raw(value: bytes | None) -> msgspec.Raw:
    return NOTHING if value is None else msgspec.Raw(value)


def _bytes(value: msgspec.Raw) -> bytes | None:
    return None if value == NOTHING else bytes(value)

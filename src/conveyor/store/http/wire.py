"""The wire format of jobs: as in the store, but arguments and results are JSON, not bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ...core.files import FileInfo, checked_file
from ...core.job import (
    NO_OPTIONS,
    JobRecord,
    NewJob,
    Options,
)
from ...core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Snoozed,
    Succeeded,
    Unsupported,
    checked_outcome,
)
from ...core.page import Page
from ...core.storable import checked_record
from ...core.unreadable import UNREADABLE
from ...errors import UnavailableError, UsageError
from ..messages import Exchanged, Report

NOTHING = msgspec.Raw(b"null")
NO_ARGS = msgspec.Raw(b"{}")


class JobView(JobRecord, frozen=True, omit_defaults=True, gc=False):
    """A job. Times are Unix seconds, durations are seconds.

    `summary` is one line about the arguments, in a list that was asked for it.
    """

    args: msgspec.Raw
    result: msgspec.Raw = msgspec.field(default_factory=lambda: NOTHING)
    summary: str = ""


FIELDS = JobRecord.__struct_fields__
ARGS, RESULT, DAMAGE = FIELDS.index("args"), FIELDS.index("result"), FIELDS.index("damage")

_checked_json = msgspec.json.Decoder(msgspec.Raw).decode


class NewJobView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A job to enqueue. Send a UUID as `id` to make a retry safe; without one the server makes it.

    `args` are the arguments by name. `delay` is in seconds from now; `run_at` is Unix seconds. The
    priority and the options that are left out, or at their default, are those that the task
    declares; with `complete` they stay as they are.
    """

    task: str
    id: str = ""
    args: msgspec.Raw = msgspec.field(default_factory=lambda: NO_ARGS)
    priority: int = 0
    run_at: float | None = None
    delay: float = 0.0
    options: Options = NO_OPTIONS
    complete: bool = False


class SucceededView(msgspec.Struct, frozen=True, tag="succeeded", omit_defaults=True):
    """The attempt returned `result`."""

    result: msgspec.Raw = msgspec.field(default_factory=lambda: NOTHING)


OutcomeView = SucceededView | Failed | Crashed | Snoozed | Cancelled | Interrupted | Unsupported


class ReportView(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one attempt, and the lease under which it ran."""

    id: str
    lease: int
    outcome: OutcomeView


class ExchangedView(msgspec.Struct, frozen=True):
    """The ids of the jobs whose report was accepted, and the newly claimed jobs."""

    settled: tuple[str, ...]
    jobs: tuple[JobView, ...]


def encode_job(job: JobRecord) -> JobView:
    """Return the wire format of a job; it is damaged if its arguments or result are not JSON."""
    values: list[Any] = list(msgspec.structs.astuple(job))
    try:
        values[ARGS] = _checked_json(job.args)
        values[RESULT] = NOTHING if job.result is None else _checked_json(job.result)
    except UNREADABLE as error:
        # As they are, nobody could read the response, nor the other jobs in it.
        values[ARGS], values[RESULT] = NO_ARGS, NOTHING
        values[DAMAGE] = job.damage or f"its arguments or its result are not JSON: {error}"
    return JobView(*values)


def decode_job(view: JobView) -> JobRecord:
    """Return the job that was received; it is damaged if no store would have accepted it."""
    # Without its last field, the summary, which is only for people.
    values: dict[str, Any] = dict(zip(FIELDS, msgspec.structs.astuple(view), strict=False))
    values["args"] = bytes(view.args)
    values["result"] = _decode_json(view.result)
    return checked_record(JobRecord(**values))


def encode_jobs(jobs: Iterable[JobRecord]) -> list[JobView]:
    """Return the wire format of a page of jobs."""
    return list(map(encode_job, jobs))


def decode_jobs(views: Page[JobView]) -> Page[JobRecord]:
    """Return the page of jobs that was received."""
    return Page(map(decode_job, views), more=views.more, next=views.next)


def encode_new_job(job: NewJob) -> NewJobView:
    """Return the wire format of a new job; its queue is sent separately."""
    return NewJobView(
        id=job.id,
        task=job.task,
        args=msgspec.Raw(job.args),
        priority=job.priority,
        run_at=job.run_at,
        delay=job.delay,
        options=job.options,
        complete=True,
    )


def decode_new_job(view: NewJobView, queue: str) -> NewJob:
    """Return the new job that was received, for a queue."""
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


def encode_report(report: Report) -> ReportView:
    """Return the wire format of a report."""
    return ReportView(report.id, report.lease, _encode_outcome(report.outcome))


def decode_report(view: ReportView) -> Report:
    """Return the report that was received."""
    outcome = view.outcome
    if isinstance(outcome, SucceededView):
        return Report(view.id, view.lease, Succeeded(_decode_json(outcome.result)))
    return Report(view.id, view.lease, outcome)


def encode_exchanged(answer: Exchanged) -> ExchangedView:
    """Return the wire format of the answer to a claim or exchange."""
    return ExchangedView(answer.settled, tuple(map(encode_job, answer.jobs)))


def decode_exchanged(view: ExchangedView) -> Exchanged:
    """Return the answer to a claim or exchange that was received."""
    return Exchanged(view.settled, tuple(map(decode_job, view.jobs)))


def checked_files(files: list[FileInfo]) -> list[FileInfo]:
    """Return the files that a server lists; UnavailableError for one that no job can have.

    A client makes paths of their names and digests, and writes as many bytes as they announce.
    """
    try:
        return [checked_file(each) for each in files]
    except UsageError as error:
        raise UnavailableError(f"the server listed a file that no job can have: {error}") from error


def _encode_outcome(outcome: Outcome) -> OutcomeView:
    checked = checked_outcome(outcome)
    return (
        SucceededView(_encode_json(checked.result)) if isinstance(checked, Succeeded) else checked
    )


def _encode_json(value: bytes | None) -> msgspec.Raw:
    return NOTHING if value is None else msgspec.Raw(value)


def _decode_json(value: msgspec.Raw) -> bytes | None:
    return None if value == NOTHING else bytes(value)

"""Groups of failures that are alike."""

from __future__ import annotations

from heapq import nlargest

from ...core.failures import (
    WINDOW,
    FailedAttempt,
    Failure,
    Failures,
    failure_of,
    group_failures,
    newest_of,
    with_errors,
)
from ...core.job import AttemptError, JobRecord
from ..failure_rules import no_failure
from .data import MemoryData


def failures(
    memory: MemoryData, *, queue: str | None = None, task: str | None = None, limit: int = 100
) -> Failures:
    """Return the groups among the newest failed attempts."""
    newest = _newest(memory)
    found = group_failures([_failed(*each) for each in newest], limit=limit, queue=queue, task=task)
    errors = {entry.seq: entry.error for entry, _ in newest}
    return with_errors(found, [errors[group.seq] for group in found.groups])


def failure(memory: MemoryData, fingerprint: str, *, queue: str | None = None) -> Failure:
    """Return one group."""
    newest = _newest(memory)
    found = newest_of((_failed(*each) for each in newest), fingerprint, queue)
    if not found:
        raise no_failure(fingerprint)
    errors = {entry.seq: entry.error for entry, _ in newest}
    return failure_of(found, errors[found[0].seq])


def _newest(memory: MemoryData) -> list[tuple[AttemptError, JobRecord]]:
    index = memory.index
    all_of_them = (
        (entry, index.jobs[job_id])
        for job_id, entries in index.history.items()
        for entry in entries
        if entry.fingerprint
    )
    return nlargest(WINDOW, all_of_them, key=lambda pair: pair[0].seq)


def _failed(entry: AttemptError, job: JobRecord) -> FailedAttempt:
    return FailedAttempt(
        seq=entry.seq,
        fingerprint=entry.fingerprint,
        job_id=job.id,
        task=job.task,
        queue=job.queue,
        at=entry.at,
        became=entry.became,
        attempt=entry.attempt,
        worker=entry.worker,
    )

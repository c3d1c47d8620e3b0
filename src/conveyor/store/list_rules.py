"""How many bytes an entry of a list counts: its large fields as they are stored, and its names."""

from __future__ import annotations

import msgspec

from ..core.access import Action, Token
from ..core.job import NO_OPTIONS, AttemptError, JobRecord, Options, OutputChunk, WorkerInfo
from ..core.marks import Mark
from ..core.page import ENTRY_BYTES

_encode = msgspec.json.Encoder().encode


def job_size(job: JobRecord) -> int:
    """Return the size of a job in a list, without the details that are left out."""
    size = ENTRY_BYTES + len(job.args) + len(job.result or b"") + options_size(job.options)
    if job.stopping:
        size += len(_encode(job.stopping))
    if job.progress is not None:
        size += len(_encode(job.progress))
    return size


def claim_size(job: JobRecord) -> int:
    """Return the size of a claimed job."""
    options = job.options
    return len(job.args) + (0 if options is NO_OPTIONS else options_size(options))


def options_size(options: Options) -> int:
    """Return the size of a job's options. Those that are numbers and names count nothing."""
    if not (
        options.meta
        or options.files
        or options.artifacts
        or options.requires
        or options.retry_on
        or options.given
    ):
        return 0
    return len(_encode(options))


def attempt_size(attempt: AttemptError) -> int:
    """Return the size of an entry of a job's history."""
    return ENTRY_BYTES + len(_encode(attempt.error))


def chunk_size(chunk: OutputChunk) -> int:
    """Return the size of a chunk of output."""
    return ENTRY_BYTES + len(chunk.data)


def token_size(token: Token) -> int:
    """Return the size of a token."""
    return ENTRY_BYTES + sum(len(queue.encode()) for queue in token.queues)


def action_size(action: Action) -> int:
    """Return the size of a line of the audit log."""
    texts = (action.who, action.where, action.what, action.subject, action.detail)
    return sum(len(str(text).encode(errors="replace")) for text in texts)


def mark_size(mark: Mark) -> int:
    """Return the size of a mark."""
    return ENTRY_BYTES + len(_encode(mark))


def worker_size(worker: WorkerInfo) -> int:
    """Return the size of a worker's description."""
    return ENTRY_BYTES + len(_encode(worker))


def queue_size(_queue: object) -> int:
    """Return the size of a queue or a schedule, which have only names and numbers."""
    return ENTRY_BYTES

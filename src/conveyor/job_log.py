"""Logs attempts that failed, and jobs that were discarded without an attempt.

An attempt after which the job runs again is a WARNING, a discard an ERROR. A job that expired is a
WARNING and one that a full queue dropped is INFO, because its application asked for that.

The records carry the job's id, task, queue and attempt as attributes, and an ERROR carries the
exception, so that error trackers which listen to logging see failing jobs without configuration.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .core.event_log import open_event_log
from .core.foreign_text import escape_line
from .core.job import ERROR_LINE, ErrorInfo, JobRecord, State
from .core.lifecycle import DROPPED, EXPIRED, Crashed, Failed, Unsupported, settle

log = open_event_log("job")

OnDiscard = Callable[[JobRecord, ErrorInfo], None]

MESSAGE = "%s id=%s task=%s queue=%s attempt=%d/%d error=%s"
# What follows on a failed attempt -> event. A job that was cancelled meanwhile is no event.
EVENTS = {
    State.DISCARDED: "job.discarded",
    State.RETRYABLE: "job.retrying",
    State.AVAILABLE: "job.crashed",
}
# By the type of a discard's error; others are ERRORs.
LEVELS = {EXPIRED.type: logging.WARNING, DROPPED: logging.INFO}


class RemoteError(Exception):
    """Stands for an exception that ended a job in another process: its traceback, as text."""

    def __init__(self, error: ErrorInfo) -> None:
        self.error = error
        super().__init__(error)

    def __str__(self) -> str:
        text = str(self.error)
        return f"{text}\n\n{self.error.traceback}" if self.error.traceback else text


def log_failure(
    job: JobRecord, outcome: Failed | Crashed | Unsupported, exception: BaseException | None = None
) -> None:
    """Log how an attempt failed. `exception` is what the job raised, if it ran in this process.

    The job is as it was claimed, so this may be called before the store has settled it.
    """
    move = settle(job, outcome)
    if isinstance(outcome, Unsupported) and move.error is None:
        return  # logged the first time that a worker returned it
    level = logging.ERROR if move.state is State.DISCARDED else logging.WARNING
    _log(job, move.state, level, outcome.error, exception)


def log_discards(
    discards: deque[tuple[JobRecord, ErrorInfo]],
    on_discard: OnDiscard | None = None,
) -> None:
    """Log jobs that the store has discarded, and remove them from the list."""
    with suppress(IndexError):  # another thread may log them too
        while discards:
            job, error = discards.popleft()
            if on_discard is not None:
                on_discard(job, error)
            _log(job, State.DISCARDED, LEVELS.get(error.type, logging.ERROR), error, None)


def _log(
    job: JobRecord, became: State, level: int, error: ErrorInfo, exception: BaseException | None
) -> None:
    if became not in EVENTS or not log.isEnabledFor(level):
        return
    raised = (exception or RemoteError(error)) if level == logging.ERROR else None
    exc_info = None if raised is None else (type(raised), raised, raised.__traceback__)
    line = escape_line(str(error)[:ERROR_LINE])
    attempts = job.options.retries + 1
    args = EVENTS[became], job.id, job.task, job.queue, job.attempt, attempts, line
    record = log.makeRecord(log.name, level, __file__, 0, MESSAGE, args, exc_info)
    # Not `extra`: it refuses names that a record factory of the application has set already.
    record.__dict__.update(job_id=job.id, task=job.task, queue=job.queue, attempt=job.attempt)
    # A handler of the application, or the job's exception when it is printed, may raise anything,
    # even SystemExit, and must not end the worker.
    with suppress(BaseException):
        log.handle(record)

"""Turns the exception that ended a job's code into how the job ended."""

from __future__ import annotations

from ..core.error_info import error_info
from ..core.lifecycle import Failed, Snoozed
from ..errors import EncodingError, JobCancelledError, Snooze
from .job_control import RunResult, Stopped


def run_result_of_exception(error: BaseException, *, stopping: bool) -> RunResult:
    """Return how a job ended whose code raised `error`. `stopping`: it had been asked to stop."""
    match error:
        case Snooze():
            return Snoozed(error.delay)
        case JobCancelledError() if stopping:
            return Stopped()
        case EncodingError():
            return Failed(error_info(error), retry=False)
        case _:
            return Failed(error_info(error))

"""Turns the exception that ended a job's code into how the job ended."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.error_info import error_info
from ..core.lifecycle import Failed, Snoozed, Unsupported, checked_snooze
from ..errors import (
    EncodingError,
    JobCancelledError,
    Snooze,
    StaleArgumentsError,
    UsageError,
)
from .job_control import RunResult, Stopped
from .machine_fault import MachineError, MachineFault


def run_result_of_exception(
    error: BaseException, *, stopping: bool, retry_on: Sequence[str] = ()
) -> RunResult:
    """Return how a job ended whose code raised `error`. `stopping`: it had been asked to stop.

    `retry_on` are the names of the exception classes after which the job is retried.
    """
    try:
        return _match(error, stopping=stopping, retry_on=retry_on)
    except BaseException:  # noqa: BLE001 - its class may lie about itself, with code that raises
        return Failed(error_info(error, retry_on))


def _match(error: BaseException, *, stopping: bool, retry_on: Sequence[str]) -> RunResult:
    match error:
        case Snooze():
            return _snoozed(error)
        case JobCancelledError() if stopping:
            return Stopped()
        case StaleArgumentsError():
            return Unsupported(error_info(error))
        case MachineError():  # its folder could not be created, whatever its code had done by then
            return MachineFault(str(error))
        case EncodingError():
            return Failed(error_info(error), retry=False)
        case _:
            return Failed(error_info(error, retry_on))


def _snoozed(error: Snooze) -> RunResult:
    """Return that a job sleeps, or that it failed because the time it asked for makes no sense."""
    try:
        return Snoozed(checked_snooze(error.delay))
    except (UsageError, AttributeError, TypeError, ValueError) as wrong:
        wrong.__cause__ = error  # its traceback shows where the job said so
        return Failed(error_info(wrong))

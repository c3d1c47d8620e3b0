"""What the ending of a job's code means: a pure table from ending and stop to outcome."""

from __future__ import annotations

from typing import assert_never

from ..core.job import ErrorInfo, JobRecord, OnShutdown
from ..core.lifecycle import Cancelled, Crashed, Failed, Interrupted, Outcome, Snoozed, Succeeded
from ..runners.job_control import Ending, Stopped, StopRequest


def outcome_of(ending: Ending, stop: StopRequest | None, on_shutdown: OnShutdown) -> Outcome | None:
    """Say how the attempt ended; None when the job is not ours any more and nobody wants to hear.

    What finished before it could be stopped counts as finished.
    """
    if stop is None:
        if isinstance(ending, Stopped):
            raise AssertionError("a runner said Stopped, but nobody had asked for a stop")
        return ending
    if isinstance(ending, Succeeded):
        return None if stop.cause == "lost" else ending
    match stop.cause:
        case "lost":
            return None
        case "fenced":
            # If nobody has taken it over in the meantime, it is free again; else this is refused.
            return Interrupted()
        case "cancel":
            return Cancelled(_with_notes(stop.reason, ending))
        case "timeout":
            return Failed(ErrorInfo("Timeout", _with_notes(stop.reason, ending)))
        case "shutdown" if on_shutdown == "cancel":
            return Cancelled(_with_notes(stop.reason, ending))
        case "shutdown":
            return Interrupted()
    assert_never(stop.cause)


def unknown_task(job: JobRecord, app: str) -> Failed:
    """Say that this worker cannot run a job, and what to do about it."""
    return Failed(
        ErrorInfo(
            "UnknownTask",
            f"no task named {job.task!r} is registered in {app}. Deploy the code that has it "
            f"(or import its module there), then `conveyor retry {job.id}`.",
        )
    )


def _with_notes(reason: str, ending: Ending) -> str:
    match ending:
        case Stopped(notes) if notes:
            return f"{reason} ({'; '.join(notes)})"
        case Failed(error) | Crashed(error):
            return f"{reason} (it ended with {error})"
        case Stopped() | Succeeded() | Snoozed():
            return reason
    assert_never(ending)

"""Derives the outcome to report from how the code ended and why it was stopped."""

from __future__ import annotations

from typing import assert_never

from ..core.job import ErrorInfo, JobRecord, OnShutdown
from ..core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Snoozed,
    Succeeded,
    Unsupported,
)
from ..runners.job_control import RunResult, Stopped, StopRequest
from ..runners.machine_fault import MachineFault


def outcome_of(
    run_result: RunResult, stop: StopRequest | None, on_shutdown: OnShutdown
) -> Outcome | None:
    """Return the outcome of an attempt; None if the lease is lost, as no report would be accepted.

    A job that succeeded before it could be stopped has succeeded.
    """
    if stop is None:
        if isinstance(run_result, Stopped | MachineFault):
            raise AssertionError(f"a runner returned {run_result}, but no stop was requested")
        return run_result
    if isinstance(run_result, Succeeded):
        return None if stop.cause == "lost" else run_result
    match stop.cause:
        case "lost":
            return None
        case "fenced":
            # Available again unless another worker has claimed it; then this report is stale.
            return Interrupted()
        case "cancel":
            return Cancelled(_with_notes(stop.reason, run_result))
        case "timeout":
            return Failed(ErrorInfo("Timeout", _with_notes(stop.reason, run_result)))
        case "shutdown" if on_shutdown == "cancel":
            return Cancelled(_with_notes(stop.reason, run_result))
        case "shutdown":
            return Interrupted()
    assert_never(stop.cause)


def unknown_task(job: JobRecord, app: str) -> Unsupported:
    """Return the outcome of a job whose task this worker does not know, with the remedy."""
    return Unsupported(
        ErrorInfo(
            "UnknownTask",
            f"no task named {job.task!r} is registered in {app}; deploy the code that has it, or "
            "import its module there",
        )
    )


def _with_notes(reason: str, run_result: RunResult) -> str:
    match run_result:
        case Stopped(notes) if notes:
            return f"{reason} ({'; '.join(notes)})"
        case Failed(error) | Crashed(error) | Unsupported(error):
            return f"{reason} (it ended with {error})"
        case Stopped() | Succeeded() | Snoozed() | MachineFault():
            return reason
    assert_never(run_result)

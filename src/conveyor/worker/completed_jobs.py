"""How jobs end for a worker that their application has completed in a transaction of its own."""

from __future__ import annotations

from ..core.event_log import open_event_log
from ..core.lifecycle import Failed, Succeeded
from ..runners.capture import OutputBuffer
from ..runners.job_control import JobControl, RunResult
from .held_jobs import HeldJob, HeldJobs

log = open_event_log("completed_jobs")


async def end_completed(
    row: HeldJob, control: JobControl, run_result: RunResult, held: HeldJobs, output: OutputBuffer
) -> bool:
    """End a job whose code has ended; False if no transaction has completed it."""
    job = row.job
    if not await is_completed(row, control):
        return row.phase != "running"
    if row.phase == "running":
        if not isinstance(run_result, Succeeded):
            why = run_result.error if isinstance(run_result, Failed) else type(run_result).__name__
            log.warning("job.failed_after_completion id=%s task=%s error=%s", job.id, job.task, why)
        output.finish(job)
        held.complete(row)
    return True


async def is_completed(row: HeldJob, control: JobControl) -> bool:
    """Whether a transaction has completed a job whose lease is gone."""
    if not control.completed and control.completions is not None:
        control.completed = await control.completions.have(row.job)
    return control.completed

"""The scenario in which the disk is full: a limit stops the worker's files from growing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..core.job import State
from . import checks
from .checks import PROMPT_SECONDS, Check, Row, make_row, worker_row
from .harness import Harness
from .probe_jobs import RESULT, DiskFillResult

# How much the files may still grow, in bytes: some of the jobs fit.
ROOM = 600_000
# How long the disk stays full, in seconds.
FULL = 0.5


def run_disk(harness: Harness) -> list[Row]:
    """Fill the disk from a job, wait, free space, and count the jobs."""
    worker = harness.start_worker("first")
    events = harness.folder / "disk-filler"
    filler = harness.probes.enqueue_disk_filler(events)
    harness.observe(filler, "coroutine", events)
    harness.wait_until(lambda: harness.have_begun([filler.id]))
    harness.limit_disk(worker, room=ROOM)
    filled = harness.let_finish([filler.id])
    written = events.with_suffix(RESULT)
    harness.wait_until(written.exists, 10 * PROMPT_SECONDS)
    harness.observe_for(FULL)
    harness.lift_disk_limit(worker)
    result = (
        msgspec.json.decode(written.read_bytes(), type=DiskFillResult)
        if written.exists()
        else NOTHING
    )
    ids = [filler.id, *result.accepted]
    harness.wait_until(lambda: all(harness.is_final(job_id) for job_id in ids), 10 * PROMPT_SECONDS)
    states = [harness.get_record(job_id).state for job_id in ids]
    done = states.count(State.COMPLETED)
    error = _brief(result.error, harness.folder)
    is_clear = bool(result.accepted) and "jobs.db" in result.error
    seen = worker.observed()
    return [
        make_row(
            "enqueueing",
            Check(
                "refused with an error that names the file",
                f"refused after {len(result.accepted)} jobs: {error}",
                is_clear,
            ),
            facts=[f"error: {result.error}"],
        ),
        make_row(
            "what was accepted",
            Check(
                "none lost, all completed",
                f"{done} of {len(ids)} completed",
                done == len(ids) and bool(result.accepted),
            ),
            facts=[f"{state}: {states.count(state)}" for state in sorted(set(states))],
        ),
        worker_row(seen, checks.runs_on(seen, "it keeps running", "it kept running"), since=filled),
    ]


NOTHING = DiskFillResult((), "the job that fills the disk did not finish")


def _brief(error: str, folder: Path) -> str:
    error = error.replace(f"{folder}/", "")
    return error if len(error) <= 60 else error[:59] + "…"

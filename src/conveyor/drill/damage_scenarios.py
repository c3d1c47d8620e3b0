"""The scenario in which the rows of some jobs are damaged, as by a failing disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

from ..core.job import State
from . import checks
from .checks import PROMPT_SECONDS, Check, Row, job_row, worker_row
from .harness import Harness
from .observations import ObservedJob

# What is written into a job's row: options and arguments that are cut, text that is not UTF-8,
# progress without its numbers, and a time that is none.
DAMAGES = (
    "options = x'7b'",
    "args = x'7b22'",
    "task = CAST(x'61ff' AS TEXT)",
    "progress = x'7b7d'",
    "run_at = -9e999",
)
# In another process: opening a database twice in one process drops SQLite's locks on it.
SCRIPT = (
    "import apsw, sys\n"
    "db = apsw.Connection(sys.argv[1])\n"
    "db.set_busy_timeout(10_000)\n"
    "for job_id, values in zip(sys.argv[2::2], sys.argv[3::2]):\n"
    "    db.execute(f'UPDATE job SET {values} WHERE id = ?', [job_id])\n"
)


def run_damaged_row(harness: Harness) -> list[Row]:
    """Damage jobs that wait and a job that runs, and let a worker meet them among others."""
    damaged, others = harness.enqueue_probes(), harness.enqueue_probes()
    harness.let_finish([*damaged, *others])
    _damage(harness, damaged)
    worker, started = harness.start_worker("first"), harness.started_at
    [running] = harness.enqueue_probes(["coroutine"])
    harness.wait_until(lambda: harness.have_begun([running]))
    _damage(harness, [running])
    harness.let_finish([running])
    ids = [*damaged, *others, running]
    harness.wait_until(lambda: harness.have_ended(ids), 10 * PROMPT_SECONDS)
    harness.wait_until(lambda: worker.code is not None, 0.3)
    seen = worker.observed()
    return [
        *(
            job_row(each, _discarded_unrun(each), since=started)
            for each in harness.observed_jobs(damaged)
        ),
        *(
            job_row(each, checks.completed(each, started), since=started)
            for each in harness.observed_jobs([*others, running])
        ),
        worker_row(
            seen, checks.runs_on(seen, "it keeps running", "it kept running"), since=started
        ),
    ]


def _damage(harness: Harness, ids: Iterable[str]) -> None:
    pairs = [text for pair in zip(ids, DAMAGES, strict=False) for text in pair]
    command = [sys.executable, "-c", SCRIPT, str(harness.folder / "jobs.db"), *pairs]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - our own interpreter and script


def _discarded_unrun(job: ObservedJob) -> Check:
    record = job.record
    runs = len({event.lease for event in job.events})
    told = " and says why" if "damaged" in (record.error or "") else " without a reason"
    return Check(
        "discarded with the reason, never run",
        f"{record.state}{told}, ran {runs} times",
        record.state is State.DISCARDED and not runs and told == " and says why",
    )

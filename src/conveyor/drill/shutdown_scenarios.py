"""Scenarios in which a worker gets SIGTERM, and its jobs end in time or do not."""

from __future__ import annotations

import signal

from ..worker.shutdown import LEAVE
from . import checks
from .checks import EXIT_SECONDS, PROMPT_SECONDS, Row, job_row, worker_row
from .harness import GRACE, Harness
from .probe_jobs import KINDS

LONG_DRAIN, SHORT_DRAIN = 8.0, 1.0
# How long the jobs that end in time go on after the signal, in seconds.
MORE_WORK = 0.5


def run_stop(harness: Harness) -> list[Row]:
    """Send SIGTERM, and let the jobs end before the deadline."""
    worker = harness.start_worker("first", drain=LONG_DRAIN)
    jobs = harness.enqueue_probes()
    harness.wait_until(lambda: harness.have_begun(jobs))
    signalled = harness.send_signal(worker, signal.SIGTERM)
    harness.observe_for(MORE_WORK)
    may_finish_at = harness.let_finish(jobs)
    harness.wait_until(lambda: worker.code is not None, LONG_DRAIN + GRACE + LEAVE + EXIT_SECONDS)
    harness.wait_until(lambda: not worker.leftover_processes(), PROMPT_SECONDS)
    seen = worker.observed(worker.leftover_processes())
    return [
        *(
            job_row(each, checks.completed(each, signalled), checks.ran_once(each), since=signalled)
            for each in harness.observed_jobs(jobs)
        ),
        worker_row(
            seen,
            checks.exited_with(seen, 0),
            # It exits with its last job, long before its deadline.
            checks.exited_within(
                seen, signalled, may_finish_at - signalled + EXIT_SECONDS + harness.startup_seconds
            ),
            checks.no_process_left(seen),
            since=signalled,
        ),
    ]


def run_drain(harness: Harness) -> list[Row]:
    """Send SIGTERM while jobs run that never end."""
    worker = harness.start_worker("first", drain=SHORT_DRAIN)
    jobs = harness.enqueue_probes()
    harness.wait_until(lambda: harness.have_begun(jobs))
    harness.start_worker("second")
    signalled = harness.send_signal(worker, signal.SIGTERM)
    longest = checks.maximum_shutdown_time(SHORT_DRAIN, GRACE, harness.startup_seconds)
    harness.wait_until(lambda: worker.code is not None, longest + PROMPT_SECONDS)
    harness.wait_until(lambda: not worker.leftover_processes(), PROMPT_SECONDS)
    seen = worker.observed(worker.leftover_processes())
    harness.wait_until(lambda: harness.have_ended(jobs), 3 * PROMPT_SECONDS)
    rows: list[Row] = []
    for each in harness.observed_jobs(jobs):
        # A thread that ignores the request ends only with the process.
        within = (
            checks.maximum_shutdown_time(0.0, GRACE, harness.startup_seconds)
            if each.kind == "deaf thread"
            else PROMPT_SECONDS
        )
        asked = signalled + SHORT_DRAIN
        rows.append(
            job_row(
                each,
                checks.returned(each, asked, within),
                checks.ran_again(each, harness.startup_seconds),
                checks.attempt_not_counted(each),
                checks.code_had_ended(each),
                since=signalled,
            )
        )
    worker_checks = (
        checks.exited_with(seen, checks.RELEASED),
        checks.exited_within(seen, signalled, longest),
        checks.no_process_left(seen),
    )
    assert len(rows) == len(KINDS)
    return [*rows, worker_row(seen, *worker_checks, since=signalled)]

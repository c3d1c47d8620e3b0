"""The scenario in which a worker's machine cannot start jobs: it may open no more files."""

from __future__ import annotations

import signal

from . import checks
from .checks import PROMPT_SECONDS, Check, Row, job_row, make_row, worker_row
from .harness import Harness
from .probe_jobs import Kind

# The kinds whose start needs something of the machine.
KINDS: tuple[Kind, ...] = ("process", "command")
# How long the worker may pause, in seconds, before it finds that its machine is well again.
RECOVERY = 10.0


def run_sick_machine(harness: Harness) -> list[Row]:
    """Take the descriptors of a worker, let another run its jobs, and give them back."""
    sick = harness.start_worker("sick")
    sick.limit_open_files(to_open=True)
    began = harness.started_at
    jobs = harness.enqueue_probes(KINDS)
    harness.wait_until(lambda: harness.sickness_of(sick), 3 * PROMPT_SECONDS)
    told = harness.sickness_of(sick)
    healthy = harness.start_worker("healthy")
    harness.let_finish(jobs)
    harness.wait_until(lambda: harness.have_ended(jobs), 10 * PROMPT_SECONDS)
    observed = harness.observed_jobs(jobs)
    harness.send_signal(healthy, signal.SIGTERM)
    harness.wait_until(lambda: healthy.code is not None, 5 * PROMPT_SECONDS)
    sick.limit_open_files(to_open=False)
    new = harness.enqueue_probes(KINDS)
    harness.let_finish(new)
    harness.wait_until(lambda: harness.have_ended(new), RECOVERY + harness.startup_seconds)
    return [
        *(job_row(each, checks.completed(each, began), since=began) for each in observed),
        make_row(
            "the sick worker",
            Check(
                "says why it starts no jobs",
                "says why" if told else "says nothing",
                bool(told),
            ),
            facts=[f"{kind} jobs: {reason}" for kind, reason in told.items()],
        ),
        worker_row(
            sick.observed(),
            Check(
                "runs jobs once its machine is well",
                "runs jobs again" if harness.have_ended(new) else "runs no jobs",
                harness.have_ended(new) and sick.code is None,
            ),
            since=began,
        ),
    ]

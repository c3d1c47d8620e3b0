"""Scenarios in which a worker is lost: killed, frozen, or killed by a job."""

from __future__ import annotations

import signal

from ..core.job import State
from . import checks
from .checks import PROMPT_SECONDS, Check, Row, job_row, make_row, worker_row
from .harness import Harness
from .observations import ObservedJob

LEASE = 2.0
# How long after the lease expires another worker may take the job: they check every second.
RESCUE_DELAY = 2.0
# How long the sidecar of a dead worker may take to return its jobs, in seconds.
SIDECAR_SECONDS = 3.0
DEATHS = 3


def run_kill(harness: Harness) -> list[Row]:
    """Kill the worker with SIGKILL while a job of each kind runs."""
    worker = harness.start_worker("first")
    jobs = harness.enqueue_probes()
    harness.wait_until(lambda: harness.have_begun(jobs))
    harness.start_worker("second")
    killed = harness.send_signal(worker, signal.SIGKILL)
    harness.wait_until(lambda: harness.have_ended(jobs), 5 * PROMPT_SECONDS)
    harness.wait_until(lambda: not worker.leftover_processes(), SIDECAR_SECONDS)
    seen = worker.observed(worker.leftover_processes())
    return [
        *(_killed(each, killed, harness.startup_seconds) for each in harness.observed_jobs(jobs)),
        worker_row(seen, checks.no_process_left(seen), since=killed),
    ]


def _killed(each: ObservedJob, killed: float, startup_seconds: float) -> Row:
    own = [checks.processes_gone(each, killed)] if each.kind in ("process", "command") else []
    return job_row(
        each,
        *own,
        checks.returned(each, killed, PROMPT_SECONDS),
        checks.ran_again(each, startup_seconds),
        checks.single_result(each),
        checks.attempt_not_counted(each, crashes=1),
        checks.crash_recorded(each),
        checks.code_had_ended(each),
        since=killed,
    )


def run_freeze(harness: Harness) -> list[Row]:
    """Freeze the worker with SIGSTOP until its leases have expired, then resume it."""
    worker = harness.start_worker("first", lease=LEASE)
    jobs = harness.enqueue_probes()
    harness.wait_until(lambda: harness.have_begun(jobs))
    other = harness.start_worker("second", lease=LEASE)
    frozen = harness.send_signal(worker, signal.SIGSTOP)
    leases = {job_id: harness.lease_end(job_id) for job_id in jobs}
    harness.wait_until(lambda: harness.have_ended(jobs), LEASE + 4 * PROMPT_SECONDS)
    resumed = harness.send_signal(worker, signal.SIGCONT)
    harness.observe_for(PROMPT_SECONDS)
    # A thread that ignores the request ends by itself, too late.
    may_finish_at = harness.let_finish(jobs)
    harness.wait_until(
        lambda: all(1 in each.ended_at for each in harness.observed_jobs(jobs)), 3 * PROMPT_SECONDS
    )
    observed = harness.observed_jobs(jobs)
    harness.send_signal(other, signal.SIGTERM)
    harness.wait_until(lambda: other.code is not None, 3 * PROMPT_SECONDS)
    [new] = harness.enqueue_probes(["coroutine"])
    harness.let_finish([new])
    harness.wait_until(lambda: harness.have_ended([new]), 3 * PROMPT_SECONDS)
    ran_by = harness.get_record(new).worker
    completed = harness.get_record(new).state is State.COMPLETED
    seen = worker.observed()
    rows = [
        _frozen(each, frozen, may_finish_at if each.kind == "deaf thread" else resumed, until=until)
        for each, until in zip(observed, leases.values(), strict=True)
    ]
    happened = (
        f"its new job is {harness.get_record(new).state}" if not completed else "it runs new jobs"
    )
    takes_jobs = Check("it takes new jobs", happened, completed and ran_by == worker.id)
    return [*rows, worker_row(seen, takes_jobs, since=frozen)]


def _frozen(each: ObservedJob, frozen: float, resumed: float, *, until: float) -> Row:
    left = each.released(1)
    early = left is not None and left.at < until
    return job_row(
        each,
        checks.returned(each, frozen, LEASE + RESCUE_DELAY, "taken over"),
        Check(
            "not before its lease expires",
            f"{until - left.at:.2f} s before its lease expired" if left and early else "not early",
            not early,
        ),
        checks.code_had_ended(each),
        checks.late_run_stopped(each, resumed),
        checks.single_result(each),
        checks.attempt_not_counted(each, crashes=1),
        since=frozen,
    )


def run_poison(harness: Harness) -> list[Row]:
    """Run a job that kills its worker, among others."""
    bad = harness.probes.enqueue_poison()
    harness.observe(bad, "coroutine", harness.folder / "poison")
    others = harness.enqueue_probes()
    harness.let_finish(others)
    started, deaths = harness.started_at, 0
    for number in range(1, DEATHS + 1):
        deaths += _run_until_death(harness, bad.id, number)
    last = harness.start_worker("last")
    harness.wait_until(lambda: harness.have_ended([bad.id, *others]), 10 * PROMPT_SECONDS)
    harness.wait_until(lambda: last.code is not None, 0.3)
    [job] = harness.observed_jobs([bad.id])
    state, crashes = job.record.state, job.record.crashes
    seen = last.observed()
    return [
        make_row(
            "the poison",
            Check(
                "discarded after 3 crashes",
                f"{state} after {crashes} crashes",
                state is State.DISCARDED and crashes == deaths == DEATHS,
            ),
            checks.crash_recorded(job),
            facts=checks.timeline(job, started),
        ),
        *(
            job_row(each, checks.completed(each, started), since=started)
            for each in harness.observed_jobs(others)
        ),
        worker_row(seen, checks.runs_on(seen, "the next worker survives"), since=started),
    ]


def _run_until_death(harness: Harness, bad: str, number: int) -> bool:
    """Start a worker that takes the job; return whether that killed it."""
    worker = harness.start_worker(f"worker{number}")
    harness.wait_until(lambda: worker.code is not None, 5 * PROMPT_SECONDS)
    harness.wait_until(lambda: harness.get_record(bad).crashes >= number, 3 * PROMPT_SECONDS)
    return worker.code == -signal.SIGKILL


def run_exit(harness: Harness) -> list[Row]:
    """Run jobs that exit the process, among others."""
    worker = harness.start_worker("worker")
    bad = harness.probes.enqueue_exits()
    for place, job in bad.items():
        harness.observe(job, "coroutine", harness.folder / f"exit-{place}")
    others = harness.enqueue_probes()
    harness.let_finish(others)
    started = harness.started_at
    ids = [*(job.id for job in bad.values()), *others]
    harness.wait_until(lambda: harness.have_ended(ids), 10 * PROMPT_SECONDS)
    harness.wait_until(lambda: worker.code is not None, 0.3)
    exits = zip(bad, harness.observed_jobs([job.id for job in bad.values()]), strict=True)
    seen = worker.observed()
    return [
        *(_exited(place, job, started) for place, job in exits),
        *(
            job_row(each, checks.completed(each, started), since=started)
            for each in harness.observed_jobs(others)
        ),
        worker_row(seen, checks.runs_on(seen, "it goes on"), since=started),
    ]


def _exited(place: str, job: ObservedJob, since: float) -> Row:
    record = job.record
    failed = record.state is State.DISCARDED and (record.attempt, record.crashes) == (1, 0)
    happened = f"{record.state} after {record.attempt} attempt, {record.crashes} crashes"
    return make_row(
        f"exit in a {place}",
        Check("failed in its only attempt", "failed" if failed else happened, failed),
        facts=checks.timeline(job, since),
    )

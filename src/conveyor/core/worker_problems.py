"""Problems of workers, of jobs that do not stop, and of the scaler."""

from __future__ import annotations

from collections.abc import Iterator

from .job import JobRecord, State, WorkerInfo
from .problem import (
    LEAST_WAIT,
    MOST_ALIKE,
    MOST_NAMED,
    SCALER_GONE,
    Cause,
    Remedy,
    Subject,
    SystemFacts,
    SystemProblem,
)
from .serving_workers import describe_sickness, is_alive
from .shell_words import quote_word
from .spans import count, span

# How long after its grace period a job that was asked to stop may still run, in seconds.
STOP_PATIENCE = 30.0
# A scaler that has not run for longer than this many of its intervals is overdue.
OVERDUE_CYCLES = 3.0


def job_problems(snapshot: SystemFacts) -> Iterator[SystemProblem]:
    """Yield the jobs that were asked to stop and still run."""
    late = [each for each in snapshot.stopping if _is_late(each, snapshot.now)]
    for job in late[:MOST_ALIKE]:
        asked_at = job.cancel_requested_at or snapshot.now
        force = Remedy(
            "force_cancel", "Stop it now", job.id, f"conveyor cancel {quote_word(job.id)} --force"
        )
        see = Remedy("see_job", "See the job", job.id, f"conveyor show {quote_word(job.id)}")
        last = f"the last step was: {job.stopping[-1].text}" if job.stopping else ""
        yield SystemProblem(
            key=f"stopping-{job.id}",
            level="bad",
            subject=Subject("job", job.id),
            claim=f"was asked to stop {span(snapshot.now - asked_at)} ago, "
            f"and its code still runs in {job.worker}.",
            tag="does not stop",
            because=(Cause(last),) if last else (),
            actions=(see,) if job.cancel_forced else (force, see),
        )


def _is_late(job: JobRecord, now: float) -> bool:
    if job.state is not State.RUNNING or job.cancel_requested_at is None:
        return False
    grace = 0.0 if job.cancel_forced else job.options.grace
    return now - job.cancel_requested_at > grace + STOP_PATIENCE


def worker_problems(snapshot: SystemFacts) -> Iterator[SystemProblem]:
    """Yield the workers that are silent, or that cannot run some jobs."""
    silent = [each for each in snapshot.workers if not is_alive(each, snapshot.now)]
    for worker in silent[:MOST_ALIKE]:
        yield _silent(worker, snapshot.now)
    alive = [each for each in snapshot.workers if is_alive(each, snapshot.now)]
    for worker in [each for each in alive if each.sick][:MOST_ALIKE]:
        yield SystemProblem(
            key=f"sick-{worker.id}",
            level="warn",
            subject=Subject("worker", worker.id),
            claim=f"cannot start jobs on its machine: {describe_sickness(worker.sick)}.",
            tag="sick machine",
            actions=(_see_worker(worker),),
        )
    for worker in [each for each in alive if each.unsupported][:MOST_ALIKE]:
        yield SystemProblem(
            key=f"unsupported-{worker.id}",
            level="warn",
            subject=Subject("worker", worker.id),
            claim=f"returned {count(sum(worker.unsupported.values()), 'job')}, because its code "
            "lacks their task or does not take their arguments.",
            tag="old code",
            because=tuple(
                Cause(f"is the task of {count(jobs, 'job')}", Subject("task", task))
                for task, jobs in [*worker.unsupported.items()][:MOST_NAMED]
            ),
            actions=(_see_worker(worker),),
        )


def _silent(worker: WorkerInfo, now: float) -> SystemProblem:
    jobs = ""
    if worker.running:
        its, their = (
            ("job returns", "its queue") if worker.running == 1 else ("jobs return", "their queues")
        )
        lease = "its lease expires" if worker.running == 1 else "their leases expire"
        jobs = f"; its {worker.running} {its} to {their} when {lease}"
    return SystemProblem(
        key=f"silent-{worker.id}",
        level="warn",
        subject=Subject("worker", worker.id),
        claim=f"has been silent for {span(now - worker.beat_at)}{jobs}.",
        tag="silent",
        actions=(
            _see_worker(worker),
            Remedy(
                "remove_worker",
                "Remove",
                worker.id,
                f"conveyor workers remove {quote_word(worker.id)}",
            ),
        ),
    )


def _see_worker(worker: WorkerInfo) -> Remedy:
    return Remedy("see_worker", "See the worker", worker.id, "conveyor workers")


def scaler_problems(snapshot: SystemFacts) -> Iterator[SystemProblem]:
    """Yield what keeps the scaler from starting machines."""
    scaler, now = snapshot.scaler, snapshot.now
    if scaler is None or now - scaler.at > SCALER_GONE:
        return
    see = Remedy("see_scaler", "See the scaler", "", "conveyor scale status")
    subject = Subject("scaler", "scaler")
    if now - scaler.at > max(LEAST_WAIT, OVERDUE_CYCLES * scaler.every):
        yield SystemProblem(
            key="scaler-overdue",
            level="warn",
            subject=subject,
            claim=f"has not run for {span(now - scaler.at)}; it runs every {span(scaler.every)}.",
            tag="overdue",
            actions=(see,),
        )
        return  # what it said then may not be so any more
    if scaler.held:
        yield SystemProblem(
            key="scaler-held",
            level="warn",
            subject=subject,
            claim="cannot start all machines that are needed.",
            tag="held",
            because=tuple(Cause(each) for each in scaler.held[:MOST_NAMED]),
            actions=(see,),
        )
    for name, why in [*scaler.blind.items()][:MOST_ALIKE]:
        yield SystemProblem(
            key=f"blind-{name}",
            level="warn",
            subject=Subject("provider", name),
            claim=f"cannot be reached by the scaler: {why}.",
            tag="unreachable",
            actions=(see,),
        )

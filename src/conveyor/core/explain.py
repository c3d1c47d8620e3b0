"""Explains the state of a job in one sentence, as a pure function of the store's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .bounds import format_moment
from .job import SUPPORT_TIMEOUT, JobRecord, QueueInfo, State, WorkerInfo
from .names import weighted_queue
from .serving_workers import (
    Obstacle,
    able_workers,
    count_slots,
    describe_sickness,
    find_obstacle,
    serving,
)
from .shell_words import quote_word


def explain(
    job: JobRecord, *, queue: QueueInfo, ahead: int, workers: Sequence[WorkerInfo], now: float
) -> str:
    """Return what a job waits for, or how it ended."""
    if job.damage and not job.is_final:
        return f"Its row is damaged, and a worker that meets it discards it: {job.damage}."
    match job.state:
        case State.SCHEDULED:
            return f"It is due at {format_moment(job.run_at)}, in {_span(job.run_at - now)}."
        case State.RETRYABLE if job.unsupported_since is not None:
            return _unsupported(job, job.unsupported_since, workers, now)
        case State.RETRYABLE:
            return (
                f"Attempt {job.attempt} failed ({job.error}); the next one starts at "
                f"{format_moment(job.run_at)}, in {_span(job.run_at - now)}."
            )
        case State.AVAILABLE:
            return _available(job, queue, ahead, workers, now)
        case State.RUNNING if job.started_at is None:
            return f"It was claimed by {job.worker}, which has not confirmed the claim yet."
        case State.RUNNING if job.cancel_requested_at is not None:
            requested = _span(now - job.cancel_requested_at)
            last = f": {job.stopping[-1].text}" if job.stopping else ""
            where = f"in {job.worker}{last}"
            return f"A stop was requested {requested} ago, but its code still runs {where}."
        case State.RUNNING:
            since = _span(now - (job.started_at or now))
            return f"It has been running in {job.worker} for {since}{_own_wait(job, workers, now)}."
        case State.COMPLETED:
            ended = format_moment(job.final_at or now)
            return f"It completed at {ended}, in attempt {job.attempt}."
        case State.CANCELLED:
            return f"It was cancelled at {format_moment(job.final_at or now)}: {job.error}."
        case State.DISCARDED:
            return (
                f"It was discarded at {format_moment(job.final_at or now)} after "
                f"{_count(job.attempt, 'attempt')}: {job.error}. "
                f"`conveyor retry {job.id}` runs it again."
            )


def _unsupported(job: JobRecord, since: float, workers: Sequence[WorkerInfo], now: float) -> str:
    unable = [each.id for each in workers if job.task in each.unsupported]
    told = f" Without it: {', '.join(unable)}." if unable else ""
    return (
        f"Since {format_moment(since)} no worker that claimed it had the code to run it "
        f"({job.error}). It is offered again at {format_moment(job.run_at)}, in "
        f"{_span(job.run_at - now)}, and discarded after {format_moment(since + SUPPORT_TIMEOUT)}: "
        f"deploy workers of queue {job.queue!r} with this version of task {job.task!r}.{told}"
    )


def describe_unsupported(unsupported: Mapping[str, int]) -> str:
    """Return which tasks a worker's code does not support, in one line."""
    counts = (f"{task} ({_count(jobs, 'job')})" for task, jobs in unsupported.items())
    return ", ".join(counts)


def explain_offer(queue: QueueInfo) -> str:
    """Return what a producer with an offer waits for."""
    if queue.capacity == 0:
        return (
            f"It waits until a worker of queue {queue.name!r} takes it, because the queue has "
            "capacity 0."
        )
    return (
        f"It waits for room: queue {queue.name!r} has {queue.depth} of {queue.capacity} waiting "
        f"jobs; producers waiting to add more: {queue.offers}."
    )


def _available(
    job: JobRecord, queue: QueueInfo, ahead: int, workers: Sequence[WorkerInfo], now: float
) -> str:
    if queue.paused:
        resume = f"conveyor queues resume {quote_word(job.queue)}"
        return f"Queue {job.queue!r} is paused; `{resume}` resumes it."
    of_queue = serving(job.queue, workers, now)
    obstacle = find_obstacle(of_queue, job.options.requires)
    if obstacle is not None:
        return _explain_obstacle(job, obstacle)
    able = able_workers(of_queue, job.options.requires)
    busy, slots = count_slots(able)
    waiting = _waits_for(job, able) if busy >= slots else ""
    if ahead:
        return (
            f"It waits behind {_count(ahead, 'job')} in queue {job.queue!r} "
            f"({busy} of {slots} slots busy).{waiting}"
        )
    if busy >= slots:
        return f"All slots are busy: {busy} of {slots}, in {_count(len(able), 'worker')}.{waiting}"
    return "It is next: a worker should claim it within seconds."


def _explain_obstacle(job: JobRecord, obstacle: Obstacle) -> str:
    match obstacle.kind:
        case "none":
            start = f"conveyor worker app:belt --queue {quote_word(weighted_queue(job.queue))}"
            return f"No worker serves queue {job.queue!r}: start one with `{start}`."
        case "quiet":
            quiet = " ".join(each.id for each in obstacle.workers)
            resume = f"conveyor workers resume {quiet}"
            return f"Every worker of queue {job.queue!r} is quiet: `{resume}`."
        case "commands":
            return (
                f"No worker of queue {job.queue!r} is allowed to run commands: start one without "
                f"--no-commands (an agent with --allow-commands), or use another queue."
            )
        case "only":
            return (
                f"Every worker of queue {job.queue!r} runs only jobs that require its !only "
                "labels, and this job requires none."
            )
        case "labels":
            return (
                f"No worker of queue {job.queue!r} has all labels it requires: "
                f"{', '.join(job.options.requires)}."
            )
        case "sick":
            told = "; ".join(
                f"{each.id}: {describe_sickness(each.sick)}" for each in obstacle.workers
            )
            return f"No worker that could run it can start such jobs on its machine now: {told}."


def _own_wait(job: JobRecord, workers: Sequence[WorkerInfo], now: float) -> str:
    """Return what a running job waits for in a call of this package, and whether a slot is free."""
    what = next((each.waits[job.id] for each in workers if job.id in each.waits), "")
    if not what:
        return ""
    busy, slots = count_slots(serving(job.queue, workers, now))
    if busy < slots:
        return f"; it waits for {what}"
    return f"; it waits for {what}, and no slot is free: {busy} of {slots} are busy"


def _waits_for(job: JobRecord, workers: Sequence[WorkerInfo]) -> str:
    """Return which running job waits for this one, or for room in its queue."""
    room = f"room in queue {job.queue!r} ("
    for worker in workers:
        for waiting, what in worker.waits.items():
            if what == f"job {job.id}":
                return f" Job {waiting}, which has one of these slots, waits for its result."
            if what.startswith(room):
                return f" Job {waiting}, which has one of these slots, waits for {what}."
    return ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _span(seconds: float) -> str:
    return f"{max(0.0, seconds):.1f} s"

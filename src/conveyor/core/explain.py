"""Why a job stands where it stands, in one sentence: a pure function of what is known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from .job import COMMANDS, JobRecord, QueueInfo, State, WorkerInfo
from .labels import ONLY, serves

# A worker beats every 5 s; one that was silent for longer than this is not counted on.
SILENT = 20.0


def explain(
    job: JobRecord, *, queue: QueueInfo, ahead: int, workers: Sequence[WorkerInfo], now: float
) -> str:
    """Say what a job waits for, or how it ended."""
    match job.state:
        case State.SCHEDULED:
            return f"It is not due before {_moment(job.run_at)}, in {_span(job.run_at - now)}."
        case State.RETRYABLE:
            return (
                f"Attempt {job.attempt} failed ({job.error}); it is tried again at "
                f"{_moment(job.run_at)}, in {_span(job.run_at - now)}."
            )
        case State.AVAILABLE:
            return _available(job, queue, ahead, workers, now)
        case State.RUNNING if job.started_at is None:
            return f"It is on its way to {job.worker}, which has not confirmed it yet."
        case State.RUNNING if job.cancel_requested_at is not None:
            asked = _span(now - job.cancel_requested_at)
            last = f": {job.stopping[-1].text}" if job.stopping else ""
            where = f"in {job.worker}{last}"
            return f"It was asked to stop {asked} ago, and its code still runs {where}."
        case State.RUNNING:
            return f"It runs in {job.worker}, since {_span(now - (job.started_at or now))}."
        case State.COMPLETED:
            return f"It completed at {_moment(job.final_at or now)}, at attempt {job.attempt}."
        case State.CANCELLED:
            return f"It was cancelled at {_moment(job.final_at or now)}: {job.error}."
        case State.DISCARDED:
            return (
                f"It was discarded at {_moment(job.final_at or now)} after {job.attempt} "
                f"attempt(s): {job.error}. `conveyor retry {job.id}` runs it again."
            )


def explain_offer(queue: QueueInfo) -> str:
    """Say why a producer still waits for room."""
    if queue.capacity == 0:
        return (
            f"It waits for a worker of queue {queue.name!r} to take it from its producer: the "
            "queue has capacity 0."
        )
    return (
        f"It waits for room: queue {queue.name!r} holds {queue.depth} of {queue.capacity} waiting "
        f"jobs, and {queue.offers} producer(s) stand in line."
    )


def _available(
    job: JobRecord, queue: QueueInfo, ahead: int, workers: Sequence[WorkerInfo], now: float
) -> str:
    if queue.paused:
        return f"Queue {job.queue!r} is paused; `conveyor queues resume {job.queue}` resumes it."
    alive = [each for each in workers if now - each.beat_at < SILENT and not each.draining]
    serving = [each for each in alive if job.queue in each.queues]
    if not serving:
        return (
            f"No worker serves queue {job.queue!r}: "
            f"start one with `conveyor worker app:belt --queue {job.queue}`."
        )
    if all(each.quiet for each in serving):
        quiet = " ".join(each.id for each in serving)
        return f"Every worker of queue {job.queue!r} is quiet: `conveyor workers resume {quiet}`."
    wanted = frozenset(job.options.requires)
    able = [each for each in serving if serves(frozenset(each.labels), wanted)]
    if not able and COMMANDS in wanted and not any(map(_may_command, serving)):
        return (
            f"No worker of queue {job.queue!r} is allowed to run commands: start one without "
            f"--no-commands (an agent with --allow-commands), or enqueue it for another queue."
        )
    if not able:
        return (
            f"No worker of queue {job.queue!r} has the label(s) it requires: "
            f"{', '.join(job.options.requires) or 'none, and they take only labelled jobs'}."
        )
    slots, busy = sum(each.slots for each in able), sum(each.running for each in able)
    if ahead:
        return (
            f"{ahead} job(s) are ahead of it in queue {job.queue!r} ({busy} of {slots} slots busy)."
        )
    if busy >= slots:
        return f"No slot is free: {len(able)} worker(s) run {busy} jobs in {slots} slots."
    return "It is next; a worker takes it in a moment."


def _may_command(worker: WorkerInfo) -> bool:
    return any(label.removesuffix(ONLY) == COMMANDS for label in worker.labels)


def _moment(at: float) -> str:
    return dt.datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def _span(seconds: float) -> str:
    return f"{max(0.0, seconds):.1f} s"

"""Problems of queues: paused, full, falling behind, or with jobs that no worker can run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from .job import State, WorkerInfo
from .names import weighted_queue
from .problem import (
    LEAST_WAIT,
    MOST_NAMED,
    SCALER_GONE,
    Cause,
    LaneFacts,
    QueueFacts,
    Remedy,
    Subject,
    SystemFacts,
    SystemProblem,
)
from .serving_workers import (
    Obstacle,
    able_workers,
    count_slots,
    describe_sickness,
    find_obstacle,
    is_alive,
    serving,
)
from .shell_words import quote_word
from .spans import count, rate, span

# A queue is behind once its oldest job has waited this many times as long as is usual, and at least
# LEAST_WAIT. It is no longer behind below half of that, so that it does not flap.
TIMES_USUAL = 10.0
# From which part of failed attempts on they are named as a cause.
MANY_FAILED = 0.2


def queue_problems(snapshot: SystemFacts, known: Collection[str]) -> Iterator[SystemProblem]:
    """Yield the problems of queues. `known` are the keys of those that were found before."""
    for queue in snapshot.queues:
        if queue.info.paused:
            if queue.info.depth:
                yield _paused(queue)
            continue
        of_queue = serving(queue.info.name, snapshot.workers, snapshot.now)
        yield from _unserved(queue, of_queue, snapshot, known)
        behind = _behind(queue, of_queue, snapshot, known)
        if behind is not None:
            yield behind
        full = _full(queue)
        if full is not None:
            yield full


def _paused(queue: QueueFacts) -> SystemProblem:
    name = queue.info.name
    return SystemProblem(
        key=f"paused-{name}",
        level="warn",
        subject=Subject("queue", name),
        claim=f"is paused; {_wait(queue.info.depth)}.",
        tag="paused",
        actions=(
            Remedy("resume_queue", "Resume", name, f"conveyor queues resume {quote_word(name)}"),
        ),
    )


def _full(queue: QueueFacts) -> SystemProblem | None:
    name, capacity = queue.info.name, queue.info.capacity
    # At capacity 0 each producer waits for a worker, which is what it is for.
    if not capacity or not queue.info.offers or queue.info.depth < capacity:
        return None
    producers = count(queue.info.offers, "producer")
    return SystemProblem(
        key=f"full-{name}",
        level="warn",
        subject=Subject("queue", name),
        claim=f"is full ({queue.info.depth:,} of {capacity:,}); "
        f"{producers} {'waits' if queue.info.offers == 1 else 'wait'} for room.",
        tag="full",
        actions=(Remedy("see_queue", "See the queue", name),),
    )


def _unserved(
    queue: QueueFacts,
    of_queue: Sequence[WorkerInfo],
    snapshot: SystemFacts,
    known: Collection[str],
) -> Iterator[SystemProblem]:
    for lane in queue.lanes:
        obstacle = find_obstacle(of_queue, lane.requires)
        if not lane.waiting or obstacle is None:
            continue
        key = "-".join(("unserved", queue.info.name, *lane.requires))
        waited = _waited(lane.oldest_at, snapshot.now)
        # At capacity 0 the jobs are still with their producers, and how long is not known.
        if lane.oldest_at is None or waited > patience(queue.usual_wait, known=key in known):
            yield _unserved_problem(key, queue.info.name, lane, obstacle, snapshot)


def _unserved_problem(
    key: str, name: str, lane: LaneFacts, obstacle: Obstacle, snapshot: SystemFacts
) -> SystemProblem:
    since = ""
    if lane.oldest_at is not None:
        since = f"; the oldest has waited {span(_waited(lane.oldest_at, snapshot.now))}"
    return SystemProblem(
        key=key,
        level="bad",
        subject=Subject("queue", name),
        claim=f"has {count(lane.waiting, 'job')} that no worker can run{since}.",
        tag="no worker",
        because=(*_why_unserved(lane, obstacle), *_scaler_holds(snapshot)),
        actions=_remedies(name, obstacle),
    )


def _why_unserved(lane: LaneFacts, obstacle: Obstacle) -> tuple[Cause, ...]:
    match obstacle.kind:
        case "none":
            return (Cause("no worker serves the queue"),)
        case "quiet":
            return tuple(
                Cause("is quiet, so it claims nothing", Subject("worker", each.id))
                for each in obstacle.workers[:MOST_NAMED]
            )
        case "commands":
            return (Cause("no worker of the queue may run commands"),)
        case "only":
            return (
                Cause("all workers of the queue run only jobs that require their !only labels"),
            )
        case "labels" if obstacle.missing:
            return tuple(
                Cause(
                    "is a label that they require, and no worker of the queue has it",
                    Subject("label", each),
                )
                for each in obstacle.missing[:MOST_NAMED]
            )
        case "labels":
            labels = ", ".join(lane.requires)
            return (Cause(f"no worker of the queue may run jobs that require {labels}"),)
        case "sick":
            return tuple(
                Cause(f"cannot start {describe_sickness(each.sick)}", Subject("worker", each.id))
                for each in obstacle.workers[:MOST_NAMED]
            )


def _remedies(name: str, obstacle: Obstacle) -> tuple[Remedy, ...]:
    see = Remedy("see_jobs", "See its jobs", name, _list_waiting(name))
    match obstacle.kind:
        case "none":
            start = f"conveyor worker app:belt --queue {quote_word(weighted_queue(name))}"
            return Remedy("run", "Start a worker", name, start), see
        case "quiet":
            first = obstacle.workers[0].id
            resume = f"conveyor workers resume {quote_word(first)}"
            return Remedy("resume_worker", "Resume the worker", first, resume), see
        case _:
            return Remedy("see_workers", "See the workers", name, "conveyor workers"), see


def _behind(
    queue: QueueFacts,
    of_queue: Sequence[WorkerInfo],
    snapshot: SystemFacts,
    known: Collection[str],
) -> SystemProblem | None:
    name, key = queue.info.name, f"behind-{queue.info.name}"
    # What no worker can run is a problem of its own.
    lanes = [each for each in queue.lanes if find_obstacle(of_queue, each.requires) is None]
    times = [each.oldest_at for each in lanes if each.oldest_at is not None]
    waited = _waited(min(times, default=None), snapshot.now)
    if waited <= patience(queue.usual_wait, known=key in known):
        return None
    grows = queue.enqueued_rate > queue.ended_rate
    able = {
        worker.id: worker
        for lane in lanes
        if lane.waiting
        for worker in able_workers(of_queue, lane.requires)
    }
    busy, slots = count_slots(list(able.values()))
    if not grows and busy < slots and queue.started_rate:
        return None
    because: list[Cause] = []
    if busy >= slots:
        workers = count(len(able), "worker")
        because.append(Cause(f"no slot is free: {busy} of {slots} are busy, in {workers}"))
    if queue.failed_share is not None and queue.failed_share >= MANY_FAILED:
        because.append(Cause(f"{queue.failed_share:.0%} of its attempts fail"))
    if queue.info.counts.get(State.RETRYABLE, 0) > queue.info.counts.get(State.AVAILABLE, 0):
        because.append(Cause(f"{count(queue.info.counts[State.RETRYABLE], 'job')} will be retried"))
    return SystemProblem(
        key=key,
        level="bad",
        subject=Subject("queue", name),
        claim=_behind_claim(queue, waited, grows=grows),
        tag="falling behind" if grows else "slow",
        because=(*because, *_scaler_holds(snapshot)),
        actions=(
            Remedy("see_jobs", "See its jobs", name, _list_waiting(name)),
            Remedy("pause_queue", "Pause", name, f"conveyor queues pause {quote_word(name)}"),
        ),
    )


def _behind_claim(queue: QueueFacts, waited: float, *, grows: bool) -> str:
    usual = "" if queue.usual_wait is None else f", and {span(queue.usual_wait)} is usual"
    rates = f"{rate(queue.enqueued_rate)} jobs a second arrive and {rate(queue.ended_rate)} end"
    does = "is falling behind" if grows else "keeps jobs waiting"
    return f"{does}: its oldest job has waited {span(waited)}{usual}; {rates}."


def _list_waiting(name: str) -> str:
    return f"conveyor ps --queue {quote_word(name)} --state available"


def patience(usual: float | None, *, known: bool = False) -> float:
    """Return how long the oldest job of a queue may wait, in seconds, before the queue is behind.

    `known`: the queue is behind already.
    """
    longest = max(LEAST_WAIT, TIMES_USUAL * (usual or 0.0))
    return longest / 2 if known else longest


def unwatched_jobs(snapshot: SystemFacts) -> Iterator[SystemProblem]:
    """Yield one problem if jobs run and no worker is alive."""
    if any(is_alive(each, snapshot.now) for each in snapshot.workers):
        return
    running = {q.info.name: q.info.counts.get(State.RUNNING, 0) for q in snapshot.queues}
    total = sum(running.values())
    if total:
        most = max(running, key=lambda name: running[name])
        yield SystemProblem(
            key="unwatched",
            level="bad",
            subject=Subject("queue", most),
            claim=f"is one of the queues with {count(total, 'running job')} but no live worker."
            if running[most] < total
            else f"has {count(total, 'running job')} but no live worker.",
            tag="no worker",
            because=(Cause("only a worker returns jobs of dead workers to their queues"),),
            actions=(Remedy("run", "Start a worker", most, "conveyor worker app:belt"),),
        )


def _scaler_holds(snapshot: SystemFacts) -> tuple[Cause, ...]:
    """Return that the scaler may not start more machines, as a cause of jobs that wait."""
    scaler = snapshot.scaler
    overdue = scaler is None or snapshot.now - scaler.at > SCALER_GONE
    if scaler is None or overdue or not scaler.held:
        return ()
    return (Cause(f"may not start more machines: {scaler.held[0]}", Subject("scaler", "scaler")),)


def _waited(since: float | None, now: float) -> float:
    return 0.0 if since is None else max(0.0, now - since)


def _wait(jobs: int) -> str:
    return f"{count(jobs, 'job')} {'waits' if jobs == 1 else 'wait'}"

"""A store's answers, computed again from the plain list of its jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from conveyor.core.history import COUNTERS, QueueHistory
from conveyor.core.job import FINAL, JobRecord, QueueInfo, State
from conveyor.store.messages import Load
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


def check_load(
    load: Sequence[Load], found: Sequence[JobRecord], queues: Sequence[QueueInfo]
) -> None:
    """Hold what is said to wait and run against the jobs; offers at a rendezvous wait too."""
    handing_out = {queue.name: not queue.paused for queue in queues}
    rendezvous = {queue.name for queue in queues if queue.capacity == 0}
    seen = {(each.queue, each.requires) for each in load}
    for job in found:
        waits = job.state is State.AVAILABLE and handing_out[job.queue]
        if waits or job.state is State.RUNNING:
            assert (job.queue, job.options.requires) in seen
    for each in load:
        mine = [
            job
            for job in found
            if job.queue == each.queue and job.options.requires == each.requires
        ]
        waiting = [
            job.run_at for job in mine if job.state is State.AVAILABLE and handing_out[job.queue]
        ]
        assert each.running == sum(job.state is State.RUNNING for job in mine)
        assert each.oldest_at == min(waiting, default=None)
        assert each.waiting == len(waiting) or (
            each.queue in rendezvous and each.waiting > len(waiting)
        )


def check_counts(found: Sequence[JobRecord], counts: Sequence[QueueInfo]) -> None:
    """Hold the counts of queues against the jobs."""
    for queue in counts:
        for state in State:
            true = sum(job.queue == queue.name and job.state is state for job in found)
            assert queue.counts.get(state, 0) == true, (queue.name, state)


def past_of(queue: QueueInfo) -> Callable[[Store], Any]:
    """Return the call that reads all of the history of a queue."""
    began, step = FakeClock().now(), 86_400.0
    return lambda store: store.queue_history(queue.name, since=began, step=step)


def check_past(past: QueueHistory, queue: QueueInfo) -> None:
    """What entered the queue is there, or it has ended."""
    total = {name: sum(getattr(each, name) for each in past.points) for name in COUNTERS}
    there = sum(number for state, number in queue.counts.items() if state not in FINAL)
    assert total["enqueued"] - sum(total[state] for state in FINAL) == there, total
    running = queue.counts.get(State.RUNNING, 0)
    sure = running + sum(total[name] for name in ("completed", "retried", "returned"))
    assert sure <= total["started"] <= sure + total["discarded"] + total["cancelled"], total

"""The one way in which every end of a job passes: it enqueues the job's callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ...core.callbacks import (
    args_at_end,
    callback_id,
    first_call,
    is_called,
    not_given,
    number_of_next_end,
)
from ...core.history import ENQUEUED, add, count_move
from ...core.job import Callback, ErrorInfo, JobRecord, NewJob, State, TaskDefaults
from ..hint_rules import state_hint
from .data import MemoryData


def make_queues(memory: MemoryData, callers: Iterable[NewJob | TaskDefaults]) -> None:
    """Make the queues of the callbacks of jobs, also of those that wait for room, and of tasks."""
    for caller in callers:
        for each in caller.callbacks:
            memory.queue(each.queue)


def add_callbacks(memory: MemoryData, jobs: Iterable[NewJob]) -> None:
    """Store the callbacks of jobs that were added."""
    for new in jobs:
        for each in new.callbacks:
            _add(memory, each, new.id, new.task, new.queue)


def add_missing(memory: MemoryData, job: JobRecord, declared: Sequence[Callback]) -> None:
    """Store the callbacks that the task of a job has declared since the job was enqueued."""
    for each in not_given(declared, set(memory.callbacks.get(job.id, ()))):
        _add(memory, each, job.id, job.task, job.queue)


def replace_callbacks(memory: MemoryData, job: JobRecord, callbacks: Sequence[Callback]) -> None:
    """Give a waiting job other callbacks. If it ended before, they are those of its next end."""
    before = memory.callbacks.pop(job.id, {})
    number = number_of_next_end((call.number for _, call in before.values()), job.lease)
    for each in callbacks:
        _add(memory, each, job.id, job.task, job.queue, number)


def _add(
    memory: MemoryData, callback: Callback, job_id: str, task: str, queue: str, number: int = 1
) -> None:
    memory.queue(callback.queue)
    call = first_call(callback, job_id, task, queue, number)
    memory.callbacks.setdefault(job_id, {})[callback.on] = callback, call


def ended(memory: MemoryData, job: JobRecord, error: ErrorInfo | None) -> None:
    """Enqueue the callbacks of a job that has ended just now, above any capacity."""
    if not memory.callbacks:  # hot path
        return
    for on, (callback, call) in sorted(memory.callbacks.get(job.id, {}).items()):
        if is_called(on, job.state) and call.id not in memory.index.jobs:
            new = NewJob(
                id=call.id,
                task=callback.task,
                queue=callback.queue,
                args=args_at_end(call.args, job.state, error),
                priority=callback.priority,
                options=callback.options,
            )
            memory.hint(*state_hint(memory.index.add(new, memory.now)))
            add(memory.happened(callback.queue), ENQUEUED, 1)


def end_unrun(memory: MemoryData, job: JobRecord, state: State, error: ErrorInfo) -> JobRecord:
    """Make a waiting job final without a run."""
    if state is State.DISCARDED:
        memory.discards.append((job, error))
    count_move(memory.happened(job.queue), job, state, memory.now)
    final = memory.index.end_unrun(job, state, error, memory.now)
    memory.hint("final", job.id)
    ended(memory, final, error)
    return final


def renumber_callbacks(memory: MemoryData, job: JobRecord) -> None:
    """Prepare the callbacks of a final job for its next end, because it runs once more."""
    for on, (callback, call) in memory.callbacks.get(job.id, {}).items():
        number = call.number + 1
        following = msgspec.structs.replace(call, number=number, id=callback_id(job.id, on, number))
        memory.callbacks[job.id][on] = callback, following

"""The one way in which every end of a job passes: it enqueues the job's callbacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ....core.callbacks import (
    args_at_end,
    callback_id,
    first_call,
    is_called,
    not_given,
    number_of_next_end,
)
from ....core.history import ENQUEUED, add
from ....core.job import Callback, ErrorInfo, JobRecord, NewJob, State
from ..rows import Row, checksum, encode_options, whole
from ..transaction import Tx

# The number, the outcome and the error of a job that has ended.
End = tuple[int, State, ErrorInfo | None]


async def make_queues(tx: Tx, queues: Iterable[str]) -> None:
    """Make queues that were never used, in one order for everybody.

    A new row is held until the commit, and whoever makes the same one waits for that. So a row is
    made as soon as it is known that it will be needed: of a job that waits for room, and of what a
    task declares, too. A worker that holds jobs then makes none, as it must wait for nobody.
    """
    for queue in sorted(set(queues)):
        await tx.used_queue(queue)


async def make_lanes(tx: Tx, used: Iterable[NewJob | Callback]) -> None:
    """Make the lanes of jobs or callbacks likewise, after the queues, and the lock of a queue."""
    if not tx.excludes_writers:
        for queue, requires in sorted({(each.queue, each.options.requires) for each in used}):
            await tx.lane(queue, requires)


def called_by(jobs: Iterable[NewJob]) -> list[Callback]:
    """Return the callbacks of jobs."""
    return [each for new in jobs if new.callbacks for each in new.callbacks]


async def add_callbacks(tx: Tx, jobs: Iterable[NewJob]) -> None:
    """Store the callbacks of jobs that were added in this transaction."""
    rows = [
        await _row(tx, each, new.id, new.task, new.queue) for new in jobs for each in new.callbacks
    ]
    if rows:
        await tx.many("add_callback", rows)


async def add_missing(tx: Tx, job: JobRecord, declared: Sequence[Callback]) -> None:
    """Store the callbacks that the task of a job has declared since the job was enqueued."""
    if declared:
        own = {row[0] for row in await tx.rows("callbacks", (job.seq,))}
        missing = not_given(declared, own)
        rows = [await _row(tx, each, job.id, job.task, job.queue) for each in missing]
        await tx.many("add_callback", rows)


async def replace_callbacks(tx: Tx, job: JobRecord, callbacks: Sequence[Callback]) -> None:
    """Give a waiting job other callbacks. If it ended before, they are those of its next end."""
    known = await tx.rows("callbacks", (job.seq,))
    if known:
        await tx.rows("delete_callbacks", (job.seq,))
    number = number_of_next_end((whole(row[1]) for row in known), job.lease)
    rows = [await _row(tx, each, job.id, job.task, job.queue, number) for each in callbacks]
    if rows:
        await tx.many("add_callback", rows)


async def _row(
    tx: Tx, callback: Callback, job_id: str, task: str, queue: str, number: int = 1
) -> Row:
    first = first_call(callback, job_id, task, queue, number)
    options = encode_options(callback.options)
    await tx.used_queue(callback.queue)
    return (
        callback.on,
        first.number,
        first.id,
        await tx.lane(callback.queue, callback.options.requires),
        callback.task,
        callback.priority,
        first.args,
        options,
        checksum(first.id, callback.task, first.args, options),
        job_id,
    )


async def ended(tx: Tx, ends: Sequence[End]) -> None:
    """Enqueue the callbacks of jobs that have ended in this transaction, above any capacity.

    PostgreSQL has done that itself for those that succeeded; they are not enqueued again.
    """
    if not ends or not await tx.rows("any_callback"):
        return
    calls = [
        call
        for seq, state, error in ends
        for row in await tx.rows("callbacks", (seq,))
        if is_called(row[0], state)
        for call in [_at_end(row, state, error, tx.now)]
    ]
    if not calls:
        return
    lanes = Counter(lane for (lane,) in await tx.many("call", calls))
    for lane, count in lanes.items():
        queue = await tx.queue_of(lane)
        await tx.tally(queue, State.AVAILABLE, count)
        add(await tx.happened(queue), ENQUEUED, count)
        tx.hint("work", queue)


def _at_end(row: Row, state: State, error: ErrorInfo | None, now: float) -> Row:
    """Return the job that a callback enqueues. What is damaged stays so: its worker reports it."""
    _, _, job_id, lane, task, priority, args, options, total = row
    if checksum(job_id, task, args, options) == total:
        args = args_at_end(args, state, error)
        total = checksum(job_id, task, args, options)
    return job_id, lane, task, args, options, total, priority, now


async def renumber_callbacks(tx: Tx, job: JobRecord) -> None:
    """Prepare the callbacks of a final job for its next end, because it runs once more."""
    for row in await tx.rows("callbacks", (job.seq,)):
        called_on, number, before, _, task, _, args, options, total = row
        if checksum(before, task, args, options) == total:
            following = callback_id(job.id, called_on, number + 1)
            new = checksum(following, task, args, options)
            await tx.change("renumber_callback", [(number + 1, following, new, job.seq, called_on)])


async def delete_callbacks(tx: Tx, seqs: Sequence[int]) -> None:
    """Delete the callbacks of jobs that are deleted."""
    if seqs and await tx.rows("any_callback"):
        await tx.many("delete_callbacks", [(seq,) for seq in seqs])


async def damaged_callbacks(tx: Tx, job: JobRecord) -> list[str]:
    """Return which callbacks of a job cannot be read, in words."""
    return [
        f"the callback for job {job.id} ({called_on}) is damaged: the job that it enqueues will be "
        "discarded. Check the disk"
        for called_on, _, own, _, task, _, args, options, total in await tx.rows(
            "callbacks", (job.seq,)
        )
        if checksum(own, task, args, options) != total
    ]

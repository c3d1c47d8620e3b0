"""What operators do: inspect jobs and queues, cancel, retry, delete and pause."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, get_args

import msgspec

from ....core import lifecycle
from ....core.bounds import cut
from ....core.job import (
    DETAILS,
    HISTORY,
    AttemptError,
    Detail,
    ErrorInfo,
    JobRecord,
    OutputChunk,
    QueueInfo,
    State,
    Stream,
)
from ....core.page import ENTRY_BYTES, LISTED, PAGE_BYTES, Page, cut_page
from ....core.unreadable import UNREADABLE
from ...enqueue_rules import no_job, no_queue
from ...list_rules import queue_size
from ...messages import Filter
from ...unique_keys import key_taken, unique_key
from ..rows import LANE, NO_QUEUE, Row, finite, listed_record, to_params, to_record, whole
from ..transaction import STATES, Tx
from .callbacks import delete_callbacks, renumber_callbacks
from .enqueue import make_room
from .transitions import adopt, end_unrun

LAST_SEQ = 2**63 - 1
DAMAGED_ENTRY = ErrorInfo("CorruptStoreError", "this entry of the history is damaged")
# The columns of the statement `find_sizes`, after seq.
_SIZED = ("args", "options", "result", "stopping", "progress")
# Passing over a large value takes a part of the time that reading it takes.
PASSED_OVER = 16
# How many jobs are looked at first.
FIRST_SIZES = 64
STREAMS: tuple[Stream, ...] = get_args(Stream)

_encode = msgspec.json.Encoder().encode
_decode_error = msgspec.json.Decoder(ErrorInfo).decode


async def get(tx: Tx, job_id: str) -> JobRecord:
    """Return one job."""
    rows = await tx.rows("get", (job_id,))
    if not rows:
        raise no_job(job_id)
    return to_record(rows[0], await tx.queue_of(rows[0][LANE]))


async def find(
    tx: Tx, which: Filter, *, limit: int, include: Collection[Detail] = ()
) -> Page[JobRecord]:
    """Return one page of jobs, newest first."""
    matching: dict[str, Any] = {
        "before": LAST_SEQ if which.before is None else which.before,
        "queue": which.queue,
        "task": which.task,
        "states": _encode(sorted(which.states)).decode() if which.states else None,
        "enqueued_before": which.enqueued_before,
    }
    omitted = DETAILS.difference(include)
    page = await _sized_page(tx, matching, limit, [name in omitted for name in _SIZED])
    if not page:
        return Page()
    details = {f"with_{name}": name in include for name in DETAILS}
    rows = await tx.rows("find", {**matching, **details, "last": page[-1][0]})
    jobs = [listed_record(row, await tx.queue_of(row[LANE]), omitted) for row in rows]
    return Page(jobs, more=page.more)


async def history(
    tx: Tx, job_id: str, *, after: int = 0, limit: int = HISTORY
) -> Page[AttemptError]:
    """Return one page of the errors of a job's failed attempts."""
    seq = await _seq(tx, job_id)
    page = cut_page(await tx.rows("history_sizes", (seq, after, limit + 1)), limit, _size)
    if not page:
        return Page()
    rows = await tx.rows("history", (seq, page[0][0], page[-1][0]))
    return Page((_attempt_error(*row) for row in rows), more=page.more)


async def _sized_page(
    tx: Tx, matching: dict[str, Any], limit: int, passed_over: Sequence[bool]
) -> Page[Row]:
    """Return the sizes of one page of jobs.

    How large they are is known only of some, so few are looked at before that is known.
    """
    found: list[Row] = []
    at_once, size = FIRST_SIZES, 0
    while len(found) <= limit and size <= PAGE_BYTES:
        asked = min(at_once, limit + 1 - len(found))
        rows = await tx.rows("find_sizes", {**matching, "limit": asked})
        found += rows
        size += sum(_size(row, passed_over) for row in rows)
        if len(rows) < asked:
            break
        at_once = 1 + PAGE_BYTES * len(found) // size
        matching = {**matching, "before": rows[-1][0]}
    return cut_page(found, limit, lambda row: _size(row, passed_over))


def _size(row: Row, passed_over: Sequence[bool] = (False,)) -> int:
    """Return what an entry counts, of its seq and the sizes of its large fields.

    One that is only passed over, to what is stored behind it, counts a part of its size.
    """
    return ENTRY_BYTES + sum(
        (size or 0) // (PASSED_OVER if passed else 1)
        for size, passed in zip(row[1:], passed_over, strict=True)
    )


async def _seq(tx: Tx, job_id: str) -> int:
    rows = await tx.rows("is_there", (job_id,))
    if not rows:
        raise no_job(job_id)
    return int(rows[0][0])


def _attempt_error(
    seq: int, attempt: int, at: Any, worker: str | None, became: str, error: bytes
) -> AttemptError:
    try:
        state, told = State(became), _decode_error(error)
    except (ValueError, TypeError, *UNREADABLE):
        state, told = State.DISCARDED, DAMAGED_ENTRY
    return AttemptError(
        attempt=attempt, at=finite(at), worker=worker, became=state, error=told, seq=seq
    )


async def output(tx: Tx, job_id: str, *, after: int = 0, limit: int) -> Page[OutputChunk]:
    """Return one page of a job's captured output."""
    job = await _seq(tx, job_id)
    page = cut_page(await tx.rows("output_sizes", (job, after, limit + 1)), limit, _size)
    if not page:
        return Page()
    chunks = (
        OutputChunk(
            job_id=job_id,
            lease=lease,
            offset=offset,
            stream=stream if stream in STREAMS else "mark",
            at=finite(at),
            data=data,
            seq=seq,
        )
        for seq, lease, offset, stream, at, data in await tx.rows(
            "output", (job, page[0][0], page[-1][0])
        )
    )
    return Page(chunks, more=page.more)


async def counts(tx: Tx, *, after: str = "", limit: int = LISTED) -> Page[QueueInfo]:
    """Return one page of the queues with their counts by state."""
    page = cut_page(await tx.rows("queues_after", (after or None, limit + 1)), limit, queue_size)
    return Page([await _queue_info(tx, *row) for row in page], more=page.more)


async def queue_info(tx: Tx, queue: str) -> QueueInfo:
    """Return one queue with its counts by state."""
    rows = await tx.rows("queue", (queue,))
    if not rows:
        raise no_queue(queue)
    return await _queue_info(tx, queue, *rows[0])


async def _queue_info(
    tx: Tx, name: str, capacity: int | None, paused: int, *numbers: int
) -> QueueInfo:
    return QueueInfo(
        name=name,
        capacity=capacity if isinstance(capacity, int) else None,
        paused=bool(paused),
        counts=dict(zip(STATES, map(whole, numbers), strict=True)),
        offers=(await tx.rows("count_offers", (name, tx.now)))[0][0],
    )


async def ahead(tx: Tx, job_id: str) -> int:
    """Return how many available jobs of the queue come before this one."""
    job = await get(tx, job_id)
    rows = await tx.rows("ahead", (job.queue, job.priority, job.run_at, job.seq))
    return int(rows[0][0])


async def offered(tx: Tx, job_id: str) -> QueueInfo | None:
    """Return the queue at which a job is offered."""
    rows = await tx.rows("offered", (job_id, tx.now))
    return await queue_info(tx, rows[0][0]) if rows else None


async def cancel(tx: Tx, job_id: str, *, reason: str, force: bool = False) -> JobRecord:
    """Cancel a waiting job; ask the worker of a running one to stop it."""
    await tx.lock_jobs([job_id])
    job = await _changeable(tx, job_id, State.AVAILABLE)
    reason = cut("reason", reason)
    state = lifecycle.cancel(job)
    if state is None:
        await tx.change("request_cancel", [(tx.now, reason, force, job.seq, job.lease)])
        tx.hint("cancel", job_id)
        return await get(tx, job_id)
    cancelled = await end_unrun(tx, job, state, ErrorInfo("Cancelled", reason))
    if job.queue != NO_QUEUE:
        await make_room(tx, job.queue)
    return cancelled


async def retry(tx: Tx, job_id: str) -> JobRecord:
    """Make a job available again with all its retries."""
    await tx.lock_jobs([job_id])
    job = await _changeable(tx, job_id, State.DISCARDED)
    renewed = lifecycle.renew(job, tx.now)
    if job.damage:
        await _repair(tx, renewed)
        renewed = await get(tx, job_id)
        if renewed.damage:
            raise lifecycle.beyond_retry(job)
        renewed = lifecycle.renew(renewed, tx.now)
    key = None if job.options.key is None else unique_key(job)
    holder = await tx.rows("key_holder", (key,)) if key is not None else []
    if holder and holder[0][0] != job_id:
        raise key_taken(job, holder[0][0])
    row = to_params(renewed) | {"unique_key": key, "state_before": job.state}
    await tx.change("renew", [row])
    if job.is_final:
        await renumber_callbacks(tx, job)
    await tx.tally(job.queue, job.state, -1)
    await tx.tally(job.queue, renewed.state, 1)
    tx.hint("work", job.queue)
    return renewed


async def _changeable(tx: Tx, job_id: str, state: State) -> JobRecord:
    """Return a job that is to be changed. One in an unknown state is first put into `state`."""
    job = await get(tx, job_id)
    if not job.damage:
        return job
    await adopt(tx, job, state)
    return await get(tx, job_id)


async def _repair(tx: Tx, job: JobRecord) -> None:
    """Give a final job back what its run had left, where that cannot be read."""
    row = (job.priority, job.enqueued_at or tx.now, job.options.expires_at, job.lease, job.seq)
    await tx.change("repair", [row])


async def delete(tx: Tx, job_id: str) -> None:
    """Delete a final job."""
    await tx.lock_jobs([job_id])
    job = await _changeable(tx, job_id, State.DISCARDED)
    lifecycle.check_deletable(job)
    await delete_final(tx, job.seq, job.state)
    await delete_callbacks(tx, [job.seq])
    await tx.tally(job.queue, job.state, -1)


async def delete_final(tx: Tx, seq: int, state: State) -> None:
    """Delete the row of a final job, with its history, output and files."""
    await tx.change("delete_job", [(seq, state)])
    for statement in ("delete_output", "delete_history", "delete_files"):
        await tx.rows(statement, (seq,))


async def set_paused(tx: Tx, queue: str, *, paused: bool) -> None:
    """Pause or resume a queue."""
    state = await tx.used_queue(queue)
    state.paused = paused
    await tx.rows("set_paused", (paused, queue))
    if not paused:
        tx.hint("work", queue)

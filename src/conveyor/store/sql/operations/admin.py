"""What operators do: inspect jobs and queues, cancel, retry, delete and pause."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from ....core import lifecycle
from ....core.attempts import success_entry
from ....core.bounds import LARGEST_INTEGER, checked_integer, cut
from ....core.history import count_move
from ....core.job import (
    HISTORY,
    AttemptError,
    ErrorInfo,
    JobRecord,
    OutputChunk,
    QueueInfo,
    State,
    Stream,
)
from ....core.page import ENTRY_BYTES, LISTED, Page, cut_page
from ....core.pause import NOT_PAUSED, Pause, pause
from ....core.queue_totals import PAST, leaving, totals
from ....core.unreadable import UNREADABLE
from ....errors import InvalidTransitionError
from ...enqueue_rules import no_job, no_queue
from ...list_rules import queue_size
from ...unique_keys import key_taken, unique_key
from ..queue_state import STATES
from ..rows import LANE, NO_QUEUE, Row, finite, is_time, text, to_params, to_record, whole
from ..transaction import Tx
from .callbacks import delete_callbacks, renumber_callbacks
from .enqueue import change_capacity, make_room
from .transitions import adopt, end_unrun, note

DAMAGED_ENTRY = ErrorInfo("CorruptStoreError", "this entry of the history is damaged")
STREAMS: tuple[Stream, ...] = get_args(Stream)

_decode_error = msgspec.json.Decoder(ErrorInfo).decode


async def get(tx: Tx, job_id: str) -> JobRecord:
    """Return one job."""
    rows = await tx.rows("get", (job_id,))
    if not rows:
        raise no_job(job_id)
    return to_record(rows[0], await tx.queue_of(rows[0][LANE]))


async def history(
    tx: Tx, job_id: str, *, after: int = 0, limit: int = HISTORY
) -> Page[AttemptError]:
    """Return one page of the errors of a job's failed attempts."""
    return await read_history(tx, await _seq(tx, job_id), after=after, limit=limit)


async def read_history(
    tx: Tx, seq: int, *, after: int, limit: int, all_of_them: bool = False
) -> Page[AttemptError]:
    """Return one page of the history of the job with a number; with `all_of_them`, successes too.

    Only an earlier success of a job that was run again is in its history.
    """
    sizes = await tx.rows("history_sizes", (seq, after, all_of_them, limit + 1))
    page = cut_page(sizes, limit, _size)
    if not page:
        return Page()
    rows = await tx.rows("history", (seq, page[0][0], page[-1][0], all_of_them))
    return Page((attempt_error(*row) for row in rows), more=page.more)


def _size(row: Row) -> int:
    """Return what an entry counts, of its seq and the size of its large field."""
    return ENTRY_BYTES + (row[1] or 0)


async def _seq(tx: Tx, job_id: str) -> int:
    rows = await tx.rows("is_there", (job_id,))
    if not rows:
        raise no_job(job_id)
    return int(rows[0][0])


def attempt_error(
    seq: int,
    attempt: int,
    at: Any,
    worker: str | None,
    became: str,
    error: bytes,
    started_at: Any,
    due_at: Any,
    lease: Any,
    alike: Any,
) -> AttemptError:
    """Return an entry of a history, as its row has it."""
    try:
        state, told = State(became), _decode_error(error)
    except (ValueError, TypeError, *UNREADABLE):
        state, told = State.DISCARDED, DAMAGED_ENTRY
    return AttemptError(
        attempt=attempt,
        at=finite(at),
        worker=worker,
        became=state,
        error=told,
        seq=seq,
        started_at=started_at if is_time(started_at) else None,
        due_at=due_at if is_time(due_at) else None,
        lease=whole(lease),
        fingerprint=text(alike),
    )


async def output(
    tx: Tx, job_id: str, *, after: int = 0, before: int | None = None, limit: int
) -> Page[OutputChunk]:
    """Return one page of a job's captured output."""
    job = await _seq(tx, job_id)
    if before is None:
        sizes = await tx.rows("output_sizes", (job, after, limit + 1))
    else:
        end = before or LARGEST_INTEGER
        sizes = await tx.rows("output_sizes_before", (job, end, limit + 1))
    page = cut_page(sizes, limit, _size)
    if not page:
        return Page()
    earlier = int(page[-1][0]) if before is not None and page.more else None
    page.sort(key=lambda row: row[0])
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
    return Page(chunks, more=page.more, next=earlier)


async def counts(tx: Tx, *, after: str = "", limit: int = LISTED) -> Page[QueueInfo]:
    """Return one page of the queues with their counts by state."""
    page = cut_page(await tx.rows("queues_after", (after or None, limit + 1)), limit, queue_size)
    return Page([await _queue_info(tx, *row) for row in page], more=page.more)


async def queue_info(tx: Tx, queue: str) -> QueueInfo:
    """Return one queue with its counts by state."""
    rows = await tx.rows("queue_with_past", (queue,))
    if not rows:
        raise no_queue(queue)
    return await _queue_info(tx, *rows[0])


async def _queue_info(
    tx: Tx, name: str, capacity: int | None, paused: int, *numbers: int
) -> QueueInfo:
    known = await read_pause(tx, name) if paused else NOT_PAUSED
    given = list(map(whole, numbers))
    counts = dict(zip(STATES, given, strict=False))
    past = dict(zip(PAST, given[len(STATES) :], strict=True))
    return QueueInfo(
        name=name,
        capacity=capacity if isinstance(capacity, int) else None,
        paused=bool(paused),
        counts=counts,
        offers=(await tx.rows("count_offers", (name, tx.now)))[0][0],
        paused_at=known.paused_at,
        paused_by=known.paused_by,
        pause_reason=known.pause_reason,
        totals=totals(counts, past),
    )


async def read_pause(tx: Tx, queue: str) -> Pause:
    """Return since when, by whom and why a queue is paused."""
    for paused_at, paused_by, reason in await tx.rows("pause", (queue,)):
        return Pause(paused_at if is_time(paused_at) else None, text(paused_by), text(reason))
    return NOT_PAUSED


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
    job = await cancel_job(tx, job_id, reason=reason, force=force)
    if job.is_final and job.queue != NO_QUEUE:
        await make_room(tx, job.queue, passes_over=True)
    return job


async def cancel_job(tx: Tx, job_id: str, *, reason: str, force: bool) -> JobRecord:
    """Cancel a job; the caller accepts the offers for which there is room then."""
    await tx.lock_jobs([job_id])
    job = await _changeable(tx, job_id, State.AVAILABLE)
    reason = cut("reason", reason)
    state = lifecycle.cancel(job)
    if state is None:
        await tx.change("request_cancel", [(tx.now, reason, force, job.seq, job.lease)])
        tx.hint("cancel", job_id)
        return await get(tx, job_id)
    return await end_unrun(tx, job, state, ErrorInfo("Cancelled", reason))


async def retry(tx: Tx, job_id: str) -> JobRecord:
    """Make a job available again with all its retries."""
    return await retry_job(tx, job_id, repairs=True)


async def retry_job(tx: Tx, job_id: str, *, repairs: bool) -> JobRecord:
    """Make a job available again. What fails has changed the job, unless it never `repairs` one."""
    await tx.lock_jobs([job_id])
    if not repairs and (await get(tx, job_id)).damage:
        raise InvalidTransitionError(f"job {job_id} is damaged: retry it by itself")
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
    succeeded = success_entry(job)
    if succeeded is not None:
        await note(tx, job.seq, succeeded)
    await tx.change("renew", [row])
    if job.is_final:
        await renumber_callbacks(tx, job)
    await tx.tally(job.queue, job.state, -1)
    await tx.tally(job.queue, renewed.state, 1)
    await tx.note_past(job.queue, leaving(job.state, deleted=False))
    count_move(await tx.happened(job.queue), job, renewed.state, tx.now)
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
    await delete_final(tx, job.queue, job.seq, job.state)
    await delete_callbacks(tx, [job.seq])


async def delete_final(tx: Tx, queue: str, seq: int, state: State) -> None:
    """Delete the row of a final job, with its history, output and files."""
    await tx.change("delete_job", [(seq, state)])
    for statement in ("delete_output", "delete_history", "delete_files"):
        await tx.rows(statement, (seq,))
    await tx.tally(queue, state, -1)
    await tx.note_past(queue, leaving(state, deleted=True))


async def set_paused(tx: Tx, queue: str, *, paused: bool, reason: str = "", by: str = "") -> None:
    """Pause or resume a queue."""
    await tx.limit_waits()
    state = await tx.used_queue(queue)
    before = await read_pause(tx, queue) if state.paused else NOT_PAUSED
    after = pause(before, paused=paused, reason=reason, by=by, now=tx.now)
    state.paused = paused
    await tx.rows("set_paused", (paused, *msgspec.structs.astuple(after), queue))
    if not paused:
        tx.hint("work", queue)


async def set_capacity(tx: Tx, queue: str, capacity: int | None) -> None:
    """Change the capacity of a queue."""
    if capacity is not None:
        checked_integer(capacity, most=LARGEST_INTEGER)
    if await tx.queue(queue) is None:
        raise no_queue(queue)
    await tx.limit_waits()
    await change_capacity(tx, queue, capacity)

"""Jobs that are discarded without a run: they expired, or their row is damaged."""

from __future__ import annotations

import msgspec

from ....core.job import WAITING, JobRecord, State
from ....core.lifecycle import EXPIRED, damage_error
from ..queue_state import STATES
from ..rows import LANE, NO_QUEUE, to_record
from ..transaction import Tx
from .transitions import adopt, end_unrun

# How many rows are searched for jobs that nothing else finds, each time that jobs are pruned.
SEARCHED_ROWS = 2000
UNFINISHED = (*WAITING, State.RUNNING)


async def expire(tx: Tx, job: JobRecord) -> None:
    """Discard a waiting job that expired."""
    await end_unrun(tx, job, State.DISCARDED, EXPIRED)


async def discard_damaged(tx: Tx, job: JobRecord) -> None:
    """Discard a waiting job whose row is damaged."""
    await end_unrun(tx, job, State.DISCARDED, damage_error(job))


async def discard_strays(tx: Tx) -> None:
    """Discard jobs that no claim and no other maintenance finds: their state or lane is unknown.

    No index has them, so each call searches a part of the jobs, chosen at random.
    """
    [(low, high)] = await tx.rows("seq_bounds")
    if low is None:
        return
    of_no_queue = False
    for row in await tx.rows("strays", (first_searched(low, high, tx.draw()), SEARCHED_ROWS)):
        stray = to_record(row, await tx.queue_of(row[LANE]))
        await adopt(tx, stray, State.AVAILABLE)
        await discard_damaged(tx, msgspec.structs.replace(stray, state=State.AVAILABLE))
        of_no_queue = of_no_queue or stray.queue == NO_QUEUE
    if of_no_queue:
        await _recount_unfinished(tx)


async def _recount_unfinished(tx: Tx) -> None:
    """Correct how many jobs wait and run in each queue: a job of an unknown queue was counted."""
    counted = {
        (queue, State(state)): count for queue, state, count in await tx.rows("count_unfinished")
    }
    for name, *_ in await tx.rows("queues"):
        kept = (await tx.used_queue(name)).counts
        unfinished = {state: counted.get((name, state), 0) for state in UNFINISHED}
        await tx.recount(name, {**kept, **unfinished})


async def recount_queues(tx: Tx) -> None:
    """Correct how many jobs each queue has: one of an unknown lane was counted in its queue."""
    counted: dict[str, dict[State, int]] = {}
    for queue, state, count in await tx.rows("count_states"):
        if state in STATES:
            counted.setdefault(queue, {})[State(state)] = count
    for name, *_ in await tx.rows("queues"):
        await tx.recount(name, counted.get(name, {}))


async def recount_damaged_queues(tx: Tx) -> None:
    """Count the jobs of queues whose stored counts are no counts, in damaged rows."""
    for name, _, _, *kept in await tx.rows("queues"):
        if any(type(count) is not int or count < 0 for count in kept):
            counted = await tx.rows("count_queue", (name,))
            await tx.reset_counts(name, {State(each): count for each, count in counted})


def first_searched(low: int, high: int, drawn: float) -> int:
    """Return where a search begins, so that it reaches every row with the same probability."""
    if high - low < SEARCHED_ROWS:
        return low
    return low + max(0, int(drawn * (high - low + SEARCHED_ROWS)) - SEARCHED_ROWS)

"""What happened in the queues: the minutes of the history."""

from __future__ import annotations

from ....core.history import MINUTE, MINUTES_KEPT, MOST_MINUTES, Counts, QueueMinute, minute_of
from ....core.page import Page
from ..queue_state import decode_minute
from ..rows import Row, whole
from ..transaction import Tx

# How many minutes one call deletes at most.
PRUNED_AT_ONCE = 20_000
# How many queues can have minutes of the whole time without being too many.
FEW_QUEUES = MOST_MINUTES * MINUTE // MINUTES_KEPT


async def minutes(
    tx: Tx,
    first: int,
    last: int,
    *,
    queue: str | None = None,
    after: tuple[int, str] | None = None,
    limit: int,
) -> Page[QueueMinute]:
    """Return one page of the minutes from `first` to `last`.

    `after` is the minute and the queue of the last entry of a page with more. The last page also
    has what is not in the history yet, so a minute may be there twice.
    """
    begin, name = (first, "") if after is None else after  # no queue has an empty name
    if queue is None:
        rows = await tx.rows("minutes", (last, begin, name, limit + 1))
    else:
        begin -= after is None
        rows = await tx.rows("minutes_of", (queue, last, begin, limit + 1))
    page = Page(map(_minute, rows[:limit]), more=len(rows) > limit)
    if not page.more:
        params = {"first": first, "last": last, "queue": queue}
        page += map(_minute, await tx.rows("recent_minutes", params))
    return page


async def prune_minutes(tx: Tx) -> None:
    """Delete the minutes that are too old, or too many."""
    before = minute_of(tx.now - MINUTES_KEPT)
    [(queues,)] = await tx.rows("count_queues")
    if queues > FEW_QUEUES:
        for (minute,) in await tx.rows("minute_behind", (MOST_MINUTES,)):
            before = max(before, int(minute) + 1)
    await tx.rows("delete_old_minutes", (before, PRUNED_AT_ONCE))


def _minute(row: Row) -> QueueMinute:
    queue, minute, stored = row
    counts: Counts = decode_minute(stored)
    return QueueMinute(str(queue), whole(minute), counts)

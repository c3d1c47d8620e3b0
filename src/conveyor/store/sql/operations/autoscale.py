"""For autoscalers: the load of the queues, and the elected leader."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import msgspec

from ....core.job import JobRecord, State
from ... import leadership
from ...load_totals import add_up
from ...messages import Leader, Load
from ..queue_state import QueueState
from ..rows import Row, decode_labels, finite, whole
from ..transaction import Tx
from .enqueue import LiveOffers
from .lanes import labels_of_next

# A lane with this many priorities is scanned instead of searched once for each priority.
MANY_PRIORITIES = 1000


async def load(tx: Tx, *, limit: int, queue: str | None = None) -> list[Load]:
    """Return how many jobs wait and run, by queue and required labels."""
    if queue is None:
        lanes = await tx.rows("used_lanes")
        running = await tx.rows("running_by_lane")
        offering = [name for (name,) in await tx.rows("offering_queues")]
    else:
        found = [(lane, queue, labels) for lane, labels in await tx.rows("lanes", (queue,))]
        lanes = sorted(found, key=lambda row: row[2] != "[]")  # as the statement above does
        running = await tx.rows("running_in_queue", (queue,)) if lanes else []
        offering = [queue] if await tx.rows("any_offer", (queue,)) else []
    parts = [part async for part in _standing(tx, lanes, dict(running))]
    parts += [part async for part in _offered(tx, offering)]
    return add_up(parts, limit=limit)


async def lead(tx: Tx, name: str, holder: str, *, hold: float, note: str | None = None) -> Leader:
    """Take or renew the leadership, unless somebody else holds it."""
    rows = await tx.rows("leader", (name,))
    before = _leader(rows[0]) if rows else None
    after = leadership.lead(before, name, holder, hold=hold, note=note, now=tx.now)
    if after.term and after != before:
        row = msgspec.structs.asdict(after)
        # As they are stored, which in a damaged row is not as they are read.
        _, _, until, _, term, _ = rows[0] if rows else (None, None, 0, None, 0, None)
        row["term_before"], row["until_before"] = term, until
        await tx.change("put_leader", [row])
    return after


async def leader(tx: Tx, name: str) -> Leader | None:
    """Return the present leader, or the last one."""
    rows = await tx.rows("leader", (name,))
    if not rows:
        return None
    return _leader(rows[0])


def _leader(row: Row) -> Leader:
    name, holder, until, since, term, note = row
    return Leader(
        name=name,
        holder=holder,
        until=finite(until),
        since=finite(since),
        term=whole(term),
        note=note if isinstance(note, str) else "",
    )


async def _standing(
    tx: Tx, lanes: Sequence[Row], running: Mapping[int, int]
) -> AsyncIterator[Load]:
    for name, of_queue in groupby(lanes, key=itemgetter(1)):
        queue = await tx.used_queue(name)
        found = list(of_queue)
        waiting = {} if queue.paused else await _waiting(tx, queue, found)
        for lane, _, requires in found:
            count = waiting.get(lane, 0)
            labels: tuple[str, ...] | JobRecord | None = decode_labels(requires)
            if labels is None:
                labels = await labels_of_next(tx, lane, name)
            yield Load(
                name,
                () if isinstance(labels, JobRecord) else labels,
                waiting=count,
                running=running.get(lane, 0),
                oldest_at=await _oldest(tx, lane) if count else None,
            )


async def _waiting(tx: Tx, queue: QueueState, lanes: Sequence[Row]) -> dict[int, int]:
    """Count the available jobs of all lanes but the first, which has the rest of the queue's."""
    [(first, *_), *others] = lanes
    counts = {lane: (await tx.rows("count_lane", (lane,)))[0][0] for lane, *_ in others}
    return {first: queue.counts[State.AVAILABLE] - sum(counts.values()), **counts}


async def _oldest(tx: Tx, lane: int) -> float | None:
    """Return when the oldest available job of a lane became due."""
    rows = await tx.rows("oldest_by_priority", (lane, MANY_PRIORITIES))
    if len(rows) == MANY_PRIORITIES:
        rows = await tx.rows("oldest_in_lane", (lane,))
    return min((finite(run_at) for (run_at,) in rows), default=None)


async def _offered(tx: Tx, names: Sequence[str]) -> AsyncIterator[Load]:
    """Yield each job that is offered at a rendezvous."""
    for name in names:
        queue = await tx.used_queue(name)
        if queue.capacity == 0 and not queue.paused:
            offers = LiveOffers(tx, name, reads=True)
            while some := await offers.read():
                for new in (job for _, jobs in some for job in jobs):
                    yield Load(name, new.options.requires, waiting=1, running=0)

"""Taking jobs in: the exact bound, unique keys, and offers that wait for room."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from ....core.capacity import Accept, Offer, Refuse, admit, room
from ....core.files import inputs
from ....core.job import NewJob, State, WhenFull
from ....core.lifecycle import dropped
from ....errors import NotFoundError, QueueFullError
from ...messages import COLLECT_PATIENCE, OFFER_PATIENCE, Accepted, Offered
from ..rows import checksum, encode_options, to_record, unique_key
from ..transaction import Params, QueueState, Tx
from .transitions import end

OFFERS_AT_ONCE = 1000

_encode = msgspec.json.Encoder().encode
_decode_jobs = msgspec.json.Decoder(list[NewJob]).decode
_decode_answer = msgspec.json.Decoder(Accepted).decode


async def insert(
    tx: Tx,
    jobs: Sequence[NewJob],
    *,
    capacity: int | None = None,
    when_full: WhenFull = "wait",
    again: bool = False,
) -> Accepted | Offered:
    """Take the jobs, all of one queue, or write the request down as an offer."""
    if again and (known := await _answer_known(tx, jobs)):
        return known
    if not jobs:
        return Accepted(())
    name = jobs[0].queue
    queue = await tx.used_queue(name)
    if queue.capacity == capacity:
        return await _admit(tx, jobs, queue, when_full)
    await tx.rows("set_capacity", (capacity, name))
    queue.capacity = capacity
    answer = await _admit(tx, jobs, queue, when_full)
    await make_room(tx, name)  # the bound may be wider now
    return answer


async def _admit(
    tx: Tx, jobs: Sequence[NewJob], queue: QueueState, when_full: WhenFull
) -> Accepted | Offered:
    name, capacity = jobs[0].queue, queue.capacity
    if capacity is None:
        return await accept(tx, jobs)
    size = len(jobs) if capacity == 0 and len(jobs) > 1 else await _fresh(tx, jobs)
    offers = (await tx.rows("count_offers", (name, tx.now)))[0][0]
    decision = admit(
        size=size,
        depth=queue.depth,
        available=queue.counts[State.AVAILABLE],
        offers=offers,
        capacity=capacity,
        when_full=when_full,
    )
    match decision:
        case Accept(drop):
            await _drop_oldest(tx, name, queue, drop)
            return await accept(tx, jobs)
        case Offer():
            return await _offer(tx, jobs, queue, capacity)
        case Refuse():
            raise QueueFullError(name, queue.depth, capacity, len(jobs))


async def _answer_known(tx: Tx, jobs: Sequence[NewJob]) -> Accepted | Offered | None:
    """Return the answer to a request that was inserted before; None if it was not."""
    there = {new.id for new in jobs if await tx.rows("is_there", (new.id,))}
    if there:
        return await _as_it_was(tx, jobs, there)
    for new in jobs[:1]:
        mark = b'"id":' + _encode(new.id)
        for seq, answer in await tx.rows("offer_of", (new.queue, tx.now, mark)):
            if answer is not None:
                return _decode_answer(answer)
            queue = await tx.used_queue(new.queue)
            return Offered(str(seq), new.queue, queue.depth, queue.capacity or 0)
    return None


async def _as_it_was(tx: Tx, jobs: Sequence[NewJob], there: Collection[str]) -> Accepted:
    """Return the answer to a request some of whose jobs were taken in."""
    ids: list[str] = []
    existing: list[str] = []
    for new in jobs:
        key = None if new.id in there else unique_key(new)
        holder = None if key is None else await _holder(tx, key)
        ids.append(holder or new.id)
        existing += [holder] if holder else []
    return Accepted(tuple(ids), tuple(existing))


async def accept(tx: Tx, jobs: Sequence[NewJob]) -> Accepted:
    """Take jobs in, except those whose unique key is taken."""
    rows: list[Params] = []
    ids: list[str] = []
    existing: list[str] = []
    states: dict[State, int] = {}
    keys: dict[str, str] = {}
    with_files: list[NewJob] = []
    for new in jobs:
        key = unique_key(new)
        if key is not None:
            holder = keys.get(key) or await _holder(tx, key)
            if holder is not None:
                ids.append(holder)
                existing.append(holder)
                continue
            keys[key] = new.id
        run_at = tx.now + new.delay if new.run_at is None else new.run_at
        state = State.SCHEDULED if run_at > tx.now else State.AVAILABLE
        rows.append(await _row(tx, new, key, state, run_at))
        states[state] = states.get(state, 0) + 1
        ids.append(new.id)
        if new.options.files:
            with_files.append(new)
    if rows:
        await tx.later("insert_job", rows)
        await _add_inputs(tx, with_files)
        name = jobs[0].queue
        for state, count in states.items():
            await tx.tally(name, state, count)
            tx.hint("work" if state is State.AVAILABLE else "due", name)
    return Accepted(tuple(ids), tuple(existing))


async def _add_inputs(tx: Tx, jobs: Sequence[NewJob]) -> None:
    rows = [
        (each.kind, each.name, each.digest, each.size, each.executable, new.id)
        for new in jobs
        for each in inputs(new.options.files)
    ]
    if rows:
        await tx.many("add_input", rows)


async def accepted(tx: Tx, offer: str) -> Accepted | None:
    """Return an offer's answer and forget it, or keep the offer alive."""
    _, answer = await _known_offer(tx, offer)
    if answer is not None:
        await tx.rows("delete_offer", (int(offer),))
        return _decode_answer(answer)
    await tx.rows("keep_offer", (tx.now + OFFER_PATIENCE, int(offer)))
    return None


async def withdraw(tx: Tx, offer: str) -> Accepted | None:
    """Take an offer back; returns the answer if it came too late."""
    queue, answer = await _known_offer(tx, offer)
    await tx.rows("delete_offer", (int(offer),))
    if answer is not None:
        return _decode_answer(answer)
    await make_room(tx, queue)  # a smaller one behind it may fit
    return None


async def make_room(tx: Tx, name: str) -> None:
    """Accept offers, the oldest first, as far as there is room."""
    queue = await tx.used_queue(name)
    if queue.capacity == 0:
        return
    for seq, jobs in await live_offers(tx, name):
        size = await _fresh(tx, jobs)
        if size > room(depth=queue.depth, capacity=queue.capacity):
            return
        await accept_offer(tx, seq, jobs)


async def live_offers(tx: Tx, name: str) -> list[tuple[int, list[NewJob]]]:
    """Return the offers of a queue whose producers are still there, the oldest first."""
    if not await tx.rows("any_offer", (name,)):
        return []
    return [
        (seq, _decode_jobs(request))
        for seq, until, request in await tx.rows("offers", (name, OFFERS_AT_ONCE))
        if until >= tx.now
    ]


async def accept_offer(tx: Tx, seq: int, jobs: Sequence[NewJob]) -> Accepted:
    """Take an offer's jobs in and leave the answer for its producer."""
    answer = await accept(tx, jobs)
    await tx.rows("answer_offer", (_encode(answer), tx.now + COLLECT_PATIENCE, seq))
    tx.hint("offer", str(seq))
    return answer


async def _row(
    tx: Tx, new: NewJob, key: str | None, state: State, run_at: float
) -> tuple[object, ...]:
    options = encode_options(new.options)
    return (
        new.id,
        await tx.lane(new.queue, new.options.requires),
        new.task,
        new.args,
        options,
        checksum(new.id, new.task, new.args, options),
        state,
        new.priority,
        run_at,
        tx.now,
        new.options.expires_at,
        key,
        new.options.key_until == "pruned",
    )


async def _holder(tx: Tx, key: str) -> str | None:
    rows = await tx.rows("key_holder", (key,))
    return str(rows[0][0]) if rows else None


async def _fresh(tx: Tx, jobs: Sequence[NewJob]) -> int:
    """Return how many of the jobs are not kept out by a unique key."""
    seen: set[str] = set()
    fresh = 0
    for job in jobs:
        key = unique_key(job)
        if key is not None:
            if key in seen or await _holder(tx, key) is not None:
                continue
            seen.add(key)
        fresh += 1
    return fresh


async def _offer(tx: Tx, jobs: Sequence[NewJob], queue: QueueState, capacity: int) -> Offered:
    name = jobs[0].queue
    request = _encode(list(jobs))
    [(seq,)] = await tx.rows("add_offer", (name, tx.now + OFFER_PATIENCE, request))
    tx.hint("work", name)  # at a rendezvous a worker has to come for it
    return Offered(str(seq), name, queue.depth, capacity)


async def _known_offer(tx: Tx, offer: str) -> tuple[str, bytes | None]:
    rows = await tx.rows("offer", (int(offer),)) if offer.isdigit() else []
    if not rows or rows[0][1] < tx.now:
        raise NotFoundError(f"offer {offer} was collected, withdrawn or dropped for silence")
    queue, _, answer = rows[0]
    return queue, answer


async def _drop_oldest(tx: Tx, name: str, queue: QueueState, count: int) -> None:
    if not count:
        return
    why = dropped(name, queue.capacity)
    for row in await tx.rows("oldest", (name, count)):
        await end(tx, to_record(row, name), State.DISCARDED, why)

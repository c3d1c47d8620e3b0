"""Enqueueing: the exact capacity, unique keys, and offers that wait for room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ....core import lifecycle
from ....core.capacity import Accept, Offer, fits, is_rendezvous, never_fits
from ....core.history import ENQUEUED, add
from ....core.job import NewJob, State, WhenFull
from ....core.lifecycle import drop_error
from ....core.storable import check_jobs
from ....core.unreadable import UNREADABLE
from ....errors import CorruptStoreError
from ...enqueue_rules import admit_request, check_ids, check_offer_kept
from ...hint_rules import queue_hint
from ...messages import COLLECT_PATIENCE, OFFER_PATIENCE, Accepted, Offered
from ...unique_keys import Holder, admit_keys, answer_again, count_fresh, unique_key
from ..executor import Params
from ..queue_state import QueueState
from ..rows import ID, STATE, Row, checksum, encode_options, finite, is_time, to_record
from ..transaction import Tx
from .callbacks import add_callbacks, called_by, make_lanes, make_queues
from .key_holders import add_inputs, change_holders, read_holders
from .transitions import end_unrun

# How many offers of a queue are looked at in one operation, and how many rows with the arguments
# of jobs are read at once.
MOST_OFFERS, LARGE_ROWS = 1000, 16
# An offer that ends later than this, in seconds, is damaged.
LONGEST_PATIENCE = 86_400.0

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
    """Accept the jobs, all of one queue, or store the request as an offer."""
    check_jobs(jobs)
    if again and (known := await _answer_known(tx, jobs)):
        return known
    if not jobs:
        return Accepted(())
    name = jobs[0].queue
    await make_queues(tx, [name, *(each.queue for each in called_by(jobs))])
    queue = await tx.used_queue(name)
    if queue.capacity is None and capacity is None:
        return await accept(tx, jobs)
    # The capacity is compared under the lock: another producer may have just declared its own.
    queue = await tx.lock_queue(name)
    if queue.capacity == capacity:
        return await _admit(tx, jobs, queue, when_full)
    await tx.rows("set_capacity", (capacity, name))
    queue.capacity = capacity
    answer = await _admit(tx, jobs, queue, when_full)
    await _drop_offers_of_several(tx, name)
    await make_room(tx, name)  # the capacity may have been raised
    return answer


async def change_capacity(tx: Tx, name: str, capacity: int | None) -> None:
    """Change the capacity of a queue, and accept the offers for which there is room now."""
    queue = await tx.lock_queue(name)
    await tx.rows("set_capacity", (capacity, name))
    queue.capacity = capacity
    await _drop_offers_of_several(tx, name)
    await make_room(tx, name)


async def _admit(
    tx: Tx, jobs: Sequence[NewJob], queue: QueueState, when_full: WhenFull
) -> Accepted | Offered:
    name, capacity = jobs[0].queue, queue.capacity
    if capacity is None:
        return await accept(tx, jobs)
    holders = await read_holders(tx, jobs)
    spared = (
        await _available(tx, holders.values()) if when_full == "drop_oldest" else frozenset[str]()
    )
    decision = admit_request(
        jobs,
        fresh=count_fresh(jobs, holders, tx.now),
        depth=queue.depth,
        available=queue.counts[State.AVAILABLE] - len(spared),
        offers=(await tx.rows("count_offers", (name, tx.now)))[0][0],
        capacity=capacity,
        when_full=when_full,
    )
    match decision:
        case Accept(drop):
            await _drop_oldest(tx, name, queue, drop, spared)
            answer = await accept(tx, jobs)
            return msgspec.structs.replace(answer, dropped=drop) if drop else answer
        case Offer():
            return await _offer(tx, jobs, queue, capacity)


async def _answer_known(tx: Tx, jobs: Sequence[NewJob]) -> Accepted | Offered | None:
    """Return the answer to a request that was inserted before; None if it was not."""
    # Another request may have taken the same id for a job of another queue.
    stored = {new.id for new in jobs if await tx.rows("is_in_queue", (new.id, new.queue))}
    if stored:
        return answer_again(jobs, stored, await read_holders(tx, jobs))
    for new in jobs[:1]:
        for seq, answer in await tx.rows("offer_of", (new.id, new.queue, tx.now)):
            if answer is not None:
                return _read_answer(answer)
            queue = await tx.used_queue(new.queue)
            return Offered(str(seq), new.queue, queue.depth, queue.capacity or 0)
    return None


async def _stored(tx: Tx, jobs: Sequence[NewJob]) -> set[str]:
    """Return the ids of those jobs that are in the store."""
    return {new.id for new in jobs if await tx.rows("is_there", (new.id,))}


async def accept(tx: Tx, jobs: Sequence[NewJob]) -> Accepted:
    """Add the jobs, except those whose unique key is taken, which change its holder or nothing."""
    admission = admit_keys(
        jobs, await read_holders(tx, jobs), tx.now, passes_keys=not tx.is_held_open
    )
    fresh, answer = admission.fresh, admission.answer
    if not admission.changes:
        return answer
    called = called_by(jobs)
    await make_lanes(tx, [*jobs, *called])
    await change_holders(tx, admission)
    if not fresh:
        return answer
    if tx.careful:
        check_ids(fresh, await _stored(tx, fresh))
    rows: list[Params] = []
    counts: dict[State, int] = {}
    for new in fresh:
        state, run_at = lifecycle.first_state(new, tx.now)
        rows.append(await _row(tx, new, state, run_at))
        counts[state] = counts.get(state, 0) + 1
    await tx.defer("insert_job", rows)
    await add_inputs(tx, [new for new in fresh if new.options.files])
    if called:
        await add_callbacks(tx, fresh)
    name = jobs[0].queue
    for state, count in counts.items():
        await tx.tally(name, state, count)
        tx.hint(queue_hint(state), name)
    add(await tx.happened(name), ENQUEUED, len(fresh))
    return answer


async def accepted(tx: Tx, offer: str) -> Accepted | None:
    """Return an offer's answer and delete the offer; without an answer, keep it alive."""
    _, answer = await _known_offer(tx, offer)
    if answer is not None:
        await _delete_offer(tx, int(offer))
        return _read_answer(answer)
    await tx.change("keep_offer", [(tx.now + OFFER_PATIENCE, int(offer))])
    return None


async def withdraw(tx: Tx, offer: str) -> Accepted | None:
    """Delete an offer; return its answer if it has been accepted already."""
    queue, _ = await _known_offer(tx, offer)
    await tx.lock_queue(queue)
    _, answer = await _known_offer(tx, offer)  # read again, now that no other process can answer it
    await _delete_offer(tx, int(offer))
    if answer is not None:
        return _read_answer(answer)
    await make_room(tx, queue)  # a smaller offer behind it may fit
    return None


def _read_answer(answer: Any) -> Accepted:
    try:
        return _decode_answer(answer)
    except (TypeError, *UNREADABLE) as error:
        raise CorruptStoreError(
            f"the answer to a waiting producer is damaged: {error}; look for its jobs before they "
            "are enqueued again"
        ) from error


async def make_room(tx: Tx, name: str, *, passes_over: bool = False) -> None:
    """Accept offers, oldest first, while there is room.

    `passes_over`: do nothing while another transaction holds the queue for long.
    """
    queue = await tx.used_queue(name)
    if is_rendezvous(queue.capacity) or not await has_offers(tx, name):
        return
    if passes_over and not await tx.try_lock_queue(name):
        return
    queue = await tx.lock_queue(name)
    offers = LiveOffers(tx, name)
    while some := await offers.read():
        for seq, jobs in some:
            size = count_fresh(jobs, await read_holders(tx, jobs), tx.now)
            if never_fits(size, queue.capacity):  # the capacity was lowered
                await _drop_offer(tx, seq)
            elif fits(size, depth=queue.depth, capacity=queue.capacity):
                await accept_offer(tx, seq, jobs)
            else:
                return


async def _drop_offers_of_several(tx: Tx, name: str) -> None:
    """Drop the offers that have no room at a rendezvous, if the queue has become one."""
    if is_rendezvous((await tx.used_queue(name)).capacity):
        offers = LiveOffers(tx, name)
        while some := await offers.read():
            for seq, jobs in some:
                if len(jobs) > 1:
                    await _drop_offer(tx, seq)


async def has_offers(tx: Tx, name: str) -> bool:
    """Whether producers wait for room in a queue."""
    return bool(await tx.rows("any_offer", (name,)))


class LiveOffers:
    """The offers of a queue whose producers still wait, oldest first; a few are read at a time.

    Unless the caller only `reads`, damaged ones are deleted, so that their producers ask again.
    """

    def __init__(self, tx: Tx, queue: str, *, reads: bool = False) -> None:
        self._tx = tx
        self._queue = queue
        self._reads = reads
        self._after = 0
        self._left = MOST_OFFERS

    async def read(self) -> list[tuple[int, list[NewJob]]]:
        """Return the next offers; none at the end."""
        live: list[tuple[int, list[NewJob]]] = []
        while not live and self._left > 0:
            asked = min(LARGE_ROWS, self._left)
            rows = await self._tx.rows("offers", (self._queue, self._after, asked))
            self._left = self._left - asked if len(rows) == asked else 0
            for seq, until, request in rows:
                self._after = seq
                jobs = await self._decode(seq, request)
                if jobs is not None and is_time(until) and until >= self._tx.now:
                    live.append((seq, jobs))
        return live

    async def _decode(self, seq: int, request: bytes) -> list[NewJob] | None:
        try:
            return _decode_jobs(request)
        except (TypeError, *UNREADABLE):
            if not self._reads:
                await _delete_offer(self._tx, seq)
            return None


async def accept_offer(tx: Tx, seq: int, jobs: Sequence[NewJob]) -> Accepted | None:
    """Add an offer's jobs and store the answer for its producer.

    None: the offer was dropped, because another call has added a job with an id of these.
    """
    if await _stored(tx, jobs):
        await _drop_offer(tx, seq)
        return None
    answer = await accept(tx, jobs)
    await tx.change("answer_offer", [(_encode(answer), tx.now + COLLECT_PATIENCE, seq)])
    tx.hint("offer", str(seq))
    return answer


async def delete_old_offers(tx: Tx) -> None:
    """Delete offers whose producers have gone, and answers that were not collected."""
    old = await tx.rows("delete_old_offers", (tx.now, tx.now + LONGEST_PATIENCE))
    if old:
        await tx.many("delete_offered_jobs", old)
        await tx.many("delete_offered_files", old)


async def _row(tx: Tx, new: NewJob, state: State, run_at: float) -> tuple[object, ...]:
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
        None if new.options.key is None else unique_key(new),
        new.options.key_until == "pruned",
    )


async def _delete_offer(tx: Tx, seq: int) -> None:
    for statement in ("delete_offer", "delete_offered_jobs", "delete_offered_files"):
        await tx.rows(statement, (seq,))


async def _drop_offer(tx: Tx, seq: int) -> None:
    """Delete an offer that cannot be accepted. Its producer asks again, and learns why."""
    await _delete_offer(tx, seq)
    tx.hint("offer", str(seq))


async def _offer(tx: Tx, jobs: Sequence[NewJob], queue: QueueState, capacity: int) -> Offered:
    name = jobs[0].queue
    offered = {new.id for new in jobs if await tx.rows("offered", (new.id, tx.now))}
    fresh = admit_keys(jobs, await read_holders(tx, jobs), tx.now).fresh
    check_ids(fresh, offered | await _stored(tx, jobs))
    await make_lanes(tx, [*jobs, *called_by(jobs)])
    request = _encode(list(jobs))
    [(seq,)] = await tx.rows("add_offer", (name, tx.now + OFFER_PATIENCE, request))
    await tx.many("add_offered_job", [(new.id, seq) for new in jobs])
    digests = [(each.digest, seq) for new in jobs for each in new.options.files]
    if digests:
        await tx.many("add_offered_file", digests)
    tx.hint("work", name)  # at a rendezvous only a claim accepts an offer
    return Offered(str(seq), name, queue.depth, capacity)


def is_offer_intact(row: Row) -> bool:
    """Whether the row of an offer can be read."""
    _, queue, until, request, answer = row
    try:
        _decode_jobs(request)
        if answer is not None:
            _decode_answer(answer)
    except (TypeError, *UNREADABLE):
        return False
    return isinstance(queue, str) and is_time(until)


async def _known_offer(tx: Tx, offer: str) -> tuple[str, bytes | None]:
    rows = await tx.rows("offer", (int(offer),)) if _is_offer_id(offer) else []
    check_offer_kept(offer, finite(rows[0][1]) if rows else None, tx.now)
    queue, _, answer = rows[0]
    return queue, answer


def _is_offer_id(offer: str) -> bool:
    """Whether an offer can have this id: a positive integer of 63 bits, in decimal."""
    return offer.isascii() and offer.isdecimal() and len(offer) < 19 and offer[0] != "0"


async def _available(tx: Tx, holders: Iterable[Holder]) -> frozenset[str]:
    """Return the ids of those holders of keys that a full queue could drop: calls meet them."""
    rows = [row for each in holders for row in await tx.rows("get", (each.id,))]
    return frozenset(row[ID] for row in rows if row[STATE] == State.AVAILABLE)


async def _drop_oldest(
    tx: Tx, name: str, queue: QueueState, count: int, spared: frozenset[str]
) -> None:
    why = drop_error(name, queue.capacity)
    while count > 0:
        some = min(LARGE_ROWS, count)
        rows = await tx.rows("oldest", (name, some + len(spared)))
        dropped = [row for row in rows if row[ID] not in spared][:some]
        for row in dropped:
            await end_unrun(tx, to_record(row, name), State.DISCARDED, why)
        count = count - some if dropped else 0

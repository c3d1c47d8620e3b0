"""Enqueueing: the exact capacity, unique keys, and offers that wait for room."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from ...core.capacity import Accept, Offer, fits, is_rendezvous, never_fits
from ...core.history import ENQUEUED, add
from ...core.job import NewJob, State, WhenFull
from ...core.lifecycle import drop_error
from ...core.storable import check_jobs
from ..enqueue_rules import admit_request, check_ids, check_offer_kept
from ..hint_rules import state_hint
from ..messages import COLLECT_PATIENCE, OFFER_PATIENCE, Accepted, Offered
from ..unique_keys import Holder, admit_keys, answer_again, count_fresh, unique_keys
from .callbacks import add_callbacks, end_unrun, make_queues, replace_callbacks
from .data import MemoryData, QueueData, WaitingOffer


def insert(
    memory: MemoryData,
    jobs: Sequence[NewJob],
    *,
    capacity: int | None = None,
    when_full: WhenFull = "wait",
    again: bool = False,
) -> Accepted | Offered:
    """Accept the jobs, all of one queue, or store the request as an offer."""
    check_jobs(jobs)
    if again and (known := _answer_known(memory, jobs)):
        return known
    if not jobs:
        return Accepted(())
    name = jobs[0].queue
    queue = memory.queues.get(name) or QueueData()
    decision = Accept() if capacity is None else _admit(memory, jobs, queue, capacity, when_full)
    check_new_ids(memory, jobs, offered=isinstance(decision, Offer))
    memory.queues[name] = queue
    make_queues(memory, jobs)
    changed, queue.capacity = queue.capacity != capacity, capacity
    answer: Accepted | Offered
    match decision:
        case Accept(drop):
            if drop:
                _drop_oldest(memory, name, drop, _available(_holders(memory, jobs)))
            answer = accept(memory, jobs)
            if drop:
                answer = msgspec.structs.replace(answer, dropped=drop)
        case Offer():
            answer = _offer(memory, jobs, queue, capacity or 0)
    if changed:
        _drop_offers_of_several(memory, name)
        make_room(memory, name)  # the capacity may have been raised
    return answer


def change_capacity(memory: MemoryData, name: str, capacity: int | None) -> None:
    """Change the capacity of a queue, and accept the offers for which there is room now."""
    memory.queue(name).capacity = capacity
    _drop_offers_of_several(memory, name)
    make_room(memory, name)


def check_new_ids(memory: MemoryData, jobs: Sequence[NewJob], *, offered: bool = False) -> None:
    """Raise DuplicateIdError for an id that is in the store or, for an offer, is `offered`."""
    stored = memory.index.jobs
    ids = {new.id for new in jobs}
    if len(ids) == len(jobs) and stored.keys().isdisjoint(ids) and not offered:  # hot path
        return
    known = ids & stored.keys()
    if offered:
        known.update(each for each in ids if memory.waiting_offer(each) is not None)
    check_ids(admit_keys(jobs, _holders(memory, jobs), memory.now).fresh, known)


def _admit(
    memory: MemoryData, jobs: Sequence[NewJob], queue: QueueData, capacity: int, when_full: WhenFull
) -> Accept | Offer:
    name, holders = jobs[0].queue, _holders(memory, jobs)
    return admit_request(
        jobs,
        fresh=count_fresh(jobs, holders, memory.now),
        depth=memory.index.depth(name),
        available=memory.index.counts[name][State.AVAILABLE] - len(_available(holders)),
        offers=len(live_offers(memory, queue)),
        capacity=capacity,
        when_full=when_full,
    )


def _answer_known(memory: MemoryData, jobs: Sequence[NewJob]) -> Accepted | Offered | None:
    """Return the answer to a request that was inserted before; None if it was not."""
    known = memory.index.jobs
    # Another request may have taken the same id for a job of another queue.
    stored = {new.id for new in jobs if new.id in known and known[new.id].queue == new.queue}
    if stored:
        return answer_again(jobs, stored, _holders(memory, jobs))
    name, first = (jobs[0].queue, jobs[0].id) if jobs else ("", "")
    for offer in memory.offers_of_job.get(first, ()):
        waiting = memory.offers[offer]
        offered = waiting.jobs[0]
        if (offered.queue, offered.id) == (name, first) and waiting.until >= memory.now:
            depth = memory.index.depth(name)
            return waiting.answer or Offered(offer, name, depth, memory.queue(name).capacity or 0)
    return None


def _holders(memory: MemoryData, jobs: Sequence[NewJob]) -> dict[str, Holder]:
    """Return the jobs that hold the unique keys of these jobs, by key."""
    return {
        key: Holder(holder, memory.index.jobs[holder])
        for key in unique_keys(jobs)
        if (holder := memory.index.holder(key)) is not None
    }


def accept(memory: MemoryData, jobs: Sequence[NewJob]) -> Accepted:
    """Add the jobs, except those whose unique key is taken, which change its holder or nothing."""
    admission = admit_keys(jobs, _holders(memory, jobs), memory.now)
    fresh = admission.fresh
    for each in admission.rewritten:
        memory.hint(*state_hint(memory.index.rewrite(each.before, each.after)))
        if each.callbacks is not None:
            replace_callbacks(memory, each.after, each.callbacks)
    for new in fresh:  # one that follows a running job takes over its key
        memory.hint(*state_hint(memory.index.add(new, memory.now)))
    if fresh:
        add(memory.happened(fresh[0].queue), ENQUEUED, len(fresh))
    add_callbacks(memory, fresh)
    return admission.answer


def _offer(memory: MemoryData, jobs: Sequence[NewJob], queue: QueueData, capacity: int) -> Offered:
    offer = memory.add_offer(WaitingOffer(jobs, memory.now + OFFER_PATIENCE))
    queue.offers.append(offer)
    name = jobs[0].queue
    memory.hint("work", name)  # at a rendezvous only a claim accepts an offer
    return Offered(offer, name, memory.index.depth(name), capacity)


def accepted(memory: MemoryData, offer: str) -> Accepted | None:
    """Return an offer's answer and delete the offer; without an answer, keep it alive."""
    known = _known_offer(memory, offer)
    if known.answer is not None:
        memory.delete_offer(offer)
    else:
        known.until = memory.now + OFFER_PATIENCE
    return known.answer


def withdraw(memory: MemoryData, offer: str) -> Accepted | None:
    """Delete an offer; return its answer if it has been accepted already."""
    known = _known_offer(memory, offer)
    memory.delete_offer(offer)
    if known.answer is None:
        name = known.jobs[0].queue
        memory.queue(name).offers.remove(offer)
        make_room(memory, name)  # a smaller offer behind it may fit
    return known.answer


def _known_offer(memory: MemoryData, offer: str) -> WaitingOffer:
    known = memory.offers.get(offer)
    check_offer_kept(offer, None if known is None else known.until, memory.now)
    return memory.offers[offer]


def make_room(memory: MemoryData, name: str) -> None:
    """Accept offers, oldest first, while there is room."""
    queue = memory.queue(name)
    if not queue.offers or is_rendezvous(queue.capacity):
        return
    for offer in list(live_offers(memory, queue)):
        jobs = memory.offers[offer].jobs
        size = count_fresh(jobs, _holders(memory, jobs), memory.now)
        if never_fits(size, queue.capacity):  # the capacity was lowered
            _drop_offer(memory, name, offer)
        elif fits(size, depth=memory.index.depth(name), capacity=queue.capacity):
            accept_offer(memory, name, offer)
        else:
            return


def _drop_offers_of_several(memory: MemoryData, name: str) -> None:
    """Drop the offers that have no room at a rendezvous, if the queue has become one."""
    queue = memory.queue(name)
    if is_rendezvous(queue.capacity):
        for offer in list(live_offers(memory, queue)):
            if len(memory.offers[offer].jobs) > 1:
                _drop_offer(memory, name, offer)


def _drop_offer(memory: MemoryData, name: str, offer: str) -> None:
    """Delete an offer that cannot be accepted. Its producer asks again, and learns why."""
    memory.queue(name).offers.remove(offer)
    memory.delete_offer(offer)
    memory.hint("offer", offer)


def live_offers(memory: MemoryData, queue: QueueData) -> deque[str]:
    """Return the offers of a queue whose producers still wait, oldest first."""
    for offer in [each for each in queue.offers if memory.offers[each].until < memory.now]:
        queue.offers.remove(offer)
        memory.delete_offer(offer)
    return queue.offers


def accept_offer(memory: MemoryData, name: str, offer: str) -> Accepted | None:
    """Add an offer's jobs and store the answer for its producer.

    None: the offer was dropped, because another call has added a job with an id of these.
    """
    waiting = memory.offers[offer]
    if any(new.id in memory.index.jobs for new in waiting.jobs):
        _drop_offer(memory, name, offer)
        return None
    memory.queue(name).offers.remove(offer)
    waiting.answer = accept(memory, waiting.jobs)
    # The jobs stay even if the producer never collects the answer.
    waiting.until = memory.now + COLLECT_PATIENCE
    memory.hint("offer", offer)
    return waiting.answer


def _available(holders: Mapping[str, Holder]) -> frozenset[str]:
    """Return the ids of those holders of keys that a full queue could drop: calls meet them."""
    jobs = [each.job for each in holders.values() if each.job is not None]
    return frozenset(job.id for job in jobs if job.state is State.AVAILABLE)


def _drop_oldest(memory: MemoryData, name: str, count: int, spared: frozenset[str]) -> None:
    for _ in range(count):
        job = memory.index.oldest_available(name, spared)
        if job is None:
            return
        why = drop_error(name, memory.queue(name).capacity)
        end_unrun(memory, job, State.DISCARDED, why)

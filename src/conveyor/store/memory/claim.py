"""Claims, leases and results: every write of a worker names its lease."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...core import lifecycle
from ...core.capacity import is_rendezvous
from ...core.conflicts import needs_key, supersede
from ...core.history import count_alike, count_completed, count_move, count_started
from ...core.job import (
    AVAILABLE,
    COMPLETED,
    RUNNING,
    JobRecord,
    OutputChunk,
    Progress,
    State,
    StopNote,
)
from ...core.lifecycle import EXPIRED, LeaseTerms, Outcome, Transition
from ...core.page import PAGE_BYTES
from ...core.storable import bounded_steps, checked_progress
from ..enqueue_rules import rendezvous_offers, with_declared
from ..hint_rules import state_hint
from ..lease_rules import lease_terms, lost, renewal
from ..list_rules import claim_size
from ..messages import NO_CLAIMANT, Claimant, Exchanged, Lease, Renewal, Report, Want
from ..unique_keys import unique_key
from .callbacks import add_missing, end_unrun, ended
from .data import MemoryData
from .enqueue import accept_offer, live_offers, make_room


def claim(
    memory: MemoryData, wants: Sequence[Want], claimant: Claimant, *, limit: int
) -> Exchanged:
    """Claim available jobs."""
    return exchange(memory, (), wants, claimant, limit=limit)


def settle(memory: MemoryData, reports: Sequence[Report]) -> Exchanged:
    """Record the outcomes of attempts."""
    return exchange(memory, reports, (), NO_CLAIMANT, limit=0)


def exchange(
    memory: MemoryData,
    reports: Sequence[Report],
    wants: Sequence[Want],
    claimant: Claimant,
    *,
    limit: int,
) -> Exchanged:
    """Settle one batch, then claim the next."""
    settled, became = _settle(memory, reports)
    jobs: list[JobRecord] = []
    room = PAGE_BYTES
    if claimant.worker in memory.orders:
        return Exchanged(tuple(settled), (), became)
    for want in _stocked(memory, wants):
        if len(jobs) < limit and room > 0:
            most = min(want.limit, limit - len(jobs))
            claimed, room = _claim(memory, want.queue, claimant, most, room)
            jobs += claimed
    return Exchanged(tuple(settled), tuple(jobs), became)


def _stocked(memory: MemoryData, wants: Sequence[Want]) -> list[Want]:
    """Return the wants from which a claim may get a job: one that is available or offered."""
    queues, counts, available = memory.queues, memory.index.counts, AVAILABLE
    return [
        want
        for want in wants
        if (queue := queues.get(want.queue)) is not None
        and (counts[want.queue][available] or queue.offers)
        and not queue.paused
    ]


def _settle(memory: MemoryData, reports: Sequence[Report]) -> tuple[list[str], dict[str, State]]:
    settled: list[str] = []
    completed: list[JobRecord] = []
    became: dict[str, State] = {}
    for report in reports:
        job = held(memory, report.id, report.lease)
        if job is not None:
            move = end_attempt(memory, job, report.outcome)
            settled.append(report.id)
            if move.state is COMPLETED:
                completed.append(job)
            else:
                became[report.id] = move.state
    _count_completed(memory, completed)
    return settled, became


def _count_completed(memory: MemoryData, jobs: Sequence[JobRecord]) -> None:
    batches = count_alike([job.queue for job in jobs], [job.started_at for job in jobs])
    for (queue, started_at), number in batches.items():
        count_completed(memory.happened(queue), started_at, number, memory.now)


def end_attempt(memory: MemoryData, job: JobRecord, outcome: Outcome) -> Transition:
    """Apply the transition that the lifecycle decides for a running job.

    A success is counted in the history with the others of its batch.
    """
    move = lifecycle.settle(job, outcome, draw=memory.draw)
    if needs_key(job, move) and memory.index.holder(unique_key(job)) != job.id:
        move = supersede(job, move)
    if move.state is not COMPLETED:
        happened = memory.happened(job.queue)
        count_move(happened, job, move.state, memory.now, is_refunded=move.refund_attempt)
    job = memory.index.apply(job, move, memory.now)
    if memory.reasons and job.is_final:
        memory.reasons.pop(job.id, None)
    memory.hint(*state_hint(job))
    if memory.callbacks and job.is_final:
        ended(memory, job, move.error)
    return move


def end_lost(memory: MemoryData, job: JobRecord, outcome: Outcome) -> None:
    """End the attempt of a running job that no worker reports on."""
    move = end_attempt(memory, job, outcome)
    if move.state is State.DISCARDED and move.error is not None:
        memory.discards.append((job, move.error))


def _claim(
    memory: MemoryData, name: str, claimant: Claimant, limit: int, room: int
) -> tuple[list[JobRecord], int]:
    """Claim jobs until they have `room` bytes; return how much of that is left, too."""
    queue = memory.queues[name]
    claimed: list[JobRecord] = []
    waiting = memory.index.available(name, claimant.labels)
    terms = lease_terms(claimant, memory.now)
    started: list[JobRecord] = []
    while len(claimed) < limit and room > 0 and (job := next(waiting, None)) is not None:
        leased = _lease_or_expire(memory, job, terms)
        if leased is not None:
            claimed.append(leased)
            started.append(job)
            room -= claim_size(leased)
    if started:
        count_started(memory.happened(name), started, memory.now)
    make_room(memory, name)
    if is_rendezvous(queue.capacity):
        met, room = _meet(memory, name, claimant.labels, terms, limit - len(claimed), room)
        claimed += met
    return claimed, room


def _meet(
    memory: MemoryData,
    name: str,
    labels: frozenset[str],
    terms: LeaseTerms,
    limit: int,
    room: int,
) -> tuple[list[JobRecord], int]:
    """Claim offered jobs directly from their producers, at a rendezvous."""
    met: list[JobRecord] = []
    live = [(each, memory.offers[each].jobs) for each in live_offers(memory, memory.queue(name))]
    for offer, [new] in rendezvous_offers(live, labels):
        if len(met) == limit or room <= 0:
            break
        answer = accept_offer(memory, name, offer)
        if answer is not None and not answer.existing:
            job = memory.index.jobs[new.id]
            leased = _lease_or_expire(memory, job, terms)
            if leased is not None:
                count_started(memory.happened(name), [job], memory.now)
                met.append(leased)
                room -= claim_size(leased)
    return met, room


def _lease_or_expire(memory: MemoryData, job: JobRecord, terms: LeaseTerms) -> JobRecord | None:
    if lifecycle.has_expired(job, memory.now):
        expire(memory, job)
        return None
    declared = None if job.options.given is None else memory.tasks.get(job.task)
    if declared is not None:
        options = with_declared(job.options, declared.options)
        job = msgspec.structs.replace(job, options=options)
        add_missing(memory, job, declared.callbacks)
    return memory.index.put(lifecycle.claim(job, terms))


def expire(memory: MemoryData, job: JobRecord) -> None:
    """Discard a waiting job that expired."""
    end_unrun(memory, job, State.DISCARDED, EXPIRED)


def held(memory: MemoryData, job_id: str, number: int) -> JobRecord | None:
    """Return a running job if `number` is its present lease."""
    job = memory.index.jobs.get(job_id)
    valid = job is not None and job.state is RUNNING and job.lease == number
    return job if valid else None


def extend(memory: MemoryData, leases: Sequence[Lease], *, lease_for: float) -> list[Renewal]:
    """Renew leases; return one verdict for each."""
    renewals: list[Renewal] = []
    for each in leases:
        job = held(memory, each.id, each.lease)
        if job is not None:
            _renew(memory, job, lease_for)
        renewals.append(_verdict(memory, each.id, job))
    return renewals


def _verdict(memory: MemoryData, job_id: str, job: JobRecord | None) -> Renewal:
    if job is None:
        return lost(job_id)
    return renewal(
        job_id,
        cancel_requested_at=job.cancel_requested_at,
        reason=memory.reasons.get(job_id),
        forced=job.cancel_forced,
    )


def extend_worker(memory: MemoryData, worker: str, *, lease_for: float) -> int:
    """Renew every confirmed lease of a worker."""
    mine = [
        job
        for job in memory.index.running_jobs()
        if job.worker == worker and job.started_at is not None
    ]
    for job in mine:
        _renew(memory, job, lease_for)
    return len(mine)


def _renew(memory: MemoryData, job: JobRecord, lease_for: float) -> None:
    started_at = memory.now if job.started_at is None else job.started_at
    until = memory.now + lease_for
    memory.index.put(msgspec.structs.replace(job, lease_until=until, started_at=started_at))


def write_output(memory: MemoryData, chunks: Sequence[OutputChunk]) -> list[Renewal]:
    """Append output; return one verdict for each lease."""
    verdicts: dict[tuple[str, int], Renewal] = {}
    for chunk in chunks:
        job = held(memory, chunk.job_id, chunk.lease)
        verdicts[chunk.job_id, chunk.lease] = _verdict(memory, chunk.job_id, job)
        if job is None:
            continue
        kept = memory.index.output[chunk.job_id]
        if any((each.lease, each.offset) == (chunk.lease, chunk.offset) for each in kept):
            continue
        memory.chunks += 1
        kept.append(msgspec.structs.replace(chunk, seq=memory.chunks))
        memory.hint("output", chunk.job_id)
    return list(verdicts.values())


def set_progress(memory: MemoryData, reports: Sequence[tuple[Lease, Progress]]) -> list[Renewal]:
    """Record progress; return one verdict for each lease."""
    return _note(memory, [(each, {"progress": new}) for each, new in checked_progress(reports)])


def set_stopping(
    memory: MemoryData, reports: Sequence[tuple[Lease, Sequence[StopNote]]]
) -> list[Renewal]:
    """Record the steps taken to stop jobs; return one verdict for each lease."""
    steps = bounded_steps(reports)
    return _note(memory, [(each, {"stopping": tuple(notes)}) for each, notes in steps])


def _note(memory: MemoryData, reports: Sequence[tuple[Lease, dict[str, object]]]) -> list[Renewal]:
    verdicts: list[Renewal] = []
    for each, changed in reports:
        job = held(memory, each.id, each.lease)
        verdicts.append(_verdict(memory, each.id, job))
        if job is not None:
            memory.index.put(msgspec.structs.replace(job, **changed))
    return verdicts

"""Claims, leases and results: every write of a worker names its lease."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import msgspec

from ....core import lifecycle
from ....core.capacity import is_rendezvous
from ....core.history import count_alike, count_completed, count_started
from ....core.job import JobRecord, OutputChunk, Progress, State, StopNote
from ....core.labels import serves
from ....core.lifecycle import Outcome, Succeeded, Transition
from ....core.page import PAGE_BYTES
from ....core.storable import bounded_steps, checked_progress
from ...enqueue_rules import rendezvous_offers, with_declared
from ...lease_rules import lease_terms, lost, renewal
from ...messages import NO_CLAIMANT, Claimant, Exchanged, Lease, Renewal, Report, Want
from ..rows import (
    LANE,
    Row,
    checksum,
    claim_order,
    decode_labels,
    encode_options,
    finite,
    stored_size,
    to_record,
)
from ..transaction import Tx
from .callbacks import add_missing, ended
from .discards import discard_damaged, expire
from .enqueue import LiveOffers, accept_offer, has_offers, make_room
from .key_holders import unless_superseded
from .lanes import labels_of_next
from .tasks import task_defaults
from .transitions import apply

# How many rows of a queue a claim reads before it knows how large its jobs are.
FIRST_HEADS = 16

Success = tuple[bytes | None, int | None, float, str, int]

_encode = msgspec.json.Encoder().encode


async def claim(tx: Tx, wants: Sequence[Want], claimant: Claimant, *, limit: int) -> Exchanged:
    """Claim available jobs."""
    return await exchange(tx, (), wants, claimant, limit=limit)


async def settle(tx: Tx, reports: Sequence[Report]) -> Exchanged:
    """Record the outcomes of attempts."""
    return await exchange(tx, reports, (), NO_CLAIMANT, limit=0)


async def exchange(
    tx: Tx, reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, *, limit: int
) -> Exchanged:
    """Settle one batch, then claim the next."""
    if wants:
        await tx.lock_worker(claimant.worker, shared=True)
        if await tx.rows("is_held_back", (claimant.worker,)):
            wants = ()
    await tx.read_stocked([want.queue for want in wants])
    # Queues come before running jobs: an application that holds a queue may complete one of these.
    offering = await _lock_offering_queues(tx, wants)
    await tx.lock_jobs(report.id for report in reports)
    settled, became = await _settle(tx, reports)
    jobs: list[JobRecord] = []
    room = PAGE_BYTES
    for want in wants:
        if len(jobs) < limit and room > 0 and tx.is_stocked(want.queue):
            most, offers = min(want.limit, limit - len(jobs)), want.queue in offering
            claimed, room = await _claim(tx, want.queue, claimant, most, room, has_offers=offers)
            jobs += claimed
    return Exchanged(tuple(settled), tuple(jobs), became)


async def _lock_offering_queues(tx: Tx, wants: Sequence[Want]) -> set[str]:
    """Lock the bounded queues at which producers wait, because a claim makes room there.

    Not one that an application holds for long: claims of its jobs do not wait for that.
    """
    offering: set[str] = set()
    for want in wants:
        queue = await tx.used_queue(want.queue) if tx.is_stocked(want.queue) else None
        bounded = queue is not None and queue.capacity is not None
        if bounded and await has_offers(tx, want.queue):
            offering.add(want.queue)
    return {name for name in sorted(offering) if await tx.try_lock_queue(name)}


async def extend(tx: Tx, leases: Sequence[Lease], *, lease_for: float) -> list[Renewal]:
    """Renew leases; return one verdict for each."""
    until = tx.now + lease_for
    await tx.lock_jobs(each.id for each in leases)
    rows = await tx.many("extend", [(until, tx.now, each.id, each.lease) for each in leases])
    held = {(job_id, lease): [tuple(wanted)] for job_id, lease, *wanted in rows}
    return [_verdict(each.id, held.get((each.id, each.lease), ())) for each in leases]


async def extend_worker(tx: Tx, worker: str, *, lease_for: float) -> int:
    """Renew every confirmed lease of a worker."""
    return len(await tx.rows("extend_worker", (tx.now + lease_for, worker)))


async def write_output(tx: Tx, chunks: Sequence[OutputChunk]) -> list[Renewal]:
    """Append output; return one verdict for each lease."""
    await tx.lock_jobs(chunk.job_id for chunk in chunks)
    held: dict[tuple[str, int], list[Row]] = {}
    rows: list[tuple[object, ...]] = []
    for chunk in chunks:
        key = chunk.job_id, chunk.lease
        if key not in held:
            held[key] = await tx.rows("held", key)
            if held[key]:
                tx.hint("output", chunk.job_id)
        for seq, *_ in held[key]:
            rows.append((seq, chunk.lease, chunk.offset, chunk.stream, chunk.at, chunk.data))
    await tx.many("write_output", rows)
    return [_verdict(job_id, [row[1:] for row in found]) for (job_id, _), found in held.items()]


async def set_progress(tx: Tx, reports: Sequence[tuple[Lease, Progress]]) -> list[Renewal]:
    """Record progress; return one verdict for each lease."""
    await tx.lock_jobs(each.id for each, _ in reports)
    encoded = [(each, _encode(progress)) for each, progress in checked_progress(reports)]
    return [
        _verdict(each.id, await tx.rows("set_progress", (progress, each.id, each.lease)))
        for each, progress in encoded
    ]


async def set_stopping(
    tx: Tx, reports: Sequence[tuple[Lease, Sequence[StopNote]]]
) -> list[Renewal]:
    """Record the steps taken to stop jobs; return one verdict for each lease."""
    await tx.lock_jobs(each.id for each, _ in reports)
    encoded = [(each, _encode(notes)) for each, notes in bounded_steps(reports)]
    return [
        _verdict(each.id, await tx.rows("set_stopping", (notes, each.id, each.lease)))
        for each, notes in encoded
    ]


def _verdict(job_id: str, rows: Sequence[Row]) -> Renewal:
    if not rows:
        return lost(job_id)
    requested_at, reason, forced = rows[0]
    told = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
    return renewal(job_id, cancel_requested_at=requested_at, reason=told, forced=bool(forced))


async def _settle(tx: Tx, reports: Sequence[Report]) -> tuple[list[str], dict[str, State]]:
    done: list[Success] = []
    settled: list[str] = []
    became: dict[str, State] = {}
    for report in reports:
        outcome = report.outcome
        if isinstance(outcome, Succeeded) and lifecycle.fits(outcome):
            result = outcome.result
            total = None if result is None else crc32(result)
            done.append((result, total, tx.now, report.id, report.lease))
            continue
        job = await _held(tx, report.id, report.lease)
        if job is not None:
            move = await end_attempt(tx, job, outcome)
            settled.append(report.id)
            if move.state is not State.COMPLETED:
                became[report.id] = move.state
    return settled + await _succeed(tx, done), became


async def _succeed(tx: Tx, done: Sequence[Success]) -> list[str]:
    # Hot path: `lifecycle.settle` completes a job that succeeded whatever its row says, so the row
    # is not read.
    rows = await tx.many("succeed", done)
    ids = [row[0] for row in rows]
    batches = count_alike([row[1] for row in rows], [row[2] for row in rows])
    for (lane, started_at), count in batches.items():
        queue = await tx.queue_of(lane)
        await tx.tally(queue, State.RUNNING, -count)
        await tx.tally(queue, State.COMPLETED, count)
        since = None if started_at is None else finite(started_at)
        count_completed(await tx.happened(queue), since, count, tx.now)
    tx.hint("final", *ids)
    await ended(tx, [(row[3], State.COMPLETED, None) for row in rows])
    return ids


async def end_attempt(tx: Tx, job: JobRecord, outcome: Outcome) -> Transition:
    """Apply the transition that the lifecycle decides for a running job."""
    move = await unless_superseded(tx, job, lifecycle.settle(job, outcome, draw=tx.draw))
    await apply(tx, job, move)
    return move


async def end_lost(tx: Tx, job: JobRecord, outcome: Outcome) -> None:
    """End the attempt of a running job that no worker reports on."""
    move = await end_attempt(tx, job, outcome)
    if move.state is State.DISCARDED and move.error is not None:
        tx.discards.append((job, move.error))


async def _held(tx: Tx, job_id: str, lease: int) -> JobRecord | None:
    rows = await tx.rows("get", (job_id,))
    if not rows:
        return None
    job = to_record(rows[0], await tx.queue_of(rows[0][LANE]))
    return job if job.state is State.RUNNING and job.lease == lease else None


async def _claim(
    tx: Tx, name: str, claimant: Claimant, limit: int, room: int, *, has_offers: bool
) -> tuple[list[JobRecord], int]:
    """Claim jobs until they have `room` bytes; return how much of that is left, too."""
    queue = await tx.used_queue(name)
    lanes = await _lanes(tx, name, claimant) if queue.counts[State.AVAILABLE] > 0 else []
    claimed: list[JobRecord] = []
    at_once = FIRST_HEADS
    while len(claimed) < limit and room > 0 and queue.counts[State.AVAILABLE] > 0:
        heads = await _heads(tx, lanes, min(at_once, limit - len(claimed)))
        if not heads:
            break
        heads, room, at_once = _cut_heads(heads, room)
        claimed += await _lease(tx, name, heads, claimant)
    if has_offers:
        await make_room(tx, name)
        if is_rendezvous(queue.capacity):
            met, room = await _meet(tx, name, claimant, limit - len(claimed), room)
            claimed += met
    return claimed, room


def _cut_heads(rows: list[Row], room: int) -> tuple[list[Row], int, int]:
    """Return the rows that fill the room, the room that is left, and how many more may fit there.

    Sizes are known only of rows that were read, so few are read before it is known how large they
    are.
    """
    left = room
    for number, row in enumerate(rows):
        left -= stored_size(row)
        if left <= 0:
            return rows[: number + 1], 0, 0
    mean = (room - left) // len(rows)
    return rows, left, 1 + left // (mean + 1)


async def _lanes(tx: Tx, name: str, claimant: Claimant) -> list[int]:
    """Return the lanes of a queue whose jobs a claimant may run."""
    lanes: list[int] = []
    for lane, requires in await tx.rows("lanes", (name,)):
        labels: tuple[str, ...] | JobRecord | None = decode_labels(requires)
        if labels is None:
            labels = await labels_of_next(tx, lane, name)
        if isinstance(labels, JobRecord):
            await discard_damaged(tx, labels)
        elif serves(claimant.labels, frozenset(labels)):
            lanes.append(lane)
    return lanes


async def _heads(tx: Tx, lanes: Sequence[int], limit: int) -> list[Row]:
    """Return the next rows of several lanes in the order of claiming."""
    if len(lanes) == 1:
        return await tx.rows("heads", (lanes[0], limit))
    rows = [row for lane in lanes for row in await tx.rows("heads", (lane, limit))]
    rows.sort(key=claim_order)
    return rows[:limit]


async def _lease(tx: Tx, name: str, rows: Sequence[Row], claimant: Claimant) -> list[JobRecord]:
    leased: list[JobRecord] = []
    before: list[JobRecord] = []
    terms = lease_terms(claimant, tx.now)
    for row in rows:
        job = to_record(row, name)
        if job.damage:
            await discard_damaged(tx, job)
        elif lifecycle.has_expired(job, tx.now):
            await expire(tx, job)
        else:
            if job.options.given is not None:
                job = await _completed(tx, job)
            before.append(job)
            leased.append(lifecycle.claim(job, terms))
    await tx.change(
        "lease",
        [(job.worker, job.lease_until, job.started_at, job.seq, job.lease - 1) for job in leased],
    )
    await tx.tally(name, State.AVAILABLE, -len(leased))
    await tx.tally(name, State.RUNNING, len(leased))
    count_started(await tx.happened(name), before, tx.now)
    return leased


async def _completed(tx: Tx, job: JobRecord) -> JobRecord:
    """Return a job with the options that its task has declared since it was enqueued by name."""
    declared = await task_defaults(tx, job.task)
    if declared is None:
        return job
    options = with_declared(job.options, declared.options)
    encoded = encode_options(options)
    total = checksum(job.id, job.task, job.args, encoded)
    await tx.change("set_options", [(encoded, total, job.seq, job.lease)])
    await add_missing(tx, job, declared.callbacks)
    return msgspec.structs.replace(job, options=options)


async def _meet(
    tx: Tx, name: str, claimant: Claimant, limit: int, room: int
) -> tuple[list[JobRecord], int]:
    """Claim offered jobs directly from their producers, at a rendezvous."""
    met: list[JobRecord] = []
    offers = LiveOffers(tx, name)
    while len(met) < limit and room > 0 and (some := await offers.read()):
        for seq, jobs in rendezvous_offers(some, claimant.labels):
            if len(met) == limit or room <= 0:
                break
            answer = await accept_offer(tx, seq, jobs)
            if answer is not None and not answer.existing:
                rows = await tx.rows("get", (jobs[0].id,))
                met += await _lease(tx, name, rows, claimant)
                room -= sum(map(stored_size, rows))
    return met, room

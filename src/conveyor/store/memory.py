"""The memory store: jobs that live and end with the process. It is the specification.

What every other store must do can be read here; the conformance suite and the model test hold them
to it. It is meant for production too, within one process: any thread and any event loop may call.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from .. import lifecycle
from ..capacity import Accept, Offer, Refuse, admit, room
from ..clock import Clock, SystemClock
from ..errors import InvalidTransitionError, NotFoundError, QueueFullError, UnavailableError
from ..job import (
    AttemptError,
    ErrorInfo,
    JobRecord,
    NewJob,
    OutputChunk,
    Progress,
    QueueInfo,
    ScheduleInfo,
    State,
    WhenFull,
    WorkerInfo,
)
from ..lifecycle import Crashed, Outcome
from ..pending import Pending, failed, ready
from ..retry import Draw
from .labels import serves
from .ledger import Ledger
from .protocol import (
    COLLECT_PATIENCE,
    OFFER_PATIENCE,
    Accepted,
    Claimant,
    Exchanged,
    Filter,
    Hint,
    HintKind,
    Lease,
    Listener,
    Offered,
    Renewal,
    Report,
    Staged,
    Want,
)

T = TypeVar("T")

EXPIRED = ErrorInfo("Expired", "it was not started before its expires_at")
LEASE_ENDED = ErrorInfo("WorkerLost", "its lease ended: the worker was frozen or cut off")
WORKER_DIED = ErrorInfo("WorkerLost", "the worker's process died")


class _Offer(msgspec.Struct):
    """A request that waits for room, and the answer once there was some."""

    jobs: Sequence[NewJob]
    until: float
    answer: Accepted | None = None


class _Queue(msgspec.Struct):
    """What is known of a queue beside its jobs."""

    capacity: int | None = None
    paused: bool = False
    offers: deque[str] = msgspec.field(default_factory=deque)


class MemoryStore:
    """Jobs in the memory of this process. `draw` gives the randomness of retry jitter."""

    shared = False
    url = "memory:"

    def __init__(self, clock: Clock | None = None, draw: Draw = random.random) -> None:
        self._clock = clock or SystemClock()
        self._draw = draw
        self._lock = threading.RLock()
        self._books = Ledger()
        self._queues: dict[str, _Queue] = {}
        self._offers: dict[str, _Offer] = {}
        self._offer_numbers = 0
        self._chunks = 0
        self._schedules: dict[str, ScheduleInfo] = {}
        self._workers: dict[str, WorkerInfo] = {}
        self._reasons: dict[str, str] = {}
        self._listeners: dict[int, tuple[frozenset[HintKind], Listener]] = {}
        self._heard: dict[HintKind, dict[str, None]] = {}
        self._closed = False

    def now(self) -> float:
        return self._clock.now()

    # -- producers -----------------------------------------------------------------------------

    def insert(
        self, jobs: Sequence[NewJob], *, capacity: int | None = None, when_full: WhenFull = "wait"
    ) -> Pending[Accepted | Offered]:
        return self._do(self._insert, jobs, capacity, when_full)

    def accepted(self, offer: str) -> Pending[Accepted | None]:
        return self._do(self._accepted, offer)

    def withdraw(self, offer: str) -> Pending[Accepted | None]:
        return self._do(self._withdraw, offer)

    def _insert(
        self, jobs: Sequence[NewJob], capacity: int | None, when_full: WhenFull
    ) -> Accepted | Offered:
        if not jobs:
            return Accepted(())
        name = jobs[0].queue
        queue = self._queues.get(name) or _Queue()
        decision = admit(
            size=self._size(jobs, capacity),
            depth=self._books.depth(name),
            available=self._books.counts[name][State.AVAILABLE],
            offers=len(self._live_offers(queue)),
            capacity=capacity,
            when_full=when_full,
        )
        if isinstance(decision, Refuse):
            raise QueueFullError(name, self._books.depth(name), capacity or 0, len(jobs))
        self._queues[name] = queue
        queue.capacity = capacity
        match decision:
            case Accept(drop):
                self._drop_oldest(name, drop)
                return self._accept(jobs)
            case Offer():
                return self._offer(jobs, queue, capacity or 0)

    def _size(self, jobs: Sequence[NewJob], capacity: int | None) -> int:
        """Return how much room the jobs take. At a rendezvous they come one at a time."""
        return len(jobs) if capacity == 0 and len(jobs) > 1 else len(self._fresh(jobs))

    def _fresh(self, jobs: Sequence[NewJob]) -> list[NewJob]:
        """Return the jobs that are not kept out by a unique key, in the store or among them."""
        seen: set[tuple[str, str]] = set()
        fresh: list[NewJob] = []
        for job in jobs:
            key = job.options.key
            if key is not None:
                if (job.task, key) in seen or self._books.holder(job) is not None:
                    continue
                seen.add((job.task, key))
            fresh.append(job)
        return fresh

    def _accept(self, jobs: Sequence[NewJob]) -> Accepted:
        now = self.now()
        ids: list[str] = []
        existing: list[str] = []
        for new in jobs:
            holder = self._books.holder(new)
            if holder is None:
                ids.append(self._books.add(new, now).id)
            else:
                ids.append(holder)
                existing.append(holder)
        if len(existing) < len(ids):
            self._say("work", jobs[0].queue)
        return Accepted(tuple(ids), tuple(existing))

    def _offer(self, jobs: Sequence[NewJob], queue: _Queue, capacity: int) -> Offered:
        self._offer_numbers += 1
        offer = str(self._offer_numbers)
        self._offers[offer] = _Offer(jobs, self.now() + OFFER_PATIENCE)
        queue.offers.append(offer)
        name = jobs[0].queue
        self._say("work", name)  # at a rendezvous a worker has to come for it
        return Offered(offer, name, self._books.depth(name), capacity)

    def _accepted(self, offer: str) -> Accepted | None:
        known = self._known_offer(offer)
        if known.answer is not None:
            del self._offers[offer]
        else:
            known.until = self.now() + OFFER_PATIENCE
        return known.answer

    def _withdraw(self, offer: str) -> Accepted | None:
        known = self._known_offer(offer)
        del self._offers[offer]
        if known.answer is None:
            name = known.jobs[0].queue
            self._queue(name).offers.remove(offer)
            self._make_room(name)  # a smaller one behind it may fit
        return known.answer

    def _known_offer(self, offer: str) -> _Offer:
        known = self._offers.get(offer)
        if known is None or known.until < self.now():
            raise NotFoundError(f"offer {offer} was collected, withdrawn or dropped for silence")
        return known

    def _live_offers(self, queue: _Queue) -> deque[str]:
        now = self.now()
        for offer in [each for each in queue.offers if self._offers[each].until < now]:
            queue.offers.remove(offer)
            del self._offers[offer]
        return queue.offers

    def _make_room(self, name: str) -> None:
        """Accept offers, the oldest first, as far as there is room."""
        queue = self._queue(name)
        for offer in list(self._live_offers(queue)) if queue.capacity != 0 else ():
            size = len(self._fresh(self._offers[offer].jobs))
            if size > room(depth=self._books.depth(name), capacity=queue.capacity):
                return
            self._accept_offer(name, offer)

    def _accept_offer(self, name: str, offer: str) -> Accepted:
        waiting = self._offers[offer]
        self._queue(name).offers.remove(offer)
        waiting.answer = self._accept(waiting.jobs)
        # The producer may be slow to collect it; the jobs are in the store all the same.
        waiting.until = self.now() + COLLECT_PATIENCE
        self._say("offer", offer)
        return waiting.answer

    def _drop_oldest(self, name: str, count: int) -> None:
        for _ in range(count):
            job = self._books.oldest_available(name)
            if job is None:
                return
            capacity = self._queue(name).capacity
            why = f"queue {name!r} was full ({capacity}) and drops its oldest job for a new one"
            self._books.end(job, State.DISCARDED, ErrorInfo("Dropped", why), self.now())
            self._say("final", job.id)

    # -- workers -------------------------------------------------------------------------------

    def claim(self, wants: Sequence[Want], who: Claimant, *, limit: int) -> Pending[Exchanged]:
        return self._do(self._exchange, (), wants, who, limit)

    def settle(self, reports: Sequence[Report]) -> Pending[Exchanged]:
        return self._do(self._exchange, reports, (), Claimant(""), 0)

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], who: Claimant, *, limit: int
    ) -> Pending[Exchanged]:
        return self._do(self._exchange, reports, wants, who, limit)

    def extend(self, leases: Sequence[Lease], *, lease_for: float) -> Pending[list[Renewal]]:
        return self._do(self._extend, leases, lease_for)

    def extend_worker(self, worker: str, *, lease_for: float) -> Pending[int]:
        return self._do(self._extend_worker, worker, lease_for)

    def write_output(self, chunks: Sequence[OutputChunk]) -> Pending[list[str]]:
        return self._do(self._write_output, chunks)

    def set_progress(self, reports: Sequence[tuple[Lease, Progress]]) -> Pending[list[str]]:
        return self._do(self._set_progress, reports)

    def _exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], who: Claimant, limit: int
    ) -> Exchanged:
        settled = [report.id for report in reports if self._settle(report)]
        jobs: list[JobRecord] = []
        for want in wants:
            jobs += self._claim(want.queue, who, min(want.limit, limit - len(jobs)))
        return Exchanged(tuple(settled), tuple(jobs))

    def _settle(self, report: Report) -> bool:
        job = self._held(report.id, report.lease)
        if job is None:
            return False
        self._end_attempt(job, report.outcome)
        return True

    def _end_attempt(self, job: JobRecord, outcome: Outcome) -> None:
        job = self._books.apply(job, lifecycle.settle(job, outcome, draw=self._draw), self.now())
        if job.is_final:
            self._reasons.pop(job.id, None)
            self._say("final", job.id)
        else:
            self._say("work", job.queue)

    def _claim(self, name: str, who: Claimant, limit: int) -> list[JobRecord]:
        queue = self._queues.get(name)
        if queue is None or queue.paused:
            return []
        claimed: list[JobRecord] = []
        while len(claimed) < limit:
            job = self._books.first_available(name, who.labels)
            if job is None:
                break
            if self._has_expired(job):
                self._expire(job)
            else:
                claimed.append(self._lease(job, who))
        self._make_room(name)
        if queue.capacity == 0:
            claimed += self._meet(name, who, limit - len(claimed))
        return claimed

    def _meet(self, name: str, who: Claimant, limit: int) -> list[JobRecord]:
        """Take jobs out of the hands of their producers: a rendezvous, one job an offer."""
        met: list[JobRecord] = []
        for offer in list(self._live_offers(self._queue(name))):
            [new] = self._offers[offer].jobs
            if len(met) == limit:
                break
            if serves(who.labels, frozenset(new.options.requires)):
                accepted = self._accept_offer(name, offer)
                if not accepted.existing:
                    met.append(self._lease(self._books.jobs[new.id], who))
        return met

    def _lease(self, job: JobRecord, who: Claimant) -> JobRecord:
        now = self.now()
        return self._books.put(
            msgspec.structs.replace(
                job,
                state=State.RUNNING,
                attempt=job.attempt + 1,
                lease=job.lease + 1,
                worker=who.worker,
                lease_until=now + who.lease_for,
                started_at=now,
            )
        )

    def _held(self, job_id: str, lease: int) -> JobRecord | None:
        job = self._books.jobs.get(job_id)
        held = job is not None and job.state is State.RUNNING and job.lease == lease
        return job if held else None

    def _extend(self, leases: Sequence[Lease], lease_for: float) -> list[Renewal]:
        renewals: list[Renewal] = []
        for lease in leases:
            job = self._held(lease.id, lease.lease)
            if job is None:
                renewals.append(Renewal(lease.id, "lost"))
                continue
            self._renew(job, lease_for)
            if job.cancel_requested_at is None:
                renewals.append(Renewal(lease.id, "continue"))
            else:
                renewals.append(Renewal(lease.id, "cancel", self._reasons.get(job.id, "")))
        return renewals

    def _extend_worker(self, worker: str, lease_for: float) -> int:
        held = [job for job in self._running() if job.worker == worker]
        for job in held:
            self._renew(job, lease_for)
        return len(held)

    def _renew(self, job: JobRecord, lease_for: float) -> None:
        self._books.put(msgspec.structs.replace(job, lease_until=self.now() + lease_for))

    def _running(self) -> list[JobRecord]:
        return [self._books.jobs[job_id] for job_id in self._books.running]

    def _write_output(self, chunks: Sequence[OutputChunk]) -> list[str]:
        stale: dict[str, None] = {}
        for chunk in chunks:
            if self._held(chunk.job_id, chunk.lease) is None:
                stale[chunk.job_id] = None
                continue
            kept = self._books.output[chunk.job_id]
            if any((each.lease, each.offset) == (chunk.lease, chunk.offset) for each in kept):
                continue
            self._chunks += 1
            kept.append(msgspec.structs.replace(chunk, seq=self._chunks))
            self._say("output", chunk.job_id)
        return list(stale)

    def _set_progress(self, reports: Sequence[tuple[Lease, Progress]]) -> list[str]:
        stale: list[str] = []
        for lease, progress in reports:
            job = self._held(lease.id, lease.lease)
            if job is None:
                stale.append(lease.id)
            else:
                self._books.put(msgspec.structs.replace(job, progress=progress))
        return stale

    # -- operators -----------------------------------------------------------------------------

    def get(self, job_id: str) -> Pending[JobRecord]:
        return self._do(self._books.job, job_id)

    def find(self, which: Filter, *, limit: int) -> Pending[list[JobRecord]]:
        return self._do(self._find, which, limit)

    def history(self, job_id: str) -> Pending[list[AttemptError]]:
        return self._do(lambda: list(self._books.history.get(self._books.job(job_id).id, ())))

    def output(self, job_id: str, *, after: int = 0, limit: int) -> Pending[list[OutputChunk]]:
        return self._do(self._output, job_id, after, limit)

    def counts(self) -> Pending[list[QueueInfo]]:
        return self._do(self._counts)

    def ahead(self, job_id: str) -> Pending[int]:
        return self._do(lambda: self._books.ahead(self._books.job(job_id)))

    def offered(self, job_id: str) -> Pending[QueueInfo | None]:
        return self._do(self._offered, job_id)

    def check(self) -> Pending[list[str]]:
        return self._do(list[str])

    def cancel(self, job_id: str, *, reason: str) -> Pending[JobRecord]:
        return self._do(self._cancel, job_id, reason)

    def retry(self, job_id: str) -> Pending[JobRecord]:
        return self._do(self._retry, job_id)

    def delete(self, job_id: str) -> Pending[None]:
        return self._do(self._delete, job_id)

    def set_paused(self, queue: str, *, paused: bool) -> Pending[None]:
        return self._do(self._set_paused, queue, paused)

    def _find(self, which: Filter, limit: int) -> list[JobRecord]:
        found: list[JobRecord] = []
        for job in sorted(self._books.jobs.values(), key=lambda job: job.seq, reverse=True):
            if len(found) == limit:
                break
            if _matches(job, which):
                found.append(job)
        return found

    def _output(self, job_id: str, after: int, limit: int) -> list[OutputChunk]:
        kept = self._books.output.get(self._books.job(job_id).id, [])
        return [chunk for chunk in kept if chunk.seq > after][:limit]

    def _counts(self) -> list[QueueInfo]:
        return [
            QueueInfo(
                name=name,
                capacity=queue.capacity,
                paused=queue.paused,
                counts={state: self._books.counts[name][state] for state in State},
                offers=len(self._live_offers(queue)),
            )
            for name, queue in sorted(self._queues.items())
        ]

    def _offered(self, job_id: str) -> QueueInfo | None:
        for info in self._counts():
            for offer in self._queue(info.name).offers:
                if any(new.id == job_id for new in self._offers[offer].jobs):
                    return info
        return None

    def _cancel(self, job_id: str, reason: str) -> JobRecord:
        job = self._books.job(job_id)
        state = lifecycle.cancel(job)
        if state is None:
            self._reasons.setdefault(job_id, reason)
            asked_at = job.cancel_requested_at or self.now()
            self._say("cancel", job_id)
            return self._books.put(msgspec.structs.replace(job, cancel_requested_at=asked_at))
        cancelled = self._books.end(job, state, ErrorInfo("Cancelled", reason), self.now())
        self._say("final", job_id)
        self._make_room(job.queue)
        return cancelled

    def _retry(self, job_id: str) -> JobRecord:
        job = self._books.job(job_id)
        state = lifecycle.retry(job)
        holder = self._books.reclaim_key(job)
        if holder is not None:
            raise InvalidTransitionError(
                f"job {job_id} cannot be retried: its key {job.options.key!r} now belongs to "
                f"job {holder}"
            )
        self._say("work", job.queue)
        return self._books.put(
            msgspec.structs.replace(
                job,
                state=state,
                attempt=0,
                crashes=0,
                run_at=self.now(),
                final_at=None,
                result=None,
                cancel_requested_at=None,
            )
        )

    def _delete(self, job_id: str) -> None:
        job = self._books.job(job_id)
        if not job.is_final:
            raise InvalidTransitionError(
                f"job {job_id} is {job.state}: only a final job can be deleted; cancel it first"
            )
        self._books.remove(job_id)

    def _set_paused(self, name: str, paused: bool) -> None:  # noqa: FBT001 - private
        self._queue(name).paused = paused
        if not paused:
            self._say("work", name)

    # -- upkeep --------------------------------------------------------------------------------

    def stage(self, *, limit: int) -> Pending[Staged]:
        return self._do(self._stage, limit)

    def rescue(self, *, dead: Sequence[str] = (), limit: int) -> Pending[list[str]]:
        return self._do(self._rescue, dead, limit)

    def prune(self, retention: Mapping[State, float], *, limit: int) -> Pending[int]:
        return self._do(self._prune, retention, limit)

    def beat(self, worker: WorkerInfo) -> Pending[None]:
        return self._do(self._beat, worker)

    def leave(self, worker: str) -> Pending[None]:
        return self._do(self._leave, worker)

    def workers(self) -> Pending[list[WorkerInfo]]:
        return self._do(lambda: [self._workers[name] for name in sorted(self._workers)])

    def put_schedule(self, schedule: ScheduleInfo) -> Pending[ScheduleInfo]:
        return self._do(self._put_schedule, schedule)

    def schedules(self) -> Pending[list[ScheduleInfo]]:
        return self._do(lambda: [self._schedules[name] for name in sorted(self._schedules)])

    def pause_schedule(self, name: str, *, paused: bool) -> Pending[None]:
        return self._do(self._pause_schedule, name, paused)

    def tick(
        self, name: str, *, due_at: float, next_at: float, jobs: Sequence[NewJob]
    ) -> Pending[bool]:
        return self._do(self._tick, name, due_at, next_at, jobs)

    def _stage(self, limit: int) -> Staged:
        moved = 0
        while moved < limit and (job := self._books.pop_due(self.now())) is not None:
            self._books.put(msgspec.structs.replace(job, state=State.AVAILABLE))
            self._say("work", job.queue)
            moved += 1
        for _ in range(limit):
            job = self._books.pop_expired(self.now())
            if job is None:
                break
            self._expire(job)
            self._make_room(job.queue)
        for name, queue in self._queues.items():
            if self._live_offers(queue):
                self._make_room(name)
        now = self.now()
        for offer in [name for name, each in self._offers.items() if each.until < now]:
            del self._offers[offer]  # answered, and never collected
        return Staged(moved, self._books.next_due_at())

    def _expire(self, job: JobRecord) -> None:
        self._books.end(job, State.DISCARDED, EXPIRED, self.now())
        self._say("final", job.id)

    def _rescue(self, dead: Sequence[str], limit: int) -> list[str]:
        now, gone = self.now(), frozenset(dead)
        lost = [
            job for job in self._running() if job.worker in gone or (job.lease_until or now) < now
        ]
        for job in lost[:limit]:
            error = WORKER_DIED if job.worker in gone else LEASE_ENDED
            self._end_attempt(job, Crashed(error))
        return [job.id for job in lost[:limit]]

    def _prune(self, retention: Mapping[State, float], limit: int) -> int:
        pruned = 0
        for state, seconds in retention.items():
            old = self._books.final[state]
            while pruned < limit and old and old[0][0] < self.now() - seconds:
                final_at, job_id = old.popleft()
                job = self._books.jobs.get(job_id)
                # A retried job may have left an older entry behind.
                if job is not None and job.state is state and job.final_at == final_at:
                    self._books.remove(job_id)
                    pruned += 1
        return pruned

    def _beat(self, worker: WorkerInfo) -> None:
        self._workers[worker.id] = msgspec.structs.replace(worker, beat_at=self.now())

    def _leave(self, worker: str) -> None:
        self._workers.pop(worker, None)

    def _put_schedule(self, schedule: ScheduleInfo) -> ScheduleInfo:
        known = self._schedules.get(schedule.name)
        if known is None or _rule(known) != _rule(schedule):
            paused = known is not None and known.paused
            self._schedules[schedule.name] = msgspec.structs.replace(schedule, paused=paused)
        return self._schedules[schedule.name]

    def _pause_schedule(self, name: str, paused: bool) -> None:  # noqa: FBT001 - private
        self._schedules[name] = msgspec.structs.replace(self._schedule(name), paused=paused)

    def _tick(self, name: str, due_at: float, next_at: float, jobs: Sequence[NewJob]) -> bool:
        known = self._schedule(name)
        if known.next_at != due_at or known.paused:
            return False
        self._schedules[name] = msgspec.structs.replace(known, next_at=next_at, last_at=due_at)
        for job in jobs:
            self._queue(job.queue)
            self._accept([job])
        return True

    def _schedule(self, name: str) -> ScheduleInfo:
        try:
            return self._schedules[name]
        except KeyError:
            raise NotFoundError(f"there is no schedule {name!r}") from None

    # -- the store itself ----------------------------------------------------------------------

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        number = object()
        with self._lock:
            self._listeners[id(number)] = frozenset(kinds), listener

        def stop() -> None:
            with self._lock:
                self._listeners.pop(id(number), None)

        return stop

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._listeners.clear()

    def _queue(self, name: str) -> _Queue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue()
        return queue

    def _has_expired(self, job: JobRecord) -> bool:
        expires_at = job.options.expires_at
        return expires_at is not None and expires_at <= self.now()

    def _say(self, kind: HintKind, subject: str) -> None:
        self._heard.setdefault(kind, {})[subject] = None

    def _do(self, operation: Callable[..., T], *args: Any) -> Pending[T]:
        with self._lock:
            if self._closed:
                return failed(UnavailableError("the memory store was closed"))
            try:
                answer = ready(operation(*args))
            except Exception as error:  # noqa: BLE001 - errors are answers too
                return failed(error)
            if not self._heard:
                return answer
            heard, self._heard = self._heard, {}
            listeners = list(self._listeners.values())
        # Outside the lock, so that a listener may call the store.
        for kind, subjects in heard.items():
            for kinds, listener in listeners:
                if kind in kinds:
                    listener(Hint(kind, tuple(subjects)))
        return answer


def _matches(job: JobRecord, which: Filter) -> bool:
    return (
        (which.queue is None or job.queue == which.queue)
        and (which.task is None or job.task == which.task)
        and (not which.states or job.state in which.states)
        and (which.before is None or job.seq < which.before)
        and (which.enqueued_before is None or job.enqueued_at < which.enqueued_before)
    )


def _rule(schedule: ScheduleInfo) -> tuple[str, str, str]:
    return schedule.cron, schedule.timezone, schedule.missed

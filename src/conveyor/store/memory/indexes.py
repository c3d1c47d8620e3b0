"""The jobs of the memory store and their indexes, one for each kind of query.

Heaps are cleaned lazily: an entry is valid only if it matches the present state of its job.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from heapq import heappop, heappush
from operator import itemgetter

import msgspec

from ...core import lifecycle
from ...core.files import FileInfo
from ...core.fingerprint import failure_fingerprint
from ...core.job import (
    AVAILABLE,
    FINAL,
    HISTORY,
    RUNNING,
    WAITING,
    AttemptError,
    ErrorInfo,
    JobRecord,
    NewJob,
    OutputChunk,
    State,
)
from ...core.labels import serves
from ...core.lifecycle import Transition
from ...core.queue_totals import Past, leaving
from ..enqueue_rules import no_job
from ..messages import Load
from ..unique_keys import unique_key
from .lane import Age, Lane, Place

NO_LABELS = frozenset[str]()


class JobIndex:
    """All jobs and their indexes. Not thread-safe: its store holds the lock."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.running: dict[str, None] = {}
        self.counts: defaultdict[str, Counter[State]] = defaultdict(Counter)
        # Only jobs that require labels; the count of the others is the difference to `counts`.
        self._labelled: defaultdict[tuple[str, frozenset[str]], Counter[State]]
        self._labelled = defaultdict(Counter)
        self.history: defaultdict[str, list[AttemptError]] = defaultdict(list)
        self.output: defaultdict[str, list[OutputChunk]] = defaultdict(list)
        self.artifacts: defaultdict[str, dict[str, FileInfo]] = defaultdict(dict)
        # What is kept of a queue beside its counts, for its totals.
        self.past: defaultdict[str, Counter[Past]] = defaultdict(Counter)
        self.final: defaultdict[State, deque[tuple[float, str]]] = defaultdict(deque)
        self._seq = 0
        self._attempts = 0
        self._lanes: defaultdict[str, dict[frozenset[str], Lane]] = defaultdict(dict)
        self._due: list[tuple[float, int, str]] = []
        self._expiring: list[tuple[float, str]] = []
        self._keys: dict[str, str] = {}

    def job(self, job_id: str) -> JobRecord:
        """Return a job or raise NotFoundError."""
        try:
            return self.jobs[job_id]
        except KeyError:
            raise no_job(job_id) from None

    def holder(self, key: str) -> str | None:
        """Return the id of the job that holds a unique key."""
        return self._keys.get(key)

    def add(self, new: NewJob, now: float) -> JobRecord:
        """Add a new job."""
        state, run_at = lifecycle.first_state(new, now)
        self._seq += 1
        job = JobRecord(
            seq=self._seq,
            id=new.id,
            task=new.task,
            queue=new.queue,
            args=new.args,
            state=state,
            priority=new.priority,
            run_at=run_at,
            enqueued_at=now,
            options=new.options,
        )
        if new.options.key is not None:
            self._keys[unique_key(new)] = job.id
        self._file(job)
        return job

    def put(self, job: JobRecord) -> JobRecord:
        """Replace a job by its new version."""
        before = self.jobs[job.id].state
        self.counts[job.queue][before] -= 1
        if job.options.requires:
            self._tally_labels(job, before, -1)
        if before is RUNNING:
            del self.running[job.id]
        self._file(job)
        return job

    def rewrite(self, before: JobRecord, after: JobRecord) -> JobRecord:
        """Give a waiting job other arguments, options or another time."""
        self.counts[before.queue][before.state] -= 1
        if before.options.requires:
            self._tally_labels(before, before.state, -1)
        if before.state is AVAILABLE:  # another priority or lane would not show in its old place
            self._lane(before).remove(_place(before))
        self._file(after)
        return after

    def remove(self, job_id: str) -> None:
        """Remove a job with its history, output and files."""
        job = self.jobs.pop(job_id)
        self.counts[job.queue][job.state] -= 1
        self.past[job.queue].update(leaving(job.state, deleted=True))
        if job.options.requires:
            self._tally_labels(job, job.state, -1)
        self._free_key(job)
        self.history.pop(job_id, None)
        self.output.pop(job_id, None)
        self.artifacts.pop(job_id, None)

    def apply(self, job: JobRecord, move: Transition, now: float) -> JobRecord:
        """Apply a transition and record its error."""
        if move.error is not None:
            self.note(job, move.state, move.error, now)
            if move.is_retry:
                self.past[job.queue]["retried"] += 1
        return self.put(lifecycle.apply(job, move, now))

    def running_jobs(self) -> list[JobRecord]:
        """Return the jobs that are running."""
        return [self.jobs[job_id] for job_id in self.running]

    def end_unrun(self, job: JobRecord, state: State, error: ErrorInfo, now: float) -> JobRecord:
        """Make a waiting job final without a run."""
        return self.apply(job, Transition(state, error=error), now)

    def note(self, job: JobRecord, became: State, error: ErrorInfo, now: float) -> None:
        """Add an error to a job's history."""
        was_run = job.state is RUNNING
        self.keep(
            job.id,
            AttemptError(
                attempt=job.attempt,
                at=now,
                worker=job.worker,
                became=became,
                error=error,
                started_at=job.started_at if was_run else None,
                due_at=job.run_at,
                lease=job.lease if was_run else 0,
                fingerprint=failure_fingerprint(became, error) or "",
            ),
        )

    def keep(self, job_id: str, entry: AttemptError) -> None:
        """Add an entry to a job's history."""
        lines = self.history[job_id]
        self._attempts += 1
        lines.append(msgspec.structs.replace(entry, seq=self._attempts))
        del lines[:-HISTORY]

    def reclaim_key(self, job: JobRecord) -> str | None:
        """Give a job its unique key back; return the id of another job that holds it now."""
        if job.options.key is None:
            return None
        holder = self._keys.setdefault(unique_key(job), job.id)
        return None if holder == job.id else holder

    def depth(self, queue: str) -> int:
        """Return the number of waiting jobs of a queue."""
        counts = self.counts[queue]
        return sum(counts[state] for state in WAITING)

    def available(self, queue: str, labels: frozenset[str]) -> Iterator[JobRecord]:
        """Pop the next jobs for a claimant with these labels from their lanes, one by one."""
        lanes = [lane for requires, lane in self._lanes[queue].items() if serves(labels, requires)]
        while (place := _first(lanes)) is not None:
            job = self.jobs.get(place[3])
            if job is not None and job.state is AVAILABLE and job.run_at == place[1]:
                yield job

    def oldest_available(
        self, queue: str, spared: frozenset[str] = frozenset()
    ) -> JobRecord | None:
        """Return the available job of a queue that has been due the longest, of those not spared.

        If some are spared, it takes time in proportion to the number of jobs.
        """
        if spared:
            jobs = (
                job for job in self.jobs.values() if job.queue == queue and job.id not in spared
            )
            others = [job for job in jobs if job.state is AVAILABLE]
            return min(others, key=lambda job: (job.run_at, job.seq), default=None)
        ages = [lane.oldest(self._stands) for lane in self._lanes[queue].values()]
        first = min((age for age in ages if age is not None), default=None)
        return None if first is None else self.jobs[first[2]]

    def loads(self, queue: str) -> Iterator[Load]:
        """Yield the numbers of available and running jobs of each lane of a queue."""
        lanes = self._lanes.get(queue, {})
        rest = Counter(self.counts[queue])
        for requires, lane in lanes.items():
            if requires:
                counts = self._labelled[queue, requires]
                rest.subtract(counts)
                yield self._load(queue, requires, lane, counts)
        if NO_LABELS in lanes:
            yield self._load(queue, NO_LABELS, lanes[NO_LABELS], rest)

    def _load(
        self, queue: str, requires: frozenset[str], lane: Lane, counts: Counter[State]
    ) -> Load:
        age = lane.oldest(self._stands)
        return Load(
            queue,
            tuple(requires),
            waiting=counts[State.AVAILABLE],
            running=counts[State.RUNNING],
            oldest_at=None if age is None else age[0],
        )

    def ahead(self, job: JobRecord) -> int:
        """Return how many available jobs of the queue come before this one."""
        mine = _place(job)
        return len(
            {
                place[3]
                for lane in self._lanes[job.queue].values()
                for place in lane
                if place < mine and self._stands(place[1:])
            }
        )

    def pop_due(self, now: float) -> JobRecord | None:
        """Pop the next scheduled or retryable job that is due."""
        if self.next_due_at() is None or self._due[0][0] > now:
            return None
        return self.jobs[heappop(self._due)[2]]

    def next_due_at(self) -> float | None:
        """Return when the next scheduled or retryable job is due."""
        while self._due:
            run_at, _, job_id = self._due[0]
            job = self.jobs.get(job_id)
            waits = job is not None and job.state in (State.SCHEDULED, State.RETRYABLE)
            if job is not None and waits and job.run_at == run_at:
                return run_at
            heappop(self._due)
        return None

    def pop_expired(self, now: float) -> JobRecord | None:
        """Pop the next waiting job that has expired."""
        while self._expiring and self._expiring[0][0] <= now:
            job = self.jobs.get(heappop(self._expiring)[1])
            if job is not None and job.state in WAITING and lifecycle.has_expired(job, now):
                return job
        return None

    def _file(self, job: JobRecord) -> None:
        self.jobs[job.id] = job
        state = job.state
        self.counts[job.queue][state] += 1
        if job.options.requires:
            self._tally_labels(job, state, 1)
        if state is RUNNING:
            self.running[job.id] = None
        elif state in FINAL:
            if job.options.key is not None and job.options.key_until == "final":
                self._free_key(job)
            self.final[state].append((job.final_at or 0.0, job.id))
        else:
            self._wait(job)

    def _wait(self, job: JobRecord) -> None:
        if job.state is AVAILABLE:
            self._lane(job).push(_place(job))
        else:
            heappush(self._due, (job.run_at, job.seq, job.id))
        if job.options.expires_at is not None:
            heappush(self._expiring, (job.options.expires_at, job.id))

    def _lane(self, job: JobRecord) -> Lane:
        lanes, requires = self._lanes[job.queue], frozenset(job.options.requires)
        lane = lanes.get(requires)
        if lane is None:
            lane = lanes[requires] = Lane()
        return lane

    def _tally_labels(self, job: JobRecord, state: State, change: int) -> None:
        self._labelled[job.queue, frozenset(job.options.requires)][state] += change

    def _free_key(self, job: JobRecord) -> None:
        if job.options.key is not None and self._keys.get(unique_key(job)) == job.id:
            del self._keys[unique_key(job)]

    def _stands(self, age: Age) -> bool:
        job = self.jobs.get(age[2])
        return job is not None and job.state is AVAILABLE and job.run_at == age[0]


def _first(lanes: list[Lane]) -> Place | None:
    """Pop the first place of several lanes."""
    if len(lanes) == 1:
        return lanes[0].pop()
    heads = [(head, lane) for lane in lanes if (head := lane.head()) is not None]
    return min(heads, key=itemgetter(0))[1].pop() if heads else None


def _place(job: JobRecord) -> Place:
    return -job.priority, job.run_at, job.seq, job.id

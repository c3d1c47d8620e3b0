"""Producers and workers at a store, and a ledger of everything that was acknowledged to them.

No producer sends anything again by itself, so each job that was acknowledged must be there once,
and each job must be accepted as completed once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic

from calls import new, put

from conveyor.core.job import JobRecord, NewJob, State
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import QueueFullError, UnavailableError
from conveyor.store.messages import Claimant, Filter, Lease, Report, Want
from conveyor.store.protocol import Store

QUEUES = ("q", "b")
CAPACITY = 200
# A worker waits for nobody, so it looks again at once.
IDLE = 0.005


class Load:
    """Threads that enqueue and work until `stop`; each with a store of its own."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self.acknowledged: list[list[str]] = []
        self.settled: list[list[str]] = []
        # Calls that were told that the store cannot be reached.
        self.unknown: list[str] = []
        self.errors: list[BaseException] = []
        self._open = open_store
        self._stopping = threading.Event()
        self._draining = threading.Event()
        kinds = (
            self._enqueue_one,
            self._enqueue_many,
            self._enqueue_bounded,
            self._enqueue_at_once,
        )
        self._producers = [self._thread(self._produce, kind) for kind in kinds]
        self._workers = [self._thread(self._work, f"w{number}") for number in range(2)]

    def start(self) -> None:
        for thread in (*self._producers, *self._workers):
            thread.start()

    def finish(self) -> None:
        """Stop the producers, run what is left, then stop the workers."""
        self._stopping.set()
        for thread in self._producers:
            thread.join(120)
        self._draining.set()
        for thread in self._workers:
            thread.join(120)
        assert not self.errors, self.errors
        assert not any(each.is_alive() for each in (*self._producers, *self._workers))

    def progress(self) -> list[int]:
        """Return how much each producer and each worker has done."""
        return [len(each) for each in (*self.acknowledged, *self.settled)]

    def _thread(self, run: Callable[..., None], what: object) -> threading.Thread:
        return threading.Thread(target=self._guarded, args=(run, what), daemon=True)

    def _guarded(self, run: Callable[..., None], what: object) -> None:
        try:
            run(what)
        except BaseException as error:  # noqa: BLE001 - the test's thread reports it
            self.errors.append(error)

    def _produce(self, kind: Callable[[Store, int], Sequence[NewJob]]) -> None:
        store, ids = self._open(), list[str]()
        self.acknowledged.append(ids)
        number = 0
        while not self._stopping.is_set():
            number += 1
            try:
                ids += kind(store, number)
            except QueueFullError:
                self._stopping.wait(IDLE)
            except UnavailableError as error:
                self.unknown.append(str(error))
        store.close()

    def _enqueue_one(self, store: Store, number: int) -> list[str]:
        return put(store, new(id=f"one-{number}"))

    def _enqueue_many(self, store: Store, number: int) -> list[str]:
        return put(
            store, *(new(id=f"many-{number}-{each}", key=f"{number}-{each}") for each in "ab")
        )

    def _enqueue_bounded(self, store: Store, number: int) -> list[str]:
        job = new(id=f"bounded-{number}", queue="b")
        return put(store, job, capacity=CAPACITY, when_full="refuse")

    def _enqueue_at_once(self, store: Store, number: int) -> list[str]:
        async def one(each: str) -> list[str]:
            answer = await store.insert([new(id=f"async-{number}-{each}")])
            return list(answer.ids)  # type: ignore[union-attr]

        async def several() -> list[str]:
            return [job for ids in await asyncio.gather(*map(one, "abcd")) for job in ids]

        return asyncio.run(several())

    def _work(self, name: str) -> None:
        store, ids = self._open(), list[str]()
        self.settled.append(ids)
        claimant, wants = Claimant(name, 600.0), [Want(queue, 8) for queue in QUEUES]
        held: Sequence[JobRecord] = ()
        while held or not self._draining.is_set() or self._is_left(store):
            reports = [Report(job.id, job.lease, Succeeded()) for job in held]
            try:
                if held:
                    store.extend([Lease(job.id, job.lease) for job in held], lease_for=600).result()
                answer = store.exchange(reports, wants, claimant, limit=8).result()
            except UnavailableError as error:
                self.unknown.append(str(error))
                continue
            ids += answer.settled
            held = answer.jobs
        store.close()

    def _is_left(self, store: Store) -> bool:
        counts = [each.counts for each in store.counts().result()]
        return any(each[State.AVAILABLE] for each in counts)

    def check(self, store: Store) -> None:
        """Fail unless each acknowledged job is there and was completed once, and none is stuck."""
        acknowledged = [job for ids in self.acknowledged for job in ids]
        settled = [job for ids in self.settled for job in ids]
        assert twice(acknowledged) == []
        assert twice(settled) == []
        assert missing(store, acknowledged) == []
        stuck = [job.id for job in every_job(store) if job.state is not State.COMPLETED]
        assert stuck == []
        # What is there although nobody was told is what a call that gave up has enqueued.
        unknown = {job.id for job in every_job(store)} - set(acknowledged)
        assert not unknown or self.unknown
        assert store.check().result() == []


def twice(ids: Sequence[str]) -> list[str]:
    return [job for job, count in Counter(ids).items() if count > 1]


def missing(store: Store, ids: Sequence[str]) -> list[str]:
    """Return which acknowledged jobs are not there."""
    return sorted(set(ids) - {job.id for job in every_job(store)})


def every_job(store: Store) -> list[JobRecord]:
    found: list[JobRecord] = []
    page = store.find(Filter(), limit=1000).result()
    while page:
        found += page
        page = store.find(Filter(before=found[-1].seq), limit=1000).result()
    return found


def rate(load: Load, seconds: float, wait: Callable[[float], None]) -> float:
    """Return how many jobs were settled in a second, over some."""
    before, since = sum(map(len, load.settled)), monotonic()
    wait(seconds)
    return (sum(map(len, load.settled)) - before) / (monotonic() - since)

"""A worker over a network begins nothing before the store has confirmed that it has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from conveyor import Conveyor, State
from conveyor.core.job import JobRecord
from conveyor.core.lifecycle import Interrupted
from conveyor.core.pending import Pending, failed
from conveyor.errors import UnavailableError
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import CONFIRM, Lease, Renewal, Report
from conveyor.worker.claim_confirmer import ClaimConfirmer
from conveyor.worker.held_jobs import HeldJob, HeldJobs
from conveyor.worker.lease_renewer import FENCE, LeaseRenewer
from shop import soon

WAIT = 60.0


class Far(MemoryStore):
    """A store over a network, whose answers to renewals can be held up, lost or made to fail."""

    answers_can_be_lost = can_be_partitioned = True
    keeps_call_order = False

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.failing = 0
        self.go = asyncio.Event()
        self.go.set()
        self.declined: list[str] = []
        self.before: Callable[[Sequence[Lease]], object] = len

    def extend(self, leases: Sequence[Lease], *, lease_for: float) -> Pending[list[Renewal]]:
        self.asked += 1
        if self.failing:
            self.failing -= 1
            return failed(UnavailableError("out of reach"))
        return self._extend(leases, lease_for)  # type: ignore[return-value]

    async def _extend(self, leases: Sequence[Lease], lease_for: float) -> list[Renewal]:
        self.before(leases)
        answer = await super().extend(leases, lease_for=lease_for)
        await self.go.wait()
        return answer

    def decline(self, worker: str) -> Pending[None]:
        self.declined.append(worker)
        return super().decline(worker)


def working(test: Callable[[Far, Conveyor, Any, list[str]], Awaitable[None]], **how: Any) -> None:
    async def main() -> None:
        store, begun = Far(), list[str]()
        belt = Conveyor(store=store)

        @belt.task
        async def note(name: str) -> None:
            begun.append(name)

        async with asyncio.timeout(WAIT):
            await test(store, belt, note, begun)

    asyncio.run(main())


def test_no_job_starts_before_its_claim_is_confirmed() -> None:
    async def test(store: Far, belt: Conveyor, note: Any, begun: list[str]) -> None:
        store.go.clear()
        async with belt.worker():
            job = await note.aenqueue("a")
            await soon(lambda: store.asked)
            await asyncio.sleep(0.05)
            assert begun == []
            store.go.set()
            assert (await job.await_final(WAIT)).state is State.COMPLETED
            assert begun == ["a"]

    working(test)


def test_a_batch_is_confirmed_at_once() -> None:
    async def test(store: Far, belt: Conveyor, note: Any, begun: list[str]) -> None:
        jobs = [await note.aenqueue(name) for name in "abc"]
        async with belt.worker():
            for job in jobs:
                await job.await_final(WAIT)
        assert store.asked == 1
        assert begun == ["a", "b", "c"]

    working(test)


def test_a_job_cancelled_before_its_confirmation_never_starts() -> None:
    async def test(store: Far, belt: Conveyor, note: Any, begun: list[str]) -> None:
        store.before = lambda leases: store.cancel(leases[0].id, reason="no more").result()
        job = await note.aenqueue("a")
        async with belt.worker():
            assert (await job.await_final(WAIT)).state is State.CANCELLED
        assert begun == []

    working(test)


def test_a_cancel_that_crosses_the_response_to_a_confirmation_is_not_lost() -> None:
    async def test(store: Far, belt: Conveyor, _note: Any, _begun: list[str]) -> None:
        @belt.task
        async def endless() -> None:
            await asyncio.sleep(60)

        store.go.clear()
        async with belt.worker():
            job = await endless.aenqueue()
            await soon(lambda: store.asked)
            assert not await job.acancel(wait=0.0)
            await asyncio.sleep(0)
            store.go.set()
            # Far less than the quarter of a lease after which it would be heard in any case.
            assert (await job.await_final(10.0)).state is State.CANCELLED

    working(test)


def test_a_job_whose_lease_is_lost_before_its_confirmation_does_not_start() -> None:
    async def test(store: Far, belt: Conveyor, note: Any, begun: list[str]) -> None:
        def lose(leases: Sequence[Lease]) -> None:
            [worker] = store.workers().result()
            store.before = len
            store.rescue(dead=[worker.id], limit=5).result()

        store.before = lose
        job = await note.aenqueue("a")
        async with belt.worker():
            done = await job.await_final(WAIT)
        assert (done.lease, done.attempt, done.crashes) == (2, 1, 0)
        assert begun == ["a"]

    working(test)


def test_a_confirmation_is_retried_while_the_store_is_unreachable() -> None:
    async def test(store: Far, belt: Conveyor, note: Any, begun: list[str]) -> None:
        store.failing = 2
        job = await note.aenqueue("a")
        async with belt.worker():
            assert (await job.await_final(WAIT)).lease == 1
        assert (store.asked, begun) == (3, ["a"])

    working(test)


def test_a_drain_releases_unconfirmed_jobs_at_once() -> None:
    async def test(store: Far, belt: Conveyor, note: Any, begun: list[str]) -> None:
        store.go.clear()
        job = await note.aenqueue("a")
        async with belt.worker() as worker:
            await soon(lambda: store.asked)
            assert worker.held == 1
        record = await store.get(job.id)
        assert (record.state, record.attempt, begun) == (State.AVAILABLE, 0, [])
        assert store.declined == [worker.id]

    working(test)


def test_other_jobs_are_reported_during_a_confirmation() -> None:
    async def test(store: Far, belt: Conveyor, _note: Any, _begun: list[str]) -> None:
        finish = asyncio.Event()

        @belt.task
        async def first() -> None:
            await finish.wait()

        @belt.task
        async def second() -> None:
            pass

        async with belt.worker():
            running = await first.aenqueue()
            await soon(lambda: store.asked == 1)
            store.go.clear()
            await second.aenqueue()
            await soon(lambda: store.asked == 2)
            finish.set()
            assert (await running.await_final(WAIT)).state is State.COMPLETED
            store.go.set()

    working(test)


def test_a_quiet_worker_declines_its_waiting_claim() -> None:
    async def test(store: Far, belt: Conveyor, note: Any, begun: list[str]) -> None:
        async with belt.worker() as worker:
            worker.be_quiet()
            assert store.declined == [worker.id]
            await soon(lambda: [each for each in store.workers().result() if each.quiet])
            job = await note.aenqueue("a")
            worker.be_quiet(quiet=False)
            # Less than a worker waits until it looks again by itself.
            assert (await job.await_final(4.0)).state is State.COMPLETED
            assert store.declined == [worker.id]

    working(test)


def test_jobs_that_cannot_be_confirmed_in_time_are_released() -> None:
    class Unanswered(LeaseRenewer):
        def __init__(self) -> None:
            self.asked = 0

        async def confirm(self, rows: Sequence[HeldJob], timeout: float) -> None:
            self.asked += 1
            assert 0 < timeout <= CONFIRM / 4
            times.append(times[-1] + CONFIRM / 4)

    async def main() -> None:
        held, leases = HeldJobs(), Unanswered()
        confirmer = ClaimConfirmer(
            held=held, leases=leases, within=CONFIRM, elapsed=lambda: times[-1]
        )
        running = asyncio.create_task(confirmer.run())
        job = JobRecord(
            seq=1, id="a", task="t", queue="q", args=b"{}", state=State.RUNNING, priority=0,
            run_at=0.0, enqueued_at=0.0, lease=1,
        )  # fmt: skip
        confirmer.confirm(held.add([job], asked_at=0.0, confirmed=False), 0.0)
        assert len(held) == 1
        await soon(lambda: held.unreported)
        assert (held.reports, len(held)) == ([Report("a", 1, Interrupted())], 0)
        assert leases.asked == 4
        assert times[-1] >= FENCE * CONFIRM
        running.cancel()

    times = [0.0]
    asyncio.run(main())

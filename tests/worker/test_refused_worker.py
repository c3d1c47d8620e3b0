"""A worker whose token the store refuses stops at once, and its jobs come back without blame."""

from __future__ import annotations

import asyncio
from typing import Any

from conveyor import AccessError, Conveyor, JobReleased, State
from conveyor.core.lifecycle import Interrupted
from conveyor.core.pending import Pending, failed
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Exchanged

LONG = 60.0


class Revoking(MemoryStore):
    """Refuses what a server refuses of a former token, once it is `revoked`."""

    revoked = False

    def exchange(self, *args: Any, **options: Any) -> Pending[Exchanged]:
        return _refuse() if self.revoked else super().exchange(*args, **options)

    def extend(self, *args: Any, **options: Any) -> Pending[Any]:
        return _refuse() if self.revoked else super().extend(*args, **options)

    def settle(self, reports: Any) -> Pending[Exchanged]:
        returns = all(isinstance(each.outcome, Interrupted) for each in reports)
        return _refuse() if self.revoked and not returns else super().settle(reports)


def _refuse() -> Pending[Any]:
    return failed(AccessError("the token is revoked"))


def test_a_refused_worker_returns_what_it_runs_and_what_it_could_not_deliver() -> None:
    store = Revoking()
    belt = Conveyor(store=store)
    released: list[str] = []
    belt.on(JobReleased, lambda event: released.append(event.job_id))

    @belt.task
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    @belt.task
    async def completes() -> int:
        store.revoked = True
        return 1

    jobs = [waits.enqueue(), completes.enqueue()]

    async def main() -> None:
        worker = belt.worker(slots=2, lease_for=3600.0)
        await worker.run()
        assert worker.denied == "the token is revoked"
        assert not worker.undelivered
        assert not worker.parts.shutdown._events._attempts

    asyncio.run(asyncio.wait_for(main(), LONG))
    records = [job.refresh().record for job in jobs]
    assert [(each.state, each.attempt) for each in records] == [(State.AVAILABLE, 0)] * 2
    assert sorted(released) == sorted(job.id for job in jobs)


def test_a_worker_without_a_free_slot_learns_of_it_when_it_renews_its_leases() -> None:
    store = Revoking()
    belt = Conveyor(store=store)

    @belt.task
    async def waits() -> None:
        store.revoked = True
        await asyncio.get_running_loop().create_future()

    job = waits.enqueue()

    async def main() -> str:
        worker = belt.worker(slots=1, lease_for=0.2)
        await worker.run()
        return worker.denied

    assert asyncio.run(asyncio.wait_for(main(), LONG)) == "the token is revoked"
    assert (job.refresh().state, job.record.attempt) == (State.AVAILABLE, 0)

"""A worker keeps nothing of an attempt for its events once the job has left, however it left."""

from __future__ import annotations

import asyncio
from typing import Any

from conveyor import Conveyor, Event, JobEnded, JobEvent, JobStarted, State
from conveyor.core.pending import Pending, failed
from conveyor.errors import UsageError
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Exchanged


class Refusing(MemoryStore):
    """Takes no outcome of the jobs named in `refused`, nor that it was refused."""

    refused: frozenset[str] = frozenset()

    def exchange(self, reports: Any, *args: Any, **options: Any) -> Pending[Exchanged]:
        if any(each.id in self.refused for each in reports):
            return failed(UsageError("it is too large"))
        return super().exchange(reports, *args, **options)


def test_a_worker_keeps_no_attempt_of_a_job_whose_outcome_is_refused_twice() -> None:
    store = Refusing()
    belt = Conveyor(store=store)
    events: list[Event] = []
    belt.on(Event, events.append)

    @belt.task
    async def ends() -> None: ...

    jobs = [ends.enqueue() for _ in range(3)]
    store.refused = frozenset({jobs[1].id})

    async def main() -> None:
        worker = belt.worker(slots=1, most=3)
        await asyncio.wait_for(worker.run(), 60)
        assert not worker.parts.held.reports
        assert not worker.parts.shutdown._events._attempts

    asyncio.run(main())
    ended = {event.job_id for event in events if isinstance(event, JobEnded)}
    assert ended == {jobs[0].id, jobs[2].id}
    assert len([event for event in events if isinstance(event, JobStarted)]) == 3


def test_a_job_that_the_worker_does_not_wait_for_is_released_once_that_is_reported() -> None:
    belt = Conveyor("memory:")
    events: list[Event] = []
    belt.on(JobEvent, events.append)

    @belt.task
    async def waits() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    job = waits.enqueue()
    begun = asyncio.Event()

    async def abandon() -> None:
        worker = belt.worker(slots=1)
        ending = asyncio.create_task(worker.run())
        await asyncio.wait_for(begun.wait(), 60)
        worker.parts.shutdown.abandon()
        await asyncio.wait_for(ending, 60)
        assert not worker.parts.shutdown._events._attempts

    asyncio.run(abandon())
    assert [event.name for event in events] == ["job.started", "job.released"]
    assert job.refresh().state is State.AVAILABLE

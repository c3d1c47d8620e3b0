"""A worker that fails by an error of its own returns its jobs at once, and raises the error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conveyor import Conveyor, State
from conveyor.core.pending import Pending
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Exchanged

LONG = 60.0


class Failing(MemoryStore):
    """Fails once in one of the worker's loops, as only a bug does, when it is told to."""

    def __init__(self, loop: str) -> None:
        super().__init__()
        self._loop = loop
        self.fails = False

    def exchange(self, *args: Any, **options: Any) -> Pending[Exchanged]:
        self._fail("exchange")
        return super().exchange(*args, **options)

    def extend(self, *args: Any, **options: Any) -> Pending[Any]:
        self._fail("extend")
        return super().extend(*args, **options)

    def beat(self, *args: Any) -> Pending[Any]:
        self._fail("beat")
        return super().beat(*args)

    def _fail(self, loop: str) -> None:
        if self.fails and loop == self._loop:
            self.fails = False
            raise LookupError("a bug")


@pytest.mark.parametrize("loop", ["exchange", "extend", "beat"])
def test_the_jobs_of_a_worker_that_fails_are_returned_at_once(loop: str) -> None:
    store = Failing(loop)
    belt = Conveyor(store=store)

    @belt.task
    async def waits() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    job = waits.enqueue()

    async def main() -> None:
        worker = belt.worker(slots=2, lease_for=0.2 if loop == "extend" else 60.0)
        ending = asyncio.create_task(worker.run())
        await begun.wait()
        store.fails = True
        waiting = await waits.aenqueue()
        worker.parts.maintenance.wake(sweep=True)
        with pytest.raises((LookupError, ExceptionGroup)):
            await ending
        records = [(await each.arefresh()).record for each in (job, waiting)]
        assert {record.state for record in records} == {State.AVAILABLE}
        assert [record.attempt for record in records] == [0, 0]
        assert await store.workers() == []

    begun = asyncio.Event()
    asyncio.run(asyncio.wait_for(main(), LONG))

"""A worker that fails by an error of its own returns its jobs at once, and raises the error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor, State
from conveyor.core.pending import Pending
from conveyor.errors import UnavailableError
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Exchanged, Report
from conveyor.store.sqlite.store import SqliteStore

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


class Deaf(SqliteStore):
    """Accepts no outcome: a bug at first, then the database is away."""

    def exchange(self, reports: Any, *args: Any, **options: Any) -> Pending[Exchanged]:
        if reports:
            raise LookupError("a bug")
        return super().exchange(reports, *args, **options)

    def settle(self, reports: Any) -> Pending[Exchanged]:
        self.refused: list[Report] = reports
        raise UnavailableError("the database is away")


def test_what_a_worker_that_fails_could_not_report_is_returned_by_its_sidecar(
    tmp_path: Path,
) -> None:
    store = Deaf(tmp_path / "jobs.db")
    belt = Conveyor(store=store)

    @belt.task
    async def ends() -> None: ...

    job = ends.enqueue()

    async def main() -> None:
        worker = belt.worker(slots=1, lease_for=3600.0)
        with pytest.raises((LookupError, ExceptionGroup)):
            await worker.run()
        process = worker.parts.sidecar.process
        assert process is not None
        assert await asyncio.to_thread(process.wait, LONG) == 0

    asyncio.run(asyncio.wait_for(main(), 2 * LONG))
    assert [report.id for report in store.refused] == [job.id]
    assert (job.refresh().state, job.record.attempt, job.record.crashes) == (State.AVAILABLE, 0, 0)
    belt.close()

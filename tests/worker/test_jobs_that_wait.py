"""A job that waits for others hears a cancel and a shutdown; `why` says what it waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import waiting_functions
from runner_helpers import eventually

from conveyor import Conveyor, Job, State
from conveyor.cli.why import explain_job

pytestmark = pytest.mark.alone

LONG = 60.0
KINDS = ["enqueues", "enqueues in a coroutine", "waits", "waits in a coroutine", "submits"]
IN_A_PROCESS = {
    "enqueues in a process": waiting_functions.enqueues,
    "waits in a process": waiting_functions.waits,
    "submits in a thread of a process": waiting_functions.submits_in_a_thread,
}
ALL_KINDS = [*KINDS, *IN_A_PROCESS]


class Waiting:
    """A worker with one slot, which a job has that waits for what only that slot could do."""

    def __init__(self, kind: str, folder: Path, **options: Any) -> None:
        path = str(folder / "jobs.db")
        self.belt = Conveyor(path if kind in IN_A_PROCESS else "memory:")
        queue = self.belt.queue("small", capacity=1)
        begun = self.begun = threading.Event()

        @queue.task
        async def fill() -> None: ...

        @self.belt.task
        async def other() -> None: ...

        def enqueues() -> None:
            fill.enqueue()
            begun.set()
            fill.enqueue()

        async def aenqueues() -> None:
            await fill.aenqueue()
            begun.set()
            await fill.aenqueue()

        def waits() -> None:
            job = other.enqueue()
            begun.set()
            job.result()

        async def awaits() -> None:
            job = await other.aenqueue()
            begun.set()
            await job

        def submits() -> None:
            future = self.belt.submit(never.wait, LONG)
            begun.set()
            future.result()

        async def computes() -> None:
            begun.set()
            await asyncio.get_running_loop().create_future()

        never = self.never = threading.Event()
        functions: dict[str, Callable[[], Any]] = dict(
            zip(
                [*KINDS, "computes"],
                (enqueues, aenqueues, waits, awaits, submits, computes),
                strict=True,
            )
        )
        self.job: Job[Any]
        if kind in IN_A_PROCESS:
            begun.set()
            function = IN_A_PROCESS[kind]
            self.job = queue.task(function, name="job", run="process", grace=LONG).enqueue(path)
        else:
            self.job = queue.task(functions[kind], name="job", **options).enqueue()

    async def close(self) -> None:
        self.never.set()
        await asyncio.to_thread(self.belt.shutdown)
        self.belt.close()


async def until_it_waits(waiting: Waiting) -> Any:
    worker = waiting.belt.worker(queues=["small", "default"], slots=1, drain=LONG)
    running = asyncio.create_task(worker.run())
    await eventually(waiting.begun.is_set)
    await eventually(lambda: worker.parts.held.waits)
    return worker, running


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_job_that_waits_for_others_is_cancelled_at_once(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        waiting = Waiting(kind, tmp_path)
        worker, running = await until_it_waits(waiting)
        assert await waiting.job.acancel(wait=LONG / 2)
        worker.drain(0.0)
        await running
        await waiting.close()

    asyncio.run(asyncio.wait_for(main(), LONG))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_shutdown_returns_a_job_that_waits_for_others_at_once(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        waiting = Waiting(kind, tmp_path)
        worker, running = await until_it_waits(waiting)
        worker.drain(10 * LONG)
        await running
        record = (await waiting.job.arefresh()).record
        assert (record.state, record.attempt) == (State.AVAILABLE, 0)
        await waiting.close()

    asyncio.run(asyncio.wait_for(main(), LONG))


@pytest.mark.parametrize("kind", ["waits in a coroutine", "computes"])
def test_a_shutdown_gives_its_time_to_a_job_that_it_cancels_and_to_one_that_does_not_wait(
    kind: str, tmp_path: Path
) -> None:
    async def main() -> None:
        waiting = Waiting(kind, tmp_path, on_shutdown="cancel" if kind != "computes" else "release")
        worker = waiting.belt.worker(queues=["small", "default"], slots=1)
        running = asyncio.create_task(worker.run())
        await eventually(waiting.begun.is_set)
        [row] = worker.parts.held.running
        worker.drain(LONG)
        for _ in range(10):  # what the shutdown does at once, it has done then
            await asyncio.sleep(0)
        assert row.control is not None
        assert row.control.stop_request is None
        worker.drain(0.0)
        await running
        record = (await waiting.job.arefresh()).record
        assert record.state is (State.AVAILABLE if kind == "computes" else State.CANCELLED)
        await waiting.close()

    asyncio.run(asyncio.wait_for(main(), LONG))


@pytest.mark.parametrize("kind", ["enqueues", "waits in a coroutine", "enqueues in a process"])
def test_why_says_what_a_job_waits_for_and_that_no_slot_is_free(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        waiting = Waiting(kind, tmp_path)
        worker, running = await until_it_waits(waiting)
        store = waiting.belt.store
        worker.parts.maintenance.wake(sweep=True)
        await eventually(lambda: store.workers().result()[0].waits)
        told = explain_job(store, waiting.job.id)
        assert "no slot is free: 1 of 1 are busy" in told
        [other] = [each.id for each in waiting.belt.jobs(limit=10) if each.id != waiting.job.id]
        await eventually(lambda: store.get(other).result().state is State.AVAILABLE)
        told_of_other = explain_job(store, other)
        assert f"Job {waiting.job.id}, which has one of these slots, waits for" in told_of_other
        if kind.startswith("enqueues"):
            assert "it waits for room in queue 'small' (1/1)" in told
            assert "room in queue 'small' (1/1)" in told_of_other
        else:
            assert f"it waits for job {other}" in told
            assert "waits for its result" in told_of_other
        worker.drain(0.0)
        await running
        await waiting.close()

    asyncio.run(asyncio.wait_for(main(), LONG))

"""Workers inside somebody else's program: started, stopped and drained without its signals."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor, UnavailableError, UsageError, current_job
from conveyor.core.job import ScheduleInfo, State
from conveyor.core.pending import Pending, failed
from conveyor.store.memory.store import MemoryStore
from shop import Until, soon

pytestmark = pytest.mark.alone


class Program:
    """A belt with a job that holds on until it is let go."""

    def __init__(self, url: Any = "memory:") -> None:
        self.belt = Conveyor(url)
        self.go, self.begun = threading.Event(), threading.Event()

        @self.belt.task(name="held")
        def held() -> str:
            self.begun.set()
            while not self.go.wait(0.01):
                current_job().check()
            return "done"

        # It outlasts any grace, so a brief one will do.
        @self.belt.task(name="deaf", grace=0.1)
        def deaf() -> None:
            self.begun.set()
            self.go.wait(60)

        @self.belt.task(name="quick")
        async def quick() -> str:
            return "done"

        self.held, self.deaf, self.quick = held, deaf, quick


def test_a_started_worker_runs_beside_the_program_and_leaves_its_signals_alone(
    until: Until,
) -> None:
    program = Program()
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    program.belt.start(slots=1)
    assert program.quick.enqueue().result(60) == "done"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    job = program.held.enqueue()
    until(program.begun.is_set)
    threading.Timer(0.05, program.go.set).start()
    assert program.belt.stop(60)
    assert job.result(30) == "done"
    after = program.quick.enqueue()
    assert after.state is State.AVAILABLE
    assert program.belt.stop()  # nothing runs any more


def test_what_outlives_the_deadline_is_released(until: Until) -> None:
    program = Program()
    worker = program.belt.start(slots=1)
    job = program.held.enqueue()
    until(program.begun.is_set)
    assert program.belt.stop(0.0)
    assert job.refresh().state is State.AVAILABLE
    assert job.record.attempt == 0
    assert worker.released == 1


def test_a_thread_that_does_not_listen_is_said_to_run_on_and_keeps_its_lease(
    until: Until, tmp_path: Path
) -> None:
    program = Program(tmp_path / "jobs.db")
    worker = program.belt.start(slots=1)
    job = program.deaf.enqueue()
    until(program.begun.is_set)
    assert not program.belt.stop(0.0)
    assert [report.id for report in worker.left] == [job.id]
    # Its code runs, so it is running: nobody else may have it until this process has ended.
    assert job.refresh().state is State.RUNNING
    program.go.set()
    sidecar = worker.parts.sidecar.process
    assert sidecar is not None
    sidecar.kill()
    sidecar.communicate()
    program.belt.close()


@pytest.mark.parametrize("url", ["memory:", "jobs.db"])
def test_what_is_left_keeps_its_lease_also_without_a_keeper(
    until: Until, tmp_path: Path, url: str
) -> None:
    program = Program(url if url == "memory:" else f"{tmp_path}/{url}?durability=normal")
    program.belt.start(slots=1, lease_for=2.0, keep=False)
    job = program.deaf.enqueue()
    until(program.begun.is_set)
    assert not program.belt.stop(0.0)
    second = program.belt.start(slots=1, lease_for=2.0, keep=False)
    until(lambda: second.parts.maintenance.rounds > 3)
    # Else it would run twice at once.
    assert job.refresh().state is State.RUNNING
    assert (job.record.lease, second.running) == (1, [])
    program.go.set()
    assert program.belt.stop(60)


def test_a_forked_child_has_no_workers_to_stop(until: Until) -> None:
    program = Program()
    worker = program.belt.start(slots=1)
    child = os.fork()
    if child == 0:
        os._exit(0 if program.belt.stop(0.0) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not worker.ended.is_set()
    assert program.belt.stop(60)


def test_a_second_stop_with_less_patience_counts(until: Until) -> None:
    program = Program()
    worker = program.belt.start(slots=1)
    job = program.held.enqueue()
    until(program.begun.is_set)
    patient = threading.Thread(target=program.belt.stop, args=(60.0,))
    patient.start()
    until(lambda: worker.parts.dispatcher.draining)
    assert program.belt.stop(0.0)
    patient.join()
    assert job.refresh().state is State.AVAILABLE


def test_a_block_has_a_worker_beside_it_and_waits_for_its_jobs() -> None:
    program = Program()

    async def main() -> list[str]:
        async with program.belt.worker(slots=2) as worker:
            first = await program.quick.aenqueue()
            job = await program.held.aenqueue()
            await soon(lambda: worker.running)
            asyncio.get_running_loop().call_later(0.05, program.go.set)
        return [await first, await job]

    assert asyncio.run(main()) == ["done", "done"]


def test_a_worker_that_has_just_been_made_can_be_stopped() -> None:
    program = Program()

    async def main() -> None:
        async with program.belt.worker() as worker:
            assert await program.belt.astop(60)
            assert worker.ended.is_set()

    asyncio.run(main())


def test_stop_would_block_the_loop_of_a_worker_and_says_what_to_write() -> None:
    program = Program()

    async def main() -> bool:
        async with program.belt.worker() as worker:
            await soon(lambda: worker.loop)
            with pytest.raises(UsageError, match="write `await"):
                program.belt.stop()
            return await program.belt.astop(60)

    assert asyncio.run(main())


def test_a_submitted_call_learns_that_the_belt_was_stopped(until: Until) -> None:
    belt = Conveyor("memory:")
    begun, go = threading.Event(), threading.Event()

    def waits() -> None:
        begun.set()
        while not go.wait(0.01):
            current_job().check()

    future = belt.submit(waits)
    assert begun.wait(60)
    assert belt.stop(0.0)
    with pytest.raises(UnavailableError, match="was stopped before job"):
        future.result(60)
    # A later call starts anew.
    go.set()
    assert belt.submit(pow, 2, 3).result(60) == 8
    belt.shutdown()


class FullAtFirst(MemoryStore):
    """A store that has no room for the first schedule."""

    refused = False

    def put_schedule(self, schedule: ScheduleInfo) -> Pending[ScheduleInfo]:
        if not self.refused:
            self.refused = True
            return failed(UnavailableError("the disk is full"))
        return super().put_schedule(schedule)


def test_a_store_that_is_out_of_reach_at_first_does_not_end_a_worker_with_schedules(
    until: Until,
) -> None:
    belt = Conveyor(store=FullAtFirst())

    @belt.schedule("@daily", name="nightly")
    @belt.task
    async def report() -> None: ...

    worker = belt.start(slots=1)
    until(lambda: belt.store.schedules().result() or worker.ended.is_set())
    assert not worker.ended.is_set()
    assert belt.stop(60)

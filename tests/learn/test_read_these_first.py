"""A dozen tests in teaching order: what Conveyor is, from the first job to a killed worker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conveyor import Conveyor, JobDiscardedError, QueueFullError, Snooze, State, current_job
from conveyor.core.lifecycle import Succeeded
from conveyor.store.messages import Claimant, Report, Want
from conveyor.testing import FakeClock


def test_1_a_function_becomes_a_task_and_a_call_of_it_a_job() -> None:
    belt = Conveyor("memory:")

    @belt.task
    async def add(a: int, b: int = 1) -> int:
        return a + b

    job = add.enqueue(2, b=3)
    assert job.state is State.AVAILABLE
    belt.work()  # a worker, until nothing is left to do
    assert job.result() == 5
    assert asyncio.run(add(2)) == 3  # it still is a function


def test_2_jobs_are_kept_in_a_file_and_run_by_whoever_opens_it(tmp_path: Path) -> None:
    def opened() -> Conveyor:
        belt = Conveyor(tmp_path / "jobs.db")

        @belt.task(name="shout")
        def shout(text: str) -> str:
            return text.upper()

        return belt

    producer = opened()
    job_id = producer.functions["shout"].enqueue("hello").id
    producer.close()

    worker = opened()
    worker.work()
    assert worker.job(job_id).result() == "HELLO"
    worker.close()


def test_3_the_kind_of_function_decides_how_a_job_runs() -> None:
    belt = Conveyor("memory:")
    assert belt.task(name="a")(asyncio.sleep).task.kind == "coroutine"
    assert belt.task(name="b")(os.getpid).task.kind == "thread"
    # A thread cannot be stopped, so what has a timeout runs in a process.
    assert belt.task(name="c", timeout=60)(os.getpid).task.kind == "process"
    job = belt.command("echo", "a command is a job too").enqueue()
    belt.work()
    assert job.logs() == "a command is a job too\n"


def test_4_a_queue_is_bounded_and_its_producer_chooses_what_happens_then() -> None:
    belt = Conveyor("memory:")

    @belt.queue("small", capacity=2).task
    async def noop() -> None: ...

    noop.enqueue_many([(), ()])
    with pytest.raises(QueueFullError, match=r"is full \(2/2\)"):
        noop.using(wait=0).enqueue()
    oldest = belt.jobs()[-1]
    noop.using(when_full="drop_oldest").enqueue()
    assert belt.job(oldest.id).state is State.DISCARDED


def test_5_a_failed_job_is_tried_again_and_remembers_every_error() -> None:
    clock = FakeClock()  # time passes when the test says so
    belt = Conveyor("memory:", clock=clock)

    @belt.task(retries=1, backoff=60)
    async def fails() -> None:
        raise ConnectionError(f"attempt {current_job().attempt}")

    job = fails.enqueue()
    belt.work()
    assert job.refresh().state is State.RETRYABLE
    clock.advance(60)
    belt.store.stage(limit=10).result()
    belt.work()
    with pytest.raises(JobDiscardedError, match="attempt 2"):
        job.result()
    assert [line.error.message for line in job.history()] == ["attempt 1", "attempt 2"]


def test_6_a_job_may_ask_to_come_back_later() -> None:
    belt = Conveyor("memory:", clock=FakeClock())

    @belt.task
    async def not_yet() -> None:
        raise Snooze(3600)

    job = not_yet.enqueue()
    belt.work()
    assert (job.refresh().state, job.record.attempt) == (State.SCHEDULED, 0)


def test_7_a_key_keeps_a_second_job_out() -> None:
    belt = Conveyor("memory:")

    @belt.task
    async def rebuild() -> None: ...

    first = rebuild.using(key="blog").enqueue()
    assert rebuild.using(key="blog").enqueue().id == first.id


def test_8_cancelled_is_only_said_once_it_is_true() -> None:
    belt = Conveyor("memory:")
    cleaned_up: list[bool] = []

    @belt.task
    async def forever() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned_up.append(True)

    async def main() -> None:
        worker = belt.worker()
        running = asyncio.create_task(worker.run())
        job = await forever.aenqueue()
        while not worker.running:  # noqa: ASYNC110 - it is looked at from outside
            await asyncio.sleep(0)
        assert await job.acancel(wait=10)
        assert cleaned_up == [True]
        worker.drain()
        await running

    asyncio.run(main())


def test_9_a_worker_that_is_drained_gives_back_what_it_has_not_begun() -> None:
    belt = Conveyor("memory:")
    gate = asyncio.Event()

    @belt.task
    async def held() -> str:
        await gate.wait()
        return "done"

    async def main() -> list[State]:
        worker = belt.worker(slots=1)
        running = asyncio.create_task(worker.run())
        first, second = await held.aenqueue(), await held.aenqueue()
        while not worker.running:  # noqa: ASYNC110 - it is looked at from outside
            await asyncio.sleep(0)
        worker.drain()
        gate.set()
        await running
        return [job.refresh().state for job in (first, second)]

    assert asyncio.run(main()) == [State.COMPLETED, State.AVAILABLE]


def test_10_only_the_newest_claim_of_a_job_may_write_its_result_back() -> None:
    clock = FakeClock()
    belt = Conveyor("memory:", clock=clock)

    @belt.task
    async def work() -> str:
        return "by the second worker"

    job = work.enqueue()
    frozen = Claimant("frozen", lease_for=60)
    [claimed] = belt.store.claim([Want("default", 1)], frozen, limit=1).result().jobs
    clock.advance(61)
    belt.work()  # finds the lease ended, and runs the job
    late = Report(claimed.id, claimed.lease, Succeeded(b'"by the frozen one"'))
    assert belt.store.settle([late]).result().settled == ()
    assert job.result() == "by the second worker"


def test_11_a_schedule_ticks_once_however_many_workers_there_are() -> None:
    clock = FakeClock(start=3600.0 * 24 * 365 + 10)
    belt = Conveyor("memory:", clock=clock)

    @belt.schedule("@hourly", missed="once")
    @belt.task
    async def report() -> None: ...

    belt.work()
    clock.advance(3600)
    assert belt.work() + belt.work() == 1


def test_12_a_killed_worker_loses_nothing(tmp_path: Path, until: Callable[..., None]) -> None:
    (tmp_path / "app.py").write_text(
        "from conveyor import Conveyor, current_job\n"
        "belt = Conveyor('jobs.db')\n"
        "@belt.task(name='slow')\n"
        "def slow() -> int:\n"
        "    if current_job().lease == 1: current_job().sleep(3600)\n"
        "    return current_job().lease\n"
    )
    command = [sys.executable, "-m", "conveyor", "worker", "app:belt"]
    belt = Conveyor(tmp_path / "jobs.db")
    slow = belt.task(name="slow")(os.getpid)  # only its name matters here
    job = slow.enqueue()
    victim = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    until(lambda: job.refresh().state is State.RUNNING)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as heir:
        assert job.result(timeout=30) == 2
        heir.terminate()
    belt.close()

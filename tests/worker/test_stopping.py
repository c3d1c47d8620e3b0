"""Running jobs that are told to stop: cancelled, drained, released, each said honestly."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conveyor import (
    Conveyor,
    JobCancelledError,
    State,
)
from shop import (
    RELEASED,
    Running,
    Until,
    _plain,
    belt,
    double,
    fresh_store,
    is_alive,
    listens,
    soon,
    stubborn,
    waits_for_stop,
    work,
)

_fresh_store = pytest.fixture(autouse=True)(fresh_store)


@pytest.mark.parametrize("which", [waits_for_stop, listens])
def test_a_running_job_is_reported_cancelled_only_after_it_has_stopped(
    which: Any, until: Until
) -> None:
    with Running() as worker:
        job = which.enqueue()
        until(lambda: worker.running)
        assert job.cancel(wait=60, reason="not needed")
    with pytest.raises(JobCancelledError, match="not needed"):
        job.result(30)


def test_a_running_command_is_cancelled_with_its_tree(until: Until, tmp_path: Path) -> None:
    with Running():
        pid = tmp_path / "pid"
        job = belt.command("sh", "-c", f"echo $$ >{pid}; sleep 60", queue="q").enqueue()
        until(lambda: pid.exists() and pid.read_text().strip())
        assert job.cancel(wait=60)
        assert not is_alive(int(pid.read_text()))


def test_a_job_that_ignores_its_cancel_is_never_reported_cancelled_while_it_runs(
    until: Until,
) -> None:
    with Running() as worker:
        job = stubborn.enqueue()
        until(lambda: worker.running)
        assert not job.cancel(wait=0.2)
        assert job.state is State.RUNNING
        assert job.record.cancel_requested_at is not None
        RELEASED.set()
        # It finished before it could be stopped, and that is what is said.
        assert job.result(30) == "done anyway"


def test_a_drain_lets_running_jobs_finish_and_releases_the_others(until: Until) -> None:
    def drain() -> None:
        worker.drain(60)
        RELEASED.set()

    with Running(slots=1) as worker:
        first = stubborn.enqueue()
        until(lambda: worker.running)
        second = double["coroutine"].enqueue(1)
        worker.call(drain)
        assert first.result(30) == "done anyway"
    assert second.refresh().state is State.AVAILABLE
    assert second.record.attempt == 0


def test_a_job_that_outlasts_the_drain_is_released_and_the_attempt_does_not_count(
    until: Until,
) -> None:
    with Running() as worker:
        job = waits_for_stop.enqueue()
        until(lambda: worker.running)
        worker.call(lambda: worker.drain(0.0))
        until(lambda: job.refresh().state is State.AVAILABLE)
        assert job.record.attempt == 0
    assert worker.released == 1


def test_a_cancel_at_the_end_of_a_job_never_hits_the_next_one() -> None:
    async def race() -> None:
        worker = belt.worker(queues=["q"], slots=1)
        running = asyncio.create_task(worker.run())
        for number in range(150):
            job = await double["coroutine"].aenqueue(number)
            for _ in range(number % 7):
                await asyncio.sleep(0)
            await job.acancel()
            after = await double["coroutine"].aenqueue(number)
            assert await after.aresult(60) == 2 * number
            record = await job.await_final(60)
            assert record.state in (State.COMPLETED, State.CANCELLED)
        worker.drain()
        await running

    asyncio.run(race())


def test_a_job_of_an_unknown_task_waits_for_other_code_and_names_the_remedy() -> None:
    other = Conveyor(store=belt.store)
    job = (
        other.queue("q")
        .task(
            _plain,
        )
        .using(queue="q")
        .enqueue(1)
    )
    work()
    record = job.refresh().record
    assert (record.state, record.attempt) == (State.RETRYABLE, 0)
    assert "no task named" in str(record.error)
    job.cancel(wait=1)


def test_a_worker_whose_run_is_cancelled_releases_its_jobs() -> None:
    async def main() -> None:
        worker = belt.worker(queues=["q"], slots=2)
        running = asyncio.create_task(worker.run())
        jobs = [await waits_for_stop.aenqueue(), await stubborn.aenqueue()]
        waiting = await double["coroutine"].aenqueue(1)
        await soon(lambda: len(worker.running) == 2)
        # One is being stopped in that moment: its cancel and the owner's are two.
        await jobs[1].acancel()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await jobs[0].arefresh()).state is State.AVAILABLE
        assert (await jobs[1].arefresh()).state is State.CANCELLED
        assert (await waiting.arefresh()).state is State.AVAILABLE

    asyncio.run(main())


def test_a_stop_that_comes_after_the_end_of_a_worker_leaves_no_task_behind() -> None:
    async def main() -> None:
        worker = belt.worker(queues=["q"])
        async with worker:
            pass
        before = asyncio.all_tasks()
        worker.drain()
        worker.cancel_all()
        assert asyncio.all_tasks() == before

    asyncio.run(main())


def test_the_finally_of_a_coroutine_that_is_given_up_is_over_before_anybody_is_told() -> None:
    over: list[State] = []
    other = Conveyor(store=belt.store)

    @other.queue("q").task(name="tidies up")
    async def tidies() -> None:
        try:
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
        finally:
            over.append(job.refresh().state)

    async def main() -> None:
        worker = other.worker(queues=["q"], slots=1)
        running = asyncio.create_task(worker.run())
        await soon(lambda: worker.running)
        worker.drain(0.0)
        await running
        assert over == [State.RUNNING]
        assert (await job.arefresh()).state is State.AVAILABLE

    job = tidies.using(grace=0.05).enqueue()
    asyncio.run(main())

"""Thread jobs: their own context, cooperative stops, and neighbours that do not wait."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time

import pytest
from runner_helpers import CANCEL, LONG, call, eventually, run_jobs, value

from conveyor.core.job_context import current_job
from conveyor.core.lifecycle import Failed, Snoozed
from conveyor.errors import Snooze
from conveyor.runners.job_control import JobControl, RunResult, Stopped
from conveyor.runners.thread import ThreadRunner

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


def one_thread() -> ThreadRunner:
    return ThreadRunner(1)


def test_many_jobs_each_get_their_own_result():
    def echo(number: int) -> str:
        return f"{number} in {current_job().id}"

    jobs = [call(echo, number, id=f"job-{number}") for number in range(500)]
    endings = run_jobs(lambda: ThreadRunner(8), *jobs)
    assert [value(each) for each in endings] == [f"{n} in job-{n}" for n in range(500)]


def test_a_job_does_not_see_context_variables_of_the_previous_job_in_its_thread():
    def leave() -> list[str]:
        before = SEEN.get()
        SEEN.set("something")
        return [before, threading.current_thread().name]

    first, second = run_jobs(one_thread, call(leave), call(leave))
    assert value(first) == value(second)
    assert value(first)[0] == "nothing"


def test_threads_are_started_on_demand_and_never_too_many():
    async def main() -> None:
        gate = threading.Event()

        def wait() -> bool:
            return gate.wait(LONG)

        def ours() -> int:
            return sum(each.name.startswith("conveyor-job") for each in threading.enumerate())

        runner = ThreadRunner(3)
        assert ours() == 0
        running = [asyncio.create_task(runner.run(call(wait))) for _ in range(5)]
        await eventually(lambda: ours() == 3)
        gate.set()
        assert all(value(ending) for ending in await asyncio.gather(*running))
        assert ours() == 3
        await runner.close()
        assert ours() == 0

    asyncio.run(main())


def test_short_jobs_share_a_few_threads_however_many_there_are():
    def name() -> str:
        return threading.current_thread().name

    async def main() -> set[str]:
        runner = ThreadRunner(100)
        names = set[str]()
        for _ in range(20):
            endings = await asyncio.gather(*(runner.run(call(name)) for _ in range(100)))
            names |= {value(ending) for ending in endings}
        await runner.close()
        return names

    assert len(asyncio.run(main())) < 50


def test_the_thread_that_was_idle_last_runs_the_next_job():
    def name() -> str:
        return threading.current_thread().name

    async def main() -> None:
        gates = [threading.Event() for _ in range(3)]

        def wait(number: int) -> str:
            gates[number].wait(LONG)
            return name()

        runner = ThreadRunner(3)
        running = [asyncio.create_task(runner.run(call(wait, n))) for n in range(3)]
        await eventually(lambda: len(runner._threads) == 3)
        names = list[str]()
        for idle, gate in enumerate(
            gates, 1
        ):  # one after the other, so that it is known who is last
            gate.set()
            await eventually(lambda idle=idle: len(runner._idle) == idle)
            names.append(value(await running[idle - 1]))
        for _ in range(5):
            assert value(await runner.run(call(name))) == names[-1]
            await eventually(lambda: len(runner._idle) == 3)
        await runner.close()

    asyncio.run(main())


def test_jobs_that_wait_for_each_other_all_get_a_thread():
    async def main() -> None:
        barrier = threading.Barrier(50)

        def meet() -> bool:
            return barrier.wait(LONG) >= 0

        runner = ThreadRunner(50)
        for _ in range(3):
            endings = await asyncio.gather(*(runner.run(call(meet)) for _ in range(50)))
            assert all(value(ending) for ending in endings)
        await runner.close()

    asyncio.run(main())


class Interrupted(JobControl):
    """A job whose thread is interrupted before its code begins, as by PyThreadState_SetAsyncExc."""

    @property
    def stopping(self) -> bool:
        raise SystemExit


def test_what_ends_a_thread_job_is_kept_for_its_log_line():
    def leaves() -> None:
        sys.exit(3)

    control = call(leaves)
    [ending] = run_jobs(lambda: ThreadRunner(1), control)
    assert isinstance(ending, Failed)
    assert isinstance(control.exception, SystemExit)


def test_a_thread_that_is_interrupted_outside_of_a_job_goes_on():
    def work() -> str:
        return "still here"

    usual = call(work)
    first, second = run_jobs(one_thread, Interrupted(usual.job, usual.task, usual.sink), call(work))
    assert isinstance(first, Failed)
    assert value(second) == "still here"


def test_a_blocking_job_does_not_delay_the_others():
    async def main() -> None:
        gate = threading.Event()

        def block() -> bool:
            return gate.wait(LONG)

        def echo(number: int) -> int:
            return number

        runner = ThreadRunner(2)
        blocked = asyncio.create_task(runner.run(call(block)))
        for number in range(200):
            assert value(await runner.run(call(echo, number))) == number
        gate.set()
        assert value(await blocked) is True
        await runner.close()

    asyncio.run(main())


def test_a_job_that_listens_is_stopped():
    def sleep() -> None:
        current_job().sleep(60)

    async def main() -> None:
        runner = one_thread()
        control = call(sleep)
        asyncio.get_running_loop().call_later(0.01, control.stop, CANCEL)
        assert await runner.run(control) == Stopped()
        await runner.close()

    asyncio.run(main())


def test_a_job_that_ignores_a_stop_keeps_running_and_its_result_counts():
    async def main() -> None:
        started, gate = threading.Event(), threading.Event()

        def deaf() -> str:
            started.set()
            gate.wait(LONG)
            return "finished"

        runner = one_thread()
        control = call(deaf)
        running: asyncio.Task[RunResult] = asyncio.create_task(runner.run(control))
        await eventually(started.is_set)
        control.stop(CANCEL)
        done, _ = await asyncio.wait([running], timeout=0.05)
        assert not done
        gate.set()
        assert value(await running) == "finished"
        await runner.close()

    asyncio.run(main())


def test_a_stop_just_as_the_job_ends_leaves_a_correct_ending():
    def quick() -> str:
        current_job().check()
        return "done"

    async def main() -> None:
        runner = one_thread()
        for turn in range(300):
            control = call(quick)
            running = asyncio.create_task(runner.run(control))
            for _ in range(turn % 3):
                await asyncio.sleep(0)
            control.stop(CANCEL)
            ending = await running
            assert ending == Stopped() or value(ending) == "done"
        await runner.close()

    asyncio.run(main())


class SilentError(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), ValueError("no"), SilentError()]
)
def test_no_exception_of_a_job_ends_its_thread(error: BaseException):
    def fail() -> None:
        raise error

    def work() -> str:
        return "still here"

    first, second = run_jobs(one_thread, call(fail), call(work))
    assert isinstance(first, Failed)
    assert first.error.type.endswith(type(error).__name__)
    assert value(second) == "still here"


def test_a_job_can_snooze():
    def later() -> None:
        raise Snooze(5)

    assert run_jobs(one_thread, call(later)) == [Snoozed(5.0)]


def test_closing_does_not_wait_for_jobs_that_never_end():
    gate = threading.Event()

    def stuck() -> None:
        gate.wait(LONG)

    async def main() -> float:
        runner = ThreadRunner(4)
        running = [asyncio.create_task(runner.run(call(stuck))) for _ in range(4)]
        await asyncio.sleep(0)
        for each in running:
            each.cancel()
        started = time.monotonic()
        await runner.close()
        return time.monotonic() - started

    assert asyncio.run(main()) < LONG / 2
    gate.set()

"""Coroutine jobs: their own context, honest endings, and no cancel that hits a neighbour."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from runner_helpers import CANCEL, LONG, RecordingSink, call, run_jobs, value

from conveyor.core.job_context import current_job
from conveyor.core.lifecycle import Failed, Snoozed, Succeeded
from conveyor.errors import Snooze
from conveyor.runners.coroutine import CoroutineRunner
from conveyor.runners.job_control import JobControl, RunResult, Stopped, StopRequest

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


def in_a_slot(work: Callable[[CoroutineRunner], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(LONG):
            await asyncio.create_task(_as_coroutine(work(CoroutineRunner())))

    asyncio.run(main())


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work


def one(control: JobControl) -> RunResult:
    [ending] = run_jobs(CoroutineRunner, control)
    return ending


async def add(left: int, right: int) -> int:
    await asyncio.sleep(0)
    return left + right


async def at_once() -> str:
    return "at once"


def test_a_job_returns_its_result_whether_it_waits_or_not():
    assert value(one(call(add, 2, 3))) == 5
    assert value(one(call(at_once))) == "at once"


def test_a_job_does_not_see_context_variables_of_the_previous_job():
    async def leave(mark: str) -> str:
        before = SEEN.get()
        SEEN.set(mark)
        await asyncio.sleep(0)
        return f"{before}, {SEEN.get()}"

    async def slot(runner: CoroutineRunner) -> None:
        assert value(await runner.run(call(leave, "first"))) == "nothing, first"
        assert value(await runner.run(call(leave, "second"))) == "nothing, second"
        assert SEEN.get() == "nothing"

    in_a_slot(slot)


def test_a_job_and_the_tasks_it_starts_know_which_job_they_are():
    async def ask() -> list[str]:
        async def child() -> str:
            return current_job().id

        mine = current_job().id
        await asyncio.sleep(0)
        return [mine, current_job().id, await asyncio.create_task(child())]

    first, second = run_jobs(CoroutineRunner, call(ask, id="one"), call(ask, id="two"))
    assert value(first) == ["one"] * 3
    assert value(second) == ["two"] * 3


def test_a_stop_cancels_the_job_and_nothing_else():
    async def slot(runner: CoroutineRunner) -> None:
        control = call(asyncio.sleep, 60)
        asyncio.get_running_loop().call_soon(control.stop, CANCEL)
        assert await runner.run(control) == Stopped()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert value(await runner.run(call(add, 1, 1))) == 2

    in_a_slot(slot)


def test_a_stop_before_the_job_starts_counts():
    control = call(add, 1, 1)
    control.stop(CANCEL)
    assert one(control) == Stopped()


def test_a_stop_just_as_the_job_ends_never_affects_the_next_job():
    async def steps(count: int) -> str:
        for _ in range(count):
            await asyncio.sleep(0)
        return "done"

    async def slot(runner: CoroutineRunner) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def later(rounds: int, control: JobControl) -> None:
            if rounds:
                loop.call_soon(later, rounds - 1, control)
            else:
                control.stop(CANCEL)

        for turn in range(600):
            control = call(steps, turn % 4)
            later(turn // 4 % 6, control)
            ending = await runner.run(control)
            assert ending == Stopped() or value(ending) == "done"
            assert task.cancelling() == 0
            for _ in range(3):
                await asyncio.sleep(0)
            control.stop(CANCEL)  # late, and for nobody
            await asyncio.sleep(0)

    in_a_slot(slot)


def test_a_job_that_ignores_the_stop_keeps_running_and_is_asked_again():
    asked: list[str] = []

    async def stubborn() -> str:
        while len(asked) < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                asked.append("again")
        return "in my own time"

    async def slot(runner: CoroutineRunner) -> None:
        control = call(stubborn)

        def ask() -> None:
            control.stop(CANCEL)
            if len(asked) < 3:
                asyncio.get_running_loop().call_later(0.001, ask)

        asyncio.get_running_loop().call_soon(ask)
        assert value(await runner.run(control)) == "in my own time"
        assert await asyncio.sleep(0, "the slot goes on") == "the slot goes on"

    in_a_slot(slot)


def test_a_job_that_cancels_itself_fails():
    async def raises() -> None:
        raise asyncio.CancelledError

    async def waits_for_what_is_cancelled() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    for function in (raises, waits_for_what_is_cancelled):
        ending = one(call(function))
        assert isinstance(ending, Failed)
        assert ending.error.type == "CancelledError"


def test_a_cancel_that_a_job_leaves_behind_does_not_affect_the_slot():
    async def cancel_and_return() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "returned"

    async def cancel_and_wait() -> None:
        await cancel_and_return()
        await asyncio.sleep(60)

    async def slot(runner: CoroutineRunner) -> None:
        assert value(await runner.run(call(cancel_and_return))) == "returned"
        assert value(await runner.run(call(add, 1, 1))) == 2
        assert isinstance(await runner.run(call(cancel_and_wait)), Failed)
        assert value(await runner.run(call(add, 1, 1))) == 2

    in_a_slot(slot)


def test_timeouts_and_task_groups_work_within_a_job():
    async def own_timeout() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timed out"
        return "not reached"

    async def group() -> str:
        async def fail() -> None:
            raise LookupError

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(60))
                tasks.create_task(fail())
        except ExceptionGroup as failures:
            return f"{len(failures.exceptions)} failed, the other was cancelled"
        return "not reached"

    first, second = run_jobs(CoroutineRunner, call(own_timeout), call(group))
    assert value(first) == "timed out"
    assert value(second) == "1 failed, the other was cancelled"


def test_a_stop_passes_through_a_timeout_and_a_task_group():
    async def deep() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(60))

    async def slot(runner: CoroutineRunner) -> None:
        control = call(deep)
        asyncio.get_running_loop().call_later(
            0.01, control.stop, StopRequest("timeout", "too long")
        )
        assert await runner.run(control) == Stopped()

    in_a_slot(slot)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_no_exception_of_a_job_ends_the_worker(error: BaseException):
    async def fail() -> None:
        raise error

    ending = one(call(fail))
    assert isinstance(ending, Failed)
    assert ending.error.type == type(error).__name__


def test_an_exception_that_cannot_be_printed_is_still_an_error():
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def fail() -> None:
        raise OddError

    async def not_text() -> None:
        raise FileNotFoundError("caf\udce9")

    ending = one(call(fail))
    assert isinstance(ending, Failed)
    assert "OddError" in ending.error.type
    assert "cannot be printed" in ending.error.message
    ending = one(call(not_text))
    assert isinstance(ending, Failed)
    assert ending.error.message == "caf\\udce9"


def test_a_result_that_json_cannot_encode_is_a_permanent_error():
    async def lock() -> object:
        return object()

    ending = one(call(lock))
    assert isinstance(ending, Failed)
    assert not ending.retry
    assert "lock" in ending.error.message
    assert "JSON" in ending.error.message


def test_a_job_can_snooze():
    async def later() -> None:
        raise Snooze(5)

    assert one(call(later)) == Snoozed(5.0)


def test_progress_reaches_the_sink():
    async def work() -> None:
        current_job().progress(1, 2, "half \udce9")

    sink = RecordingSink()
    assert one(call(work, sink=sink)) == Succeeded()
    assert sink.progress_reports[0].done == 1.0
    assert sink.progress_reports[0].message == "half \\udce9"


def test_a_cancelled_slot_lets_the_job_clean_up_and_reports_no_ending():
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    async def main() -> None:
        slot = asyncio.create_task(CoroutineRunner().run(call(work)))
        await asyncio.sleep(0)
        slot.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slot

    asyncio.run(main())
    assert cleaned == ["up"]


def test_a_lost_job_that_ignores_every_cancel_does_not_block_the_slot():
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        control = call(stubborn)
        slot = asyncio.create_task(CoroutineRunner().run(control))
        await asyncio.sleep(0)
        control.stop(StopRequest("lost", "the worker is leaving"))
        await asyncio.sleep(0)
        slot.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slot

    asyncio.run(main())


def test_a_cancel_of_the_slot_together_with_a_stop_is_not_mistaken_for_the_stop():
    async def stubborn() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def main() -> None:
        control = call(stubborn)
        slot = asyncio.create_task(CoroutineRunner().run(control))
        await asyncio.sleep(0)
        control.stop(StopRequest("lost", "the worker is leaving"))
        slot.cancel()
        ended, _ = await asyncio.wait([slot], timeout=LONG)
        slot.cancel()
        assert ended == {slot}

    asyncio.run(main())

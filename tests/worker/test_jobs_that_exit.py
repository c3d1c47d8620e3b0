"""Whatever a job does to end the worker, the job fails; the worker and other jobs go on."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

import pytest

from conveyor import Conveyor, State, current_job

LONG = 60.0


async def exits() -> NoReturn:
    await asyncio.sleep(0)
    sys.exit()


async def interrupts() -> NoReturn:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


async def wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def exits_in_gather() -> None:
    await asyncio.gather(exits(), wait_for_ever())


async def interrupts_in_gather() -> None:
    await asyncio.gather(interrupts(), wait_for_ever())


async def exits_in_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(exits())
        group.create_task(wait_for_ever())


async def exits_in_a_task_that_it_awaits() -> None:
    await asyncio.create_task(exits())


async def exits_in_a_background_task() -> None:
    task = asyncio.create_task(exits())
    await wait_for_ever()
    await task


async def exits_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit)
    await wait_for_ever()


async def exits_in_a_timer() -> None:
    asyncio.get_running_loop().call_later(0.001, sys.exit, 3)
    await wait_for_ever()


async def exits_in_a_done_callback() -> None:
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda _: sys.exit())
    future.set_result(None)
    await wait_for_ever()


async def exits_in_a_callback_from_a_thread() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(loop.call_soon_threadsafe, sys.exit)
    await wait_for_ever()


async def exits_and_swallows_what_that_does() -> None:
    asyncio.get_running_loop().call_soon(sys.exit)
    with suppress(BaseException):
        await wait_for_ever()


async def exits_in_the_exception_handler() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: sys.exit())
    loop.call_soon(lambda: 1 / 0)
    try:
        await wait_for_ever()
    finally:
        loop.set_exception_handler(None)


async def stops_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await wait_for_ever()


async def stops_the_loop_from_a_thread_of_its_own() -> None:
    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    raise LookupError


async def closes_the_loop() -> None:
    asyncio.get_running_loop().close()
    await wait_for_ever()


async def runs_the_loop() -> None:
    asyncio.get_running_loop().run_forever()


async def raises_a_group_with_an_exit() -> None:
    raise BaseExceptionGroup("all", [SystemExit(), KeyboardInterrupt()])


async def raises_an_exit_of_its_own() -> None:
    class OwnExit(BaseException):
        pass

    async def fail() -> None:
        raise OwnExit

    await asyncio.create_task(fail())


async def cancels_itself_from_a_task() -> None:
    own = asyncio.current_task()
    assert own is not None
    asyncio.get_running_loop().call_soon(own.cancel)
    await wait_for_ever()


async def cancels_all_tasks() -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await wait_for_ever()


class SilentError(Exception):
    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


async def raises_what_exits_when_printed() -> None:
    raise SilentError


class LyingError(Exception):
    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise SystemExit


async def raises_what_exits_when_its_class_is_asked_for() -> None:
    raise LyingError


async def recurses() -> None:
    await recurses()


async def runs_out_of_memory() -> None:
    raise MemoryError


BAD = [
    exits,
    exits_in_gather,
    interrupts_in_gather,
    exits_in_task_group,
    exits_in_a_task_that_it_awaits,
    exits_in_a_background_task,
    exits_in_a_callback,
    exits_in_a_timer,
    exits_in_a_done_callback,
    exits_in_a_callback_from_a_thread,
    exits_and_swallows_what_that_does,
    exits_in_the_exception_handler,
    stops_the_loop,
    stops_the_loop_from_a_thread_of_its_own,
    closes_the_loop,
    runs_the_loop,
    raises_a_group_with_an_exit,
    raises_an_exit_of_its_own,
    cancels_itself_from_a_task,
    cancels_all_tasks,
    raises_what_exits_when_printed,
    raises_what_exits_when_its_class_is_asked_for,
    recurses,
    runs_out_of_memory,
]


@pytest.mark.parametrize("bad", BAD, ids=lambda each: each.__name__)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_job_that_tries_to_end_the_worker_fails_and_its_neighbours_complete(
    bad: Callable[[], Awaitable[None]],
) -> None:
    belt = Conveyor("memory:")

    async def works() -> str:
        await asyncio.sleep(0.02)
        return current_job().id

    before = [belt.task(works, name="works").enqueue() for _ in range(3)]
    culprit = belt.task(bad, name="bad").enqueue()
    after = [belt.functions["works"].enqueue() for _ in range(10)]
    assert belt.work(slots=4, timeout=LONG) == 14
    assert culprit.state is State.DISCARDED
    assert [job.state for job in (*before, *after)] == [State.COMPLETED] * 13
    belt.close()


def test_an_interrupt_while_a_job_raises_one_itself_ends_the_worker_after_its_jobs() -> None:
    belt = Conveyor("memory:")

    async def interrupts_itself() -> None:
        await asyncio.gather(interrupts(), wait_for_ever())

    async def is_interrupted() -> str:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        return "goes on"

    bad = belt.task(interrupts_itself, name="bad").enqueue()
    good = belt.task(is_interrupted, name="good").enqueue()
    with pytest.raises(KeyboardInterrupt):
        belt.work(slots=2, timeout=LONG)
    assert (bad.state, good.result(0)) == (State.DISCARDED, "goes on")
    belt.close()


def test_a_second_interrupt_in_code_of_a_job_ends_the_worker_at_once_and_blames_no_job() -> None:
    belt = Conveyor("memory:")

    def interrupt_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    async def is_interrupted() -> None:
        asyncio.get_running_loop().call_soon(interrupt_twice)
        await wait_for_ever()

    job = belt.task(is_interrupted, name="job").enqueue()
    with pytest.raises(KeyboardInterrupt):
        belt.work(timeout=LONG)
    assert (job.state, job.record.attempt) == (State.AVAILABLE, 0)
    belt.close()

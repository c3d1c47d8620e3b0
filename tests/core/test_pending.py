"""Pending answers: any mixture of threads and coroutines may wait, time out and wait again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from conveyor.core.pending import Pending, failed, ready, run_sync, wake

Until = Callable[[Callable[[], object]], None]
SOON = 60.0


def resolve(answer: Pending[int], value: int = 7) -> None:
    answer.resolve(value)
    wake([answer])


def waiters(answer: Pending[int]) -> int:
    return len(answer._waiters)


async def registered(answer: Pending[int], count: int) -> None:
    async with asyncio.timeout(SOON):
        while waiters(answer) < count:  # noqa: ASYNC110 - threads register too
            await asyncio.sleep(0)


def test_a_ready_answer_is_returned_and_an_error_is_raised() -> None:
    assert ready(3).result() == 3
    with pytest.raises(KeyError):
        failed(KeyError("k")).result()
    with pytest.raises(KeyError):
        asyncio.run(awaited(failed(KeyError("k"))))


async def awaited(answer: Pending[int]) -> int:
    async with asyncio.timeout(SOON):
        return await answer


def test_a_timeout_leaves_the_answer_to_be_waited_for_again(until: Until) -> None:
    answer = Pending[int]()
    with pytest.raises(TimeoutError):
        answer.result(0.001)
    assert waiters(answer) == 0
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(answer.result, SOON)
        until(lambda: waiters(answer))
        resolve(answer)
        assert later.result(SOON) == 7


def test_it_can_be_awaited_after_a_blocking_wait_has_timed_out() -> None:
    answer = Pending[int]()

    async def main() -> int:
        with pytest.raises(TimeoutError):
            answer.result(0.001)
        asyncio.get_running_loop().call_soon(resolve, answer)
        return await awaited(answer)

    assert asyncio.run(main()) == 7


def test_a_thread_can_wait_after_an_awaiter_was_cancelled(until: Until) -> None:
    answer = Pending[int]()

    async def cancelled() -> None:
        async with asyncio.timeout(0.001):
            await answer

    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())
    assert waiters(answer) == 0
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(answer.result, SOON)
        until(lambda: waiters(answer))
        resolve(answer)
        assert later.result(SOON) == 7


def test_one_answer_wakes_all_awaiters_of_all_loops_and_all_blocked_threads() -> None:
    answer = Pending[int]()

    async def main() -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            blocked = [pool.submit(answer.result, SOON) for _ in range(2)]
            elsewhere = pool.submit(lambda: asyncio.run(awaited(answer)))
            here = [asyncio.create_task(awaited(answer)) for _ in range(2)]
            await registered(answer, 5)
            pool.submit(resolve, answer)
            values = await asyncio.gather(*here)
            return [*values, *(each.result(SOON) for each in (*blocked, elsewhere))]

    assert asyncio.run(main()) == [7] * 5


def test_an_awaiter_that_was_cancelled_takes_nothing_from_the_others() -> None:
    answer = Pending[int]()

    async def main() -> int:
        first, second = (asyncio.create_task(awaited(answer)) for _ in range(2))
        await registered(answer, 2)
        first.cancel()
        await asyncio.wait([first])
        resolve(answer)
        return await second

    assert asyncio.run(main()) == 7


def test_waiters_of_a_closed_loop_do_not_keep_the_others_asleep(until: Until) -> None:
    answer = Pending[int]()
    loop = asyncio.new_event_loop()
    abandoned = loop.create_task(awaited(answer))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert waiters(answer) == 1
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(answer.result, SOON)
        until(lambda: waiters(answer) == 2)
        loop.close()
        resolve(answer)
        assert later.result(SOON) == 7
    abandoned._log_destroy_pending = False  # type: ignore[attr-defined]


def test_no_waiter_sleeps_on_when_answers_and_timeouts_come_together() -> None:
    """Timeouts near the time of the answer: each waiter gets the answer or its timeout."""

    def wait(answer: Pending[int], seconds: float, got: Future[int]) -> None:
        try:
            answer.result(seconds)
        except TimeoutError:
            assert answer.result(SOON) == 7
        got.set_result(7)

    for step in range(100):
        answer = Pending[int]()
        got: list[Future[int]] = [Future() for _ in range(4)]
        threads = [
            threading.Thread(target=wait, args=(answer, step * each * 1e-6, future))
            for each, future in enumerate(got)
        ]
        for thread in threads:
            thread.start()
        resolve(answer)
        for future, thread in zip(got, threads, strict=True):
            assert future.result(SOON) == 7
            thread.join(SOON)


def test_code_that_really_waits_cannot_be_run_without_a_loop() -> None:
    async def wait() -> None:
        await Pending[int]()

    with pytest.raises(RuntimeError):
        run_sync(wait())


def test_a_callback_is_called_when_the_answer_comes_and_at_once_if_it_is_here() -> None:
    answer = Pending[int]()
    seen: list[int] = []
    answer.when_done(lambda: seen.append(answer.result(0)))
    assert seen == []
    resolve(answer)
    answer.when_done(lambda: seen.append(-answer.result(0)))
    assert seen == [7, -7]


def test_a_callback_is_called_once_although_the_answer_is_seen_and_woken() -> None:
    answer = Pending[int]()
    seen: list[int] = []
    answer.when_done(lambda: seen.append(answer.result(0)))
    answer.resolve(7)
    wake([answer])
    wake([answer])
    assert seen == [7]

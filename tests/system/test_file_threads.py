"""Threads for operations that must not block an event loop."""

from __future__ import annotations

import asyncio
import threading
import time

from conveyor.system.file_threads import FileThreads

LIMIT = 30.0


def test_a_lingering_thread_runs_the_next_operation() -> None:
    threads = FileThreads(4, linger=LIMIT)

    async def run_two() -> list[int]:
        first = await threads.run(threading.get_ident)
        deadline = time.monotonic() + LIMIT
        while not threads._idle:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
        return [first, await threads.run(threading.get_ident)]

    first, second = asyncio.run(run_two())
    assert first == second


def test_as_many_operations_run_at_once_as_there_may_be_threads() -> None:
    threads = FileThreads(3, linger=LIMIT)
    gate = threading.Barrier(3)

    async def meet() -> None:
        for _ in range(2):
            await asyncio.gather(*(wait() for _ in range(3)))

    async def wait() -> None:
        await threads.run(lambda: gate.wait(LIMIT))

    asyncio.run(meet())


def test_a_part_that_an_operation_leaves_for_later_lets_others_go_first() -> None:
    threads = FileThreads(1)
    order: list[str] = []
    is_queued = threading.Event()

    def first() -> None:
        assert is_queued.wait(LIMIT)
        order.append("first")
        threads.resume(lambda: order.append("the rest of it"))

    async def run_all() -> None:
        started = threads.run(first)
        other = threads.run(lambda: order.append("other"))
        is_queued.set()
        await started
        await other
        await threads.run(lambda: order.append("last"))

    asyncio.run(run_all())
    assert order == ["first", "other", "the rest of it", "last"]

"""Slots take jobs in turns, so that the event loop gets to what else there is to do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor import Conveyor
from conveyor.core.pending import Pending
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Exchanged, Report, Want
from conveyor.worker.idle_slots import TURN, IdleSlots

LONG = 60.0


class Slots:
    """Some slots, and jobs that each are how many rounds of the event loop they wait for."""

    def __init__(self, count: int) -> None:
        self.ready: deque[int] = deque()
        self.idle = IdleSlots(lambda: len(self.ready))
        self.started = self.ended = self.waits = 0
        self.tasks = [asyncio.create_task(self._run()) for _ in range(count)]

    async def _run(self) -> None:
        while True:
            if not self.ready or not self.idle.left:
                self.waits += 1
                await self.idle.wait()
                continue
            self.idle.left -= 1
            self.started += 1
            for _ in range(self.ready.popleft()):
                await asyncio.sleep(0)
            self.ended += 1

    def add(self, jobs: Sequence[int]) -> None:
        self.ready.extend(jobs)
        self.idle.wake()

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def rounds_until(done: Callable[[], bool], most: int) -> int:
    """Return after how many rounds of the event loop something is so."""
    for number in range(most):
        if done():
            return number
        await asyncio.sleep(0)
    raise AssertionError(f"not within {most} rounds")


@pytest.mark.parametrize("count", [1, 50])
def test_jobs_that_never_wait_let_others_come_between_and_wake_few_slots(count: int) -> None:
    async def run() -> None:
        slots = Slots(count)
        await asyncio.sleep(0)
        slots.add([0] * (20 * TURN))
        rounds = await rounds_until(lambda: slots.ended == 20 * TURN, most=100)
        assert rounds >= 20
        assert slots.waits <= count + 3 * rounds
        await slots.end()

    asyncio.run(run())


def test_jobs_that_wait_start_in_many_slots_within_a_few_rounds() -> None:
    async def run() -> None:
        slots = Slots(1000)
        await asyncio.sleep(0)
        slots.add([100] * 1000)
        await rounds_until(lambda: slots.started == 1000, most=30)
        await slots.end()

    asyncio.run(run())


@given(
    count=st.integers(1, 5),
    batches=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3 * TURN), max_size=4),
    pauses=st.lists(st.integers(0, 5), min_size=4, max_size=4),
)
def test_no_job_is_forgotten_while_slots_are_free(
    count: int, batches: list[list[int]], pauses: list[int]
) -> None:
    async def run() -> None:
        slots = Slots(count)
        for batch, pause in zip(batches, pauses, strict=False):
            slots.add(batch)
            for _ in range(pause):
                await asyncio.sleep(0)
        await rounds_until(lambda: slots.ended == sum(map(len, batches)), most=10_000)
        await slots.end()

    asyncio.run(run())


def test_a_slot_that_ends_when_it_is_woken_wakes_another_one() -> None:
    async def run() -> None:
        slots = Slots(2)
        await asyncio.sleep(0)
        slots.add([0])
        slots.tasks[0].cancel()
        await rounds_until(lambda: slots.ended == 1, most=20)
        await slots.end()

    asyncio.run(run())


class ObservedStore(MemoryStore):
    """Notes at each claim how many jobs the worker holds already."""

    def __init__(self) -> None:
        super().__init__()
        self.claimed = self.ran = 0
        self.held: list[int] = []

    def exchange(
        self, reports: Sequence[Report], wants: Sequence[Want], *args: Any, **options: Any
    ) -> Pending[Exchanged]:
        if wants:
            self.held.append(self.claimed - self.ran)
        answer = super().exchange(reports, wants, *args, **options)
        self.claimed += len(answer.result().jobs)
        return answer


def test_the_next_claim_is_sent_while_jobs_of_the_last_one_wait_for_a_slot() -> None:
    store = ObservedStore()
    belt = Conveyor(store=store)

    @belt.task
    async def job() -> None:
        store.ran += 1

    job.enqueue_many([()] * 20_000)
    assert belt.work(slots=10, timeout=LONG) == 20_000
    later = store.held[len(store.held) // 2 :]
    assert sum(held > 10 for held in later) > len(later) / 2
    belt.close()

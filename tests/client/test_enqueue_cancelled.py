"""An enqueue that is cancelled while the store is at it leaves no offer behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from conveyor import Conveyor
from conveyor.core.job import NewJob
from conveyor.core.pending import Pending, wake
from conveyor.errors import NotFoundError
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Accepted, Offered


class SlowStore(MemoryStore):
    """Answers an insert only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inserting: list[tuple[Pending[Accepted | Offered], Accepted | Offered]] = []

    def insert(self, jobs: Sequence[NewJob], **options: Any) -> Pending[Accepted | Offered]:
        answer: Pending[Accepted | Offered] = Pending()
        self.inserting.append((answer, super().insert(jobs, **options).result()))
        return answer

    def answer(self) -> Accepted | Offered:
        [(pending, answer)] = self.inserting
        pending.resolve(answer)
        wake([pending])
        return answer


def cancel_while_inserting(capacity: int) -> tuple[SlowStore, Accepted | Offered]:
    store = SlowStore()
    belt = Conveyor(store=store)
    queue = belt.queue("narrow", capacity=capacity)

    @queue.task(name="noop")
    def noop() -> None: ...

    async def give_up() -> None:
        enqueuing = asyncio.create_task(noop.aenqueue())
        while not store.inserting:  # noqa: ASYNC110 - a turn of the loop or two
            await asyncio.sleep(0)
        enqueuing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await enqueuing

    asyncio.run(give_up())
    return store, store.answer()


def test_an_offer_that_comes_too_late_is_withdrawn() -> None:
    store, answer = cancel_while_inserting(capacity=0)
    assert isinstance(answer, Offered)
    with pytest.raises(NotFoundError):
        store.accepted(answer.offer).result()


def test_a_job_that_was_accepted_stays() -> None:
    store, answer = cancel_while_inserting(capacity=1)
    assert isinstance(answer, Accepted)
    assert store.get(answer.ids[0]).result().queue == "narrow"

"""An enqueue that is cancelled or interrupted ends once its job cannot be accepted later."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from conveyor import Conveyor
from conveyor.client import enqueue
from conveyor.client.task_function import enqueue_or_nothing
from conveyor.core.job import NewJob, State
from conveyor.core.pending import Pending, wake
from conveyor.errors import JobCancelledError, NotFoundError, UnavailableError
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Accepted, Claimant, Offered, Want
from slow_store import Answer, SlowStore
from still_loop import StillLoop, turn

Until = Callable[[Callable[[], object]], None]
Enqueue = Callable[[Any], Coroutine[Any, Any, object]]
ENQUEUES: dict[str, Enqueue] = {
    "one": lambda task: task.aenqueue(),
    "many": lambda task: task.aenqueue_many([()]),
    "refused when full": lambda task: task.using(when_full="refuse").aenqueue(),
    "with a limit": lambda task: task.using(wait=60).aenqueue(),
}


def task_on(store: SlowStore, capacity: int) -> Any:
    queue = Conveyor(store=store).queue("narrow", capacity=capacity)

    @queue.task(name="noop")
    def noop() -> None: ...

    return noop


async def start(enqueuing: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
    task = asyncio.ensure_future(enqueuing)
    await turn()
    return task


def is_withdrawn(store: SlowStore, offer: str) -> bool:
    try:
        store.accepted(offer).result()
    except NotFoundError:
        return True
    return False


@pytest.mark.parametrize("how", ENQUEUES)
def test_a_cancelled_enqueue_ends_once_its_offer_is_withdrawn(how: str) -> None:
    store = SlowStore()

    async def main() -> None:
        enqueuing = await start(ENQUEUES[how](task_on(store, capacity=0)))
        enqueuing.cancel()
        await turn()
        assert not enqueuing.done(), "the job may still be accepted"
        offered = store.inserting.release()
        assert isinstance(offered, Offered)
        await turn()
        assert not enqueuing.done(), "the job may still be accepted"
        store.withdrawing.release()
        with pytest.raises(asyncio.CancelledError):
            await enqueuing
        assert is_withdrawn(store, offered.offer)

    asyncio.run(main())


def test_an_enqueue_that_is_cancelled_while_it_waits_for_room_ends_once_it_is_withdrawn() -> None:
    store = SlowStore()

    async def main() -> None:
        enqueuing = await start(task_on(store, capacity=0).aenqueue())
        store.inserting.release()
        await turn()
        enqueuing.cancel()
        await turn()
        assert not enqueuing.done(), "the job may still be accepted"
        store.withdrawing.release()
        with pytest.raises(asyncio.CancelledError):
            await enqueuing

    asyncio.run(main())


def test_a_job_that_was_accepted_stays() -> None:
    store = SlowStore()

    async def main() -> None:
        enqueuing = await start(task_on(store, capacity=1).aenqueue())
        enqueuing.cancel()
        await turn()
        assert not enqueuing.done(), "nobody knows yet whether the job was accepted"
        answer = store.inserting.release()
        with pytest.raises(asyncio.CancelledError):
            await enqueuing
        assert store.get(answer.ids[0]).result().queue == "narrow"

    asyncio.run(main())


def test_an_enqueue_that_must_leave_nothing_cancels_a_job_that_was_accepted() -> None:
    store = SlowStore()

    async def main() -> None:
        enqueuing = await start(enqueue_or_nothing(task_on(store, capacity=1)))
        enqueuing.cancel()
        await turn()
        answer = store.inserting.release()
        with pytest.raises(asyncio.CancelledError):
            await enqueuing
        job = store.get(answer.ids[0]).result()
        assert (job.state, job.error) == (State.CANCELLED, f"Cancelled: {enqueue.STOPPED}")

    asyncio.run(main())


def test_it_cancels_a_job_that_a_worker_takes_before_it_is_withdrawn() -> None:
    store = SlowStore()

    async def main() -> None:
        enqueuing = await start(enqueue_or_nothing(task_on(store, capacity=0)))
        store.inserting.release()
        await turn()
        [job] = store.claim([Want("narrow", 1)], Claimant("w"), limit=1).result().jobs
        enqueuing.cancel()
        await turn()
        if store.withdrawing.answers:  # it may have been told of its acceptance before
            store.withdrawing.release()
        await asyncio.wait([enqueuing])
        assert store.get(job.id).result().cancel_requested_at is not None

    asyncio.run(main())


def test_it_leaves_a_job_of_somebody_else_with_the_same_key() -> None:
    store = SlowStore()

    async def main() -> None:
        task = task_on(store, capacity=1).using(key="once")
        enqueuing = await start(task.aenqueue())
        first = store.inserting.release()
        await enqueuing
        store.inserting.answers.clear()
        enqueuing = await start(enqueue_or_nothing(task))
        enqueuing.cancel()
        await turn()
        assert store.inserting.release().ids == first.ids
        with pytest.raises(asyncio.CancelledError):
            await enqueuing
        assert store.get(first.ids[0]).result().state is State.AVAILABLE

    asyncio.run(main())


def test_a_cancelled_enqueue_that_the_store_refuses_ends_at_once() -> None:
    store = SlowStore()

    async def main() -> None:
        enqueuing = await start(task_on(store, capacity=0).aenqueue())
        enqueuing.cancel()
        await turn()
        [(inserting, _)] = store.inserting.answers
        inserting.fail(UnavailableError("the disk is full"))
        wake([inserting])
        await turn()
        assert enqueuing.cancelled()

    asyncio.run(main())


def test_a_second_cancel_ends_the_enqueue_and_the_offer_is_withdrawn_later() -> None:
    store = SlowStore()

    async def main() -> None:
        enqueuing = await start(task_on(store, capacity=0).aenqueue())
        enqueuing.cancel()
        await turn()
        enqueuing.cancel()
        await turn()
        assert enqueuing.cancelled()

    asyncio.run(main())
    offered = store.inserting.release()
    assert is_withdrawn(store, offered.offer)


def test_a_store_that_does_not_answer_delays_a_cancel_for_a_limited_time() -> None:
    store = SlowStore()
    loop = StillLoop()

    async def main() -> None:
        enqueuing = await start(task_on(store, capacity=0).aenqueue())
        enqueuing.cancel()
        await turn()
        loop.advance(enqueue.WITHDRAWAL_TIMEOUT)
        with pytest.raises(asyncio.CancelledError):
            await enqueuing

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    offered = store.inserting.release()
    assert is_withdrawn(store, offered.offer)


def test_a_timeout_around_an_enqueue_is_still_a_timeout() -> None:
    store = SlowStore()
    loop = StillLoop()

    async def main() -> None:
        async def give_up() -> None:
            async with asyncio.timeout(50):
                await task_on(store, capacity=0).aenqueue()

        giving_up = await start(give_up())
        loop.advance(50)
        await turn()
        store.inserting.release()
        await turn()
        assert not giving_up.done()
        store.withdrawing.release()
        with pytest.raises(TimeoutError):
            await giving_up
        assert giving_up.cancelling() == 0

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_a_task_group_ends_once_the_enqueues_in_it_are_withdrawn() -> None:
    store = SlowStore()

    async def fail() -> None:
        raise LookupError

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(task_on(store, capacity=0).aenqueue())
            await turn()
            tasks.create_task(fail())

    async def main() -> None:
        grouped = await start(group())
        store.inserting.release()
        await turn()
        assert not grouped.done()
        store.withdrawing.release()
        with pytest.raises(ExceptionGroup) as raised:
            await grouped
        assert [type(each) for each in raised.value.exceptions] == [LookupError]

    asyncio.run(main())


def test_a_coroutine_that_is_closed_waits_for_nothing() -> None:
    store = SlowStore()

    async def main() -> None:
        enqueuing = task_on(store, capacity=0).aenqueue()
        enqueuing.send(None)
        enqueuing.close()  # RuntimeError if it awaits anything

    asyncio.run(main())
    gc.collect()
    offered = store.inserting.release()
    assert is_withdrawn(store, offered.offer)


class Prompted(Pending[Any]):
    """An answer that comes from another thread, and only once somebody asks to be told."""

    def __init__(self, answer: Any, interrupt: BaseException | None = None) -> None:
        super().__init__()
        self.answer = answer
        self._interrupt = interrupt

    def result(self, timeout: float | None = None) -> Any:
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            raise interrupt
        return super().result(timeout)

    def when_done(self, callback: Callable[[], object]) -> None:
        super().when_done(callback)
        threading.Thread(target=self._come).start()

    def _come(self) -> None:
        self.resolve(self.answer)
        wake([self])


class InterruptingStore(MemoryStore):
    """Its caller is stopped while it waits for an insert."""

    def __init__(self, interrupt: BaseException) -> None:
        super().__init__()
        self._interrupt = interrupt
        self.withdrawing: list[Prompted] = []

    def insert(self, jobs: Sequence[NewJob], **options: Any) -> Pending[Answer]:
        return Prompted(super().insert(jobs, **options).result(), self._interrupt)

    def withdraw(self, offer: str) -> Pending[Accepted | None]:
        answer = Prompted(super().withdraw(offer).result())
        self.withdrawing.append(answer)
        return answer


@pytest.mark.parametrize(
    "interrupt",
    [
        pytest.param(KeyboardInterrupt(), id="Ctrl-C"),
        pytest.param(JobCancelledError("1", "the job was stopped by SIGTERM"), id="SIGTERM"),
    ],
)
def test_a_blocking_enqueue_that_is_interrupted_ends_once_its_offer_is_withdrawn(
    interrupt: BaseException,
) -> None:
    store = InterruptingStore(interrupt)
    with pytest.raises(type(interrupt)):
        task_on(store, capacity=0).enqueue()
    [withdrawing] = store.withdrawing
    assert withdrawing.done


def test_a_submit_that_is_interrupted_ends_once_its_offer_is_withdrawn(until: Until) -> None:
    store = SlowStore()
    store.set_paused("calls", paused=True).result()
    caller = threading.get_ident()

    def is_submitting() -> bool:
        # It also waits for the thread that makes the call, before there is one.
        stack = traceback.extract_stack(sys._current_frames()[caller])
        is_waiting = stack[-1].name == "wait" and "follow" in [frame.name for frame in stack]
        return bool(store.inserting.answers) and is_waiting

    def interrupt() -> None:
        until(is_submitting)
        signal.pthread_kill(caller, signal.SIGINT)
        store.inserting.release()
        until(lambda: store.withdrawing.answers)
        store.withdrawing.release()

    with Conveyor(store=store) as belt:
        belt.queue("calls", capacity=0)
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            belt.submit(len, "")
        store.set_paused("calls", paused=False).result()  # so that a call that is left ends
        interrupting.join(30)
        [(withdrawing, _)] = store.withdrawing.answers
        assert withdrawing.done

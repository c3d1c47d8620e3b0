"""The public interface as a program uses it: bounds, keys, bulk, schedules, the Executor."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conveyor import (
    Conveyor,
    EncodingError,
    JobCancelledError,
    JobDiscardedError,
    NotFoundError,
    QueueFullError,
    State,
    UnavailableError,
    UsageError,
    WaitTimeoutError,
)
from conveyor.store.memory.store import MemoryStore
from conveyor.testing import FakeClock

Until = Callable[..., None]


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else str(tmp_path / "jobs.db")


@pytest.fixture
def belt(url: str) -> Iterator[Conveyor]:
    opened = Conveyor(url)
    yield opened
    opened.close()


def noop(belt: Conveyor, capacity: int | None = None, **rule: Any) -> Any:
    @belt.queue("q", capacity=capacity, **rule).task(name="noop")
    async def task(number: int = 0) -> int:
        return number

    return task


def depth(belt: Conveyor) -> int:
    return belt.queues["q"].depth


def offers(belt: Conveyor) -> int:
    return sum(queue.offers for queue in belt.store.counts().result(10))


async def soon(done: Callable[[], object]) -> None:
    """Let the event loop go round until something is so."""
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - it is looked at from outside
            await asyncio.sleep(0.001)


# -- room ------------------------------------------------------------------------------------------


def test_a_producer_that_refuses_to_wait_is_told_depth_and_capacity(belt: Conveyor) -> None:
    task = noop(belt, capacity=2, when_full="refuse")
    task.enqueue_many([(), ()])
    with pytest.raises(QueueFullError) as refused:
        task.enqueue()
    assert (refused.value.depth, refused.value.capacity, refused.value.queue) == (2, 2, "q")
    assert depth(belt) == 2


def test_a_blocking_producer_waits_until_a_worker_makes_room(belt: Conveyor, until: Until) -> None:
    task = noop(belt, capacity=1)
    task.enqueue(1)
    ids: list[str] = []
    producer = threading.Thread(target=lambda: ids.append(task.enqueue(2).id))
    producer.start()
    until(lambda: offers(belt) == 1)
    assert not ids
    belt.work(timeout=30, keep=False)
    producer.join(30)
    assert belt.job(ids[0]).result(30) == 2


def test_a_waiting_coroutine_lets_its_loop_go_on(belt: Conveyor) -> None:
    task = noop(belt, capacity=1)

    async def main() -> list[int]:
        await task.aenqueue(1)
        waiting = asyncio.create_task(task.aenqueue(2))
        await soon(lambda: offers(belt))
        assert not waiting.done()
        worker = belt.worker(keep=False)
        running = asyncio.create_task(worker.run())
        value = await (await waiting)
        worker.drain()
        await running
        return [value]

    assert asyncio.run(main()) == [2]


def test_work_until_idle_runs_each_retry_that_has_no_pause_before_it(belt: Conveyor) -> None:
    tries: list[int] = []

    @belt.queue("q").task(name="flaky", retries=9, backoff=0)
    async def flaky() -> None:
        tries.append(len(tries))
        raise LookupError

    job = flaky.enqueue()
    assert belt.work(timeout=30, keep=False) == 10
    assert job.refresh().state is State.DISCARDED
    assert tries == list(range(10))


def test_waiting_for_room_ends_after_the_time_given(belt: Conveyor) -> None:
    task = noop(belt, capacity=1)
    task.enqueue()
    with pytest.raises(QueueFullError, match=r"is full \(1/1\), cannot add 1"):
        task.using(wait=0.02).enqueue()
    assert offers(belt) == 0


def test_dropping_the_oldest_keeps_the_newest_and_says_why(belt: Conveyor) -> None:
    task = noop(belt, capacity=2, when_full="drop_oldest")
    first, _, _ = (task.enqueue(number) for number in range(3))
    assert depth(belt) == 2
    with pytest.raises(JobDiscardedError, match="was full"):
        first.result(30)


def test_many_jobs_are_enqueued_together_or_not_at_all(belt: Conveyor) -> None:
    task = noop(belt, capacity=3, when_full="refuse")
    with pytest.raises(QueueFullError):
        task.enqueue_many([(number,) for number in range(4)])
    assert depth(belt) == 0
    jobs = task.enqueue_many([(1,), {"number": 2}])
    belt.work(timeout=30, keep=False)
    assert [job.result(30) for job in jobs] == [1, 2]


def test_one_bad_call_among_many_enqueues_none(belt: Conveyor) -> None:
    task = noop(belt)
    with pytest.raises(EncodingError, match="number"):
        task.enqueue_many([(1,), (object(),)])
    assert depth(belt) == 0


def test_a_blocking_wait_inside_a_running_loop_is_refused_with_the_way_out(belt: Conveyor) -> None:
    task = noop(belt, capacity=1)

    async def main() -> None:
        task.enqueue()
        with pytest.raises(UsageError, match="prefix `a`"):
            task.enqueue()

    asyncio.run(main())


# -- keys, times, handles --------------------------------------------------------------------------


def test_a_key_gives_back_the_job_that_lives(belt: Conveyor) -> None:
    task = noop(belt)
    first = task.using(key="cat").enqueue()
    again = task.using(key="cat").enqueue()
    assert (again.id, again.existing, first.existing) == (first.id, True, False)
    belt.work(timeout=30, keep=False)
    assert task.using(key="cat").enqueue().id != first.id


def test_a_delayed_job_runs_when_its_time_has_come() -> None:
    clock = FakeClock()
    belt = Conveyor("memory:", clock=clock)
    task = noop(belt)
    job = task.using(delay="1h").enqueue(7)
    assert belt.work(timeout=30) == 0
    assert job.refresh().state is State.SCHEDULED
    clock.advance(3600)
    belt.store.stage(limit=10).result(10)
    assert belt.work(timeout=30) == 1
    assert job.result(30) == 7
    belt.close()


def test_a_job_that_nobody_wants_any_more_is_not_run() -> None:
    clock = FakeClock()
    belt = Conveyor("memory:", clock=clock)
    job = noop(belt).using(expires_at=clock.now() + 60).enqueue()
    clock.advance(61)
    assert belt.work(timeout=30) == 0
    with pytest.raises(JobDiscardedError, match="Expired"):
        job.result(30)
    belt.close()


def test_a_handle_tells_how_a_job_stands(belt: Conveyor) -> None:
    job = noop(belt).enqueue(3)
    assert job.state is State.AVAILABLE
    with pytest.raises(WaitTimeoutError, match="still available"):
        job.result(0.01)
    belt.work(timeout=30, keep=False)
    assert job.refresh().state is State.COMPLETED
    assert belt.job(job.id).result(30) == 3
    assert job.cancel() is False
    with pytest.raises(NotFoundError, match="no-such"):
        belt.job("no-such")


def test_a_cancelled_job_raises_where_its_result_is_asked_for(belt: Conveyor) -> None:
    job = noop(belt).enqueue()
    assert job.cancel(reason="not needed") is True
    with pytest.raises(JobCancelledError, match="not needed"):
        job.result(30)


def test_a_closed_belt_says_so(belt: Conveyor) -> None:
    task = noop(belt)
    belt.close()
    belt.close()
    with pytest.raises(UnavailableError, match="closed"):
        task.enqueue()


def test_a_task_is_still_a_function(belt: Conveyor) -> None:
    @belt.task
    def add(a: int, b: int = 1) -> int:
        "Add."
        return a + b

    assert add(2, b=3) == 5
    assert (add.__name__, add.__doc__) == ("add", "Add.")


# -- declarations that cannot be meant -------------------------------------------------------------


def test_a_queue_cannot_be_declared_in_two_ways(belt: Conveyor) -> None:
    belt.queue("q", capacity=3)
    assert belt.queue("q").capacity == 3
    with pytest.raises(UsageError, match="already declared"):
        belt.queue("q", capacity=4)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"capacity": -1}, "capacity must be .* got -1"),
        ({"capacity": True}, "capacity must be .* got True"),
        (
            {"when_full": "explode"},
            "'refuse' or 'drop_oldest', got 'explode'",
        ),
        ({"when_full": "drop_oldest"}, "needs a capacity"),
        ({"when_full": "drop_oldest", "capacity": 0}, "needs a capacity"),
    ],
)
def test_a_bound_that_cannot_be_meant_is_refused(
    belt: Conveyor, rule: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        belt.queue("q", **rule)


@pytest.mark.parametrize("thing", [functools.partial(print), str.upper, 3, dict])
def test_what_has_no_name_cannot_be_a_task(belt: Conveyor, thing: Any) -> None:
    with pytest.raises(UsageError, match=r"a function that has a name|no signature"):
        belt.task(name="odd")(thing)


def test_two_tasks_of_one_name_are_refused(belt: Conveyor) -> None:
    noop(belt)

    def other() -> None: ...

    with pytest.raises(UsageError, match="two tasks are named 'noop'"):
        belt.task(name="noop")(other)


def test_a_wrong_schedule_is_refused_where_it_is_written(belt: Conveyor) -> None:
    task = noop(belt)
    for rule, options, said in (
        ("61 * * * *", {}, "five fields"),
        ("@daily", {"timezone": "Mars/Olympus"}, "unknown time zone 'Mars/Olympus'"),
        ("@daily", {"missed": "maybe"}, "skip"),
        ("every 1ms", {}, "too frequent"),
        ("@daily", {"args": (1, 2, 3)}, "too many"),
    ):
        with pytest.raises(UsageError, match=said):
            belt.schedule(rule, **options)(task)


# -- schedules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("missed", "runs"), [("skip", 0), ("once", 1), ("all", 3)])
def test_missed_ticks_are_skipped_run_once_or_all_run(missed: Any, runs: int) -> None:
    clock = FakeClock(start=1_000_000 * 3600.0 + 10)
    belt = Conveyor("memory:", clock=clock)
    task = noop(belt)
    belt.schedule("@hourly", name="tick", missed=missed)(task)
    assert belt.work(timeout=30) == 0  # from here on the schedule is known
    # A tick that is less than a minute late would not count as missed.
    clock.advance(3 * 3600 + 600)
    ended = belt.work(timeout=30) + belt.work(timeout=30)  # the tick may come after the last look
    assert ended == len(belt.jobs(queue="q", limit=10)) == runs
    belt.close()


def test_two_workers_never_run_the_same_tick_twice(tmp_path: Path) -> None:
    clock = FakeClock(start=1_000_000 * 3600.0 + 10)
    belts = [Conveyor(tmp_path / "jobs.db", clock=clock) for _ in range(2)]
    for belt in belts:
        belt.schedule("@hourly", name="tick", missed="all")(noop(belt))

    async def work() -> None:
        workers = [belt.worker(keep=False) for belt in belts]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        await soon(lambda: belts[0].store.schedules().result(10))
        clock.advance(2 * 3600)
        await soon(lambda: len(belts[0].jobs(queue="q", states=["completed"], limit=10)) == 2)
        for worker in workers:
            worker.drain()
        await asyncio.gather(*running)

    asyncio.run(work())
    assert len(belts[0].jobs(queue="q", limit=10)) == 2
    for belt in belts:
        belt.close()


@pytest.mark.parametrize("wrong", [MemoryStore(), 5, b"jobs.db"])
def test_a_url_that_is_neither_a_string_nor_a_path_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="url must be a string or a path, got"):
        Conveyor(wrong)

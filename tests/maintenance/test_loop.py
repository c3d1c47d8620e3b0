"""The loop runs each service when it is due: rounds, sweeps, and what wakes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from conveyor.core.job import NewJob, State, TaskDefaults, WorkerInfo
from conveyor.errors import UnavailableError
from conveyor.maintenance.loop import (
    RAREST,
    SHARERS,
    SWEEP_EVERY,
    MaintenanceLoop,
    maintenance_loop,
    pace,
)
from conveyor.maintenance.pruner import PRUNE_EVERY
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Want
from conveyor.testing import FakeClock
from still_loop import StillLoop, turn

ME = WorkerInfo(
    id="me", host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1, queues=("q",)
)


def play(
    clock: FakeClock, store: MemoryStore, scene: Callable[[MaintenanceLoop], Awaitable[None]]
) -> None:
    async def main() -> None:
        await scene(maintenance_loop(store, lambda: ME, elapsed=clock.now))

    asyncio.run(main())


def beat_at(store: MemoryStore) -> float:
    return store.workers().result()[0].beat_at


def test_a_heartbeat_is_sent_with_each_sweep(clock: FakeClock, store: MemoryStore) -> None:
    async def scene(loop: MaintenanceLoop) -> None:
        await loop.round()
        first = beat_at(store)
        clock.advance(SWEEP_EVERY - 1)
        await loop.round()
        assert beat_at(store) == first
        clock.advance(1)
        await loop.round()
        assert beat_at(store) == first + SWEEP_EVERY
        assert loop.rounds == 3

    play(clock, store, scene)


def test_a_request_or_a_wake_for_a_sweep_sends_the_heartbeat_at_once(
    clock: FakeClock, store: MemoryStore
) -> None:
    async def scene(loop: MaintenanceLoop) -> None:
        await loop.round()
        for wake in (
            lambda: loop.wake(sweep=True),
            lambda: loop.heartbeat.request("quiet"),
        ):
            clock.advance(1)
            wake()
            await loop.round()
            assert beat_at(store) == clock.now()
        before = beat_at(store)
        clock.advance(1)
        loop.wake()
        await loop.round()
        assert beat_at(store) == before

    play(clock, store, scene)


def test_a_job_is_staged_when_it_is_due_and_a_job_for_sooner_when_it_is_heard_of(
    clock: FakeClock, store: MemoryStore
) -> None:
    def state(job: str) -> State:
        return store.get(job).result().state

    async def scene(loop: MaintenanceLoop) -> None:
        store.insert([NewJob(id="later", task="t", queue="q", delay=3.0)]).result()
        await loop.round()
        store.insert([NewJob(id="soon", task="t", queue="q", delay=1.0)]).result()
        clock.advance(2)
        await loop.round()
        assert state("soon") is State.SCHEDULED  # until a hint or a sweep
        loop.wake()
        await loop.round()
        assert (state("soon"), state("later")) == (State.AVAILABLE, State.SCHEDULED)
        clock.advance(1)
        await loop.round()
        assert state("later") is State.AVAILABLE

    play(clock, store, scene)


def test_a_lapsed_lease_is_rescued_with_a_sweep(clock: FakeClock, store: MemoryStore) -> None:
    async def scene(loop: MaintenanceLoop) -> None:
        store.insert([NewJob(id="a", task="t", queue="q")]).result()
        assert store.claim([Want("q", 1)], Claimant("dead", 2.0), limit=1).result().jobs
        await loop.round()
        clock.advance(3)
        await loop.round()
        assert store.get("a").result().state is State.RUNNING
        clock.advance(SWEEP_EVERY)
        await loop.round()
        assert store.get("a").result().state is State.AVAILABLE

    play(clock, store, scene)


def test_final_jobs_are_pruned_after_their_retention(clock: FakeClock, store: MemoryStore) -> None:
    async def main() -> None:
        kept = {State.CANCELLED: 2 * PRUNE_EVERY}
        loop = maintenance_loop(store, lambda: ME, retention=kept, elapsed=clock.now)
        store.insert([NewJob(id="a", task="t", queue="q")]).result()
        store.cancel("a", reason="r").result()
        clock.advance(PRUNE_EVERY)
        await loop.round()
        assert store.get("a").result().state is State.CANCELLED
        clock.advance(1.5 * PRUNE_EVERY)
        await loop.round()
        assert [each.counts for each in store.counts().result() if any(each.counts.values())] == []

    asyncio.run(main())


class Silent(MemoryStore):
    """A store that cannot be reached by one round."""

    calls = 0

    def beat(self, worker: WorkerInfo):  # type: ignore[no-untyped-def]
        self.calls += 1
        if self.calls == 1:
            raise UnavailableError("away")
        return super().beat(worker)


@pytest.mark.parametrize("due_in", [None, 0.05, 0.0, 60.0])
def test_rounds_go_on_after_an_error_and_only_good_ones_are_reported(
    clock: FakeClock, due_in: float | None
) -> None:
    store = Silent(clock)
    if due_in is not None:
        store.insert([NewJob(id="a", task="t", queue="q", delay=due_in)]).result()
    seen: list[WorkerInfo] = []

    async def main() -> None:
        loop = maintenance_loop(store, lambda: ME, elapsed=clock.now, after_round=seen.append)
        rounds = asyncio.create_task(loop.run())
        while not store.calls:  # noqa: ASYNC110 - the failed round reports nothing
            await asyncio.sleep(0)
        loop.wake(sweep=True)
        await turn()
        timers.advance(0.02)  # far less than until the next regular round
        await turn()
        assert loop.rounds == len(seen) == 1
        rounds.cancel()

    timers = StillLoop()
    with asyncio.Runner(loop_factory=lambda: timers) as runner:
        runner.run(main())
    assert seen == [ME]


class LateTasks(MemoryStore):
    """Cannot be reached for the first declaration of tasks."""

    calls = 0

    def put_tasks(self, tasks):  # type: ignore[no-untyped-def]
        self.calls += 1
        if self.calls == 1:
            raise UnavailableError("away")
        return super().put_tasks(tasks)


def test_tasks_are_declared_until_the_store_has_them_and_then_no_more(clock: FakeClock) -> None:
    store = LateTasks(clock)
    old, new = TaskDefaults(name="send", priority=1), TaskDefaults(name="send", priority=2)

    async def main() -> None:
        loop = maintenance_loop(store, lambda: ME, tasks=[old], elapsed=clock.now)
        with pytest.raises(UnavailableError):
            await loop.round()
        await loop.round()
        assert await store.task_defaults("send") == old
        # A newer version of the application is started: this one does not undo what it declares.
        await store.put_tasks([new])
        await loop.round()
        assert await store.task_defaults("send") == new

    asyncio.run(main())


def test_a_few_workers_keep_the_pace_and_many_share_it() -> None:
    assert [pace(peers, 0.0) for peers in (1, SHARERS)] == [1.0, 1.0]
    assert pace(2 * SHARERS, 0.5) == 2.0
    assert pace(100 * SHARERS, 0.5) == RAREST
    assert pace(2 * SHARERS, 0.0) < 2.0 < pace(2 * SHARERS, 1.0)


@pytest.mark.parametrize("is_shared", [False, True])
def test_among_many_workers_each_sweeps_more_rarely_and_still_sends_its_beats(
    clock: FakeClock, store: MemoryStore, is_shared: bool
) -> None:
    def others_beat() -> None:
        for number in range(2 * SHARERS - 1):
            other = msgspec.structs.replace(ME, id=f"other-{number}", begun=str(number))
            store.beat(other).result()

    async def main() -> None:
        loop = maintenance_loop(
            store, lambda: ME, is_shared=is_shared, draw=lambda: 0.5, elapsed=clock.now
        )
        others_beat()
        await loop.round()
        store.insert([NewJob(id="a", task="t", queue="q", delay=1.0)]).result()
        swept: list[bool] = []
        for _ in range(3):
            clock.advance(SWEEP_EVERY)
            others_beat()
            await loop.round()
            assert beat_at(store) == clock.now()
            swept.append(store.get("a").result().state is State.AVAILABLE)
        assert swept == ([False, True, True] if is_shared else [True, True, True])

    asyncio.run(main())

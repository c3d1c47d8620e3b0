"""The rescuer returns the jobs of dead workers and of expired leases."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import msgspec
import pytest

from conveyor.core.job import NewJob, State, WorkerInfo
from conveyor.maintenance.rescuer import (
    LATE_CALLS,
    REMOVE_AFTER,
    SIDECAR_TIME,
    STEP,
    UNJUDGED_FOR,
    Rescuer,
)
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Lease, Want
from conveyor.testing import FakeClock


def worker(name: str) -> WorkerInfo:
    return WorkerInfo(
        id=name, host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1, queues=()
    )


class Scene:
    """Workers "mine" and "other" in one store; "other" holds the job "a"."""

    def __init__(self, clock: FakeClock, store: MemoryStore) -> None:
        self.clock, self.store = clock, store
        self.gone: set[str] = set()
        self.unlocked: set[str] = set()
        self.journal: Collection[str] | None = None
        self.rescuer = Rescuer(
            store,
            worker="mine",
            elapsed=clock.now,
            is_dead=lambda each, _: each.id in self.gone,
            has_died=lambda each, *_: each.id in self.unlocked,
            read_journal=lambda *_: self.journal,
        )
        for name in ("mine", "other"):
            store.beat(worker(name)).result()
        store.insert([NewJob(id="a", task="t")]).result()
        claimant = Claimant("other", 60.0)
        assert store.claim([Want("default", 1)], claimant, limit=1).result().jobs

    def rescue(self, *, expired: bool = False) -> None:
        async def work() -> None:
            await self.rescuer.rescue(expired=expired)

        asyncio.run(work())

    @property
    def state(self) -> State:
        return self.store.get("a").result().state

    @property
    def crashes(self) -> int:
        return self.store.get("a").result().crashes

    @property
    def known(self) -> set[str]:
        return {each.id for each in self.store.workers().result()}


def test_jobs_of_a_living_worker_are_left_alone(clock: FakeClock, store: MemoryStore) -> None:
    scene = Scene(clock, store)
    scene.rescue(expired=True)
    assert (scene.state, scene.known) == (State.RUNNING, {"mine", "other"})


def test_a_worker_whose_journal_is_unlocked_is_dead_at_once(
    clock: FakeClock, store: MemoryStore
) -> None:
    scene = Scene(clock, store)
    scene.unlocked = {"other"}
    scene.rescue()
    assert (scene.state, scene.crashes, scene.known) == (State.AVAILABLE, 1, {"mine"})


class NetworkStore(MemoryStore):
    """A store to which a call may still be on its way when its process is dead."""

    can_be_partitioned = True


def test_a_claim_that_arrives_after_its_worker_s_death_is_returned_too(clock: FakeClock) -> None:
    store = NetworkStore(clock)
    scene = Scene(clock, store)
    scene.unlocked, scene.journal = {"other"}, ["a"]
    scene.rescue()
    assert (scene.state, scene.known) == (State.AVAILABLE, {"mine", "other"})
    scene.journal = []
    assert store.claim([Want("default", 1)], Claimant("other", 60.0), limit=1).result().jobs
    clock.advance(LATE_CALLS - 0.1)
    scene.rescue()
    assert (scene.state, scene.crashes, scene.known) == (State.AVAILABLE, 1, {"mine", "other"})
    clock.advance(0.1)
    scene.rescue()
    assert scene.known == {"mine"}
    store.close()


def test_the_sidecar_of_a_dead_worker_has_the_first_go(
    clock: FakeClock, store: MemoryStore
) -> None:
    scene = Scene(clock, store)
    scene.gone = {"other"}
    scene.rescue()
    clock.advance(SIDECAR_TIME - 0.1)
    scene.rescue()
    assert scene.state is State.RUNNING
    clock.advance(0.1)
    scene.rescue()
    assert (scene.state, scene.known) == (State.AVAILABLE, {"mine"})


def test_a_crash_is_not_blamed_on_a_job_that_had_not_started(
    clock: FakeClock, store: MemoryStore
) -> None:
    scene = Scene(clock, store)
    scene.unlocked, scene.journal = {"other"}, frozenset()
    scene.rescue()
    assert (scene.state, scene.crashes) == (State.AVAILABLE, 0)


def test_expired_leases_are_rescued_only_when_that_is_asked_for(
    clock: FakeClock, store: MemoryStore
) -> None:
    scene = Scene(clock, store)
    clock.advance(61)
    scene.rescue()
    assert scene.state is State.RUNNING
    scene.rescue(expired=True)
    assert scene.state is State.AVAILABLE


def test_a_silent_worker_is_removed_but_never_this_one(
    clock: FakeClock, store: MemoryStore
) -> None:
    scene = Scene(clock, store)
    clock.advance(REMOVE_AFTER + 1)
    scene.rescue(expired=True)
    assert scene.known == {"mine"}


def test_a_job_that_killed_its_last_worker_is_logged_as_an_error(
    clock: FakeClock, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(clock, store)
    scene.gone = {"other"}
    scene.unlocked = {"other"}
    scene.journal = ["a"]
    for _ in range(2):
        scene.rescue()
        store.beat(worker("other")).result()
        assert store.claim([Want("default", 1)], Claimant("other", 60.0), limit=1).result().jobs
    assert [each for each in caplog.records if each.name == "conveyor.job"] == []
    scene.rescue()
    [record] = [each for each in caplog.records if each.name == "conveyor.job"]
    assert (record.levelname, vars(record)["job_id"], vars(record)["task"]) == ("ERROR", "a", "t")
    assert "the worker's process died" in record.getMessage()
    assert record.exc_info


class SteppedScene(Scene):
    """The same, with a monotonic clock that does not follow when the store's clock is set."""

    def __init__(self, clock: FakeClock, store: MemoryStore) -> None:
        super().__init__(clock, store)
        self.elapsed = 0.0
        self.rescuer = Rescuer(
            store,
            worker="mine",
            elapsed=lambda: self.elapsed,
            is_dead=lambda each, _: each.id in self.gone,
            has_died=lambda each, *_: each.id in self.unlocked,
            read_journal=lambda *_: self.journal,
        )

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.elapsed += seconds


def test_a_clock_that_is_set_forward_expires_no_lease_that_is_renewed(
    clock: FakeClock, store: MemoryStore
) -> None:
    scene = SteppedScene(clock, store)
    scene.rescue(expired=True)
    clock.advance(3600.0)  # set, not passed
    for _ in range(3):
        scene.rescue(expired=True)
        scene.advance(5.0)
    assert (scene.state, scene.known) == (State.RUNNING, {"mine", "other"})
    store.extend([Lease("a", 1)], lease_for=60.0).result()
    scene.advance(UNJUDGED_FOR - 10.0)
    scene.rescue(expired=True)
    assert scene.state is State.RUNNING
    scene.advance(60.0)
    scene.rescue(expired=True)
    assert scene.state is State.AVAILABLE


def test_a_clock_that_drifts_expires_leases(clock: FakeClock, store: MemoryStore) -> None:
    scene = SteppedScene(clock, store)
    scene.rescue(expired=True)
    scene.advance(61.0)
    clock.advance(STEP)
    scene.rescue(expired=True)
    assert scene.state is State.AVAILABLE


def test_time_that_passes_expires_leases(clock: FakeClock, store: MemoryStore) -> None:
    scene = SteppedScene(clock, store)
    scene.rescue(expired=True)
    scene.advance(3600.0)
    scene.rescue(expired=True)
    assert scene.state is State.AVAILABLE


def test_a_dead_worker_is_found_whatever_the_clock_says(
    clock: FakeClock, store: MemoryStore
) -> None:
    scene = SteppedScene(clock, store)
    scene.rescue(expired=True)
    clock.advance(3600.0)
    scene.unlocked = {"other"}
    scene.rescue(expired=True)
    assert scene.state is State.AVAILABLE


@pytest.mark.parametrize("expired", [True, False], ids=["sweep", "between sweeps"])
def test_a_clock_that_is_set_forward_costs_a_living_worker_nothing_beside_a_dead_one(
    expired: bool,
    clock: FakeClock,
    store: MemoryStore,
) -> None:
    scene = SteppedScene(clock, store)
    store.beat(worker("third")).result()
    store.insert([NewJob(id="b", task="t")]).result()
    assert store.claim([Want("default", 1)], Claimant("third", 60.0), limit=1).result().jobs
    scene.rescue(expired=True)
    clock.advance(3600.0)  # set, not passed
    scene.unlocked = {"other"}
    scene.rescue(expired=expired)
    assert scene.state is State.AVAILABLE
    assert store.get("b").result().state is State.RUNNING
    scene.advance(UNJUDGED_FOR)
    scene.rescue(expired=True)
    assert store.get("b").result().state is State.AVAILABLE


class FolderStore(NetworkStore):
    """A store with a folder for journals; it counts how often its list of workers is read."""

    folder = "journals"
    reads = 0

    def workers(self, **page: Any) -> Any:
        self.reads += 1
        return super().workers(**page)


class FolderScene(Scene):
    """Workers with journals: `unlocked` has the names of those whose lock is free."""

    store: FolderStore

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, FolderStore(clock))
        self.journals: set[str] = set()
        self.rescuer = Rescuer(
            self.store,
            worker="mine",
            elapsed=clock.now,
            is_dead=lambda each, _: each.id in self.gone,
            has_died=lambda each, *_: each.begun in self.journals,
            read_journal=lambda *_: self.journal,
            find_unlocked=lambda _, known: frozenset(self.journals.difference(known)),
        )
        self.start("mine")
        self.start("other")
        self.rescue(expired=True)
        self.store.reads = 0

    def start(self, name: str) -> None:
        self.store.beat(msgspec.structs.replace(worker(name), begun=f"{name}.journal")).result()

    def reads(self, *, expired: bool = False) -> int:
        """Rescue, and return how often the list was read."""
        before = self.store.reads
        self.rescue(expired=expired)
        self.clock.advance(1)
        return self.store.reads - before


def test_the_list_of_workers_is_read_by_sweeps_while_no_lock_is_free(clock: FakeClock) -> None:
    scene = FolderScene(clock)
    assert [scene.reads(), scene.reads(), scene.reads(expired=True), scene.reads()] == [0, 0, 1, 0]
    scene.journals = {"other.journal"}
    assert scene.reads() == 1
    assert scene.state is State.AVAILABLE
    # Until no call of the dead worker can arrive any more.
    assert [scene.reads() for _ in range(5)] == [1, 1, 1, 1, 1]
    assert scene.known == {"mine"}
    scene.journals = set()  # with the worker, its journal is removed
    assert [scene.reads(), scene.reads()] == [0, 0]


def test_a_worker_that_has_come_since_is_found_by_its_lock(clock: FakeClock) -> None:
    scene = FolderScene(clock)
    scene.start("new")
    scene.store.insert([NewJob(id="b", task="t")]).result()
    assert scene.store.claim([Want("default", 1)], Claimant("new", 60.0), limit=1).result().jobs
    assert scene.reads() == 0
    scene.journals = {"new.journal"}
    assert scene.reads() == 1
    assert scene.store.get("b").result().state is State.AVAILABLE


def test_journals_of_other_stores_are_known_after_two_sweeps(clock: FakeClock) -> None:
    scene = FolderScene(clock)
    scene.journals = {"foreign"}
    assert [scene.reads(), scene.reads(expired=True), scene.reads()] == [1, 1, 1]
    assert [scene.reads(expired=True), scene.reads(), scene.reads()] == [1, 0, 0]
    # One that was unlocked only while it was created, at the moment of a sweep.
    scene.journals = {"foreign", "young.journal"}
    assert scene.reads(expired=True) == 1
    scene.journals = {"foreign"}
    assert [scene.reads(expired=True), scene.reads()] == [1, 0]
    scene.journals.add("young.journal")
    assert scene.reads() == 1


def test_peers_are_those_that_use_the_store_themselves_and_sent_a_beat(clock: FakeClock) -> None:
    scene = FolderScene(clock)
    scene.store.beat(worker("agent")).result()
    scene.rescue(expired=True)
    assert scene.rescuer.peers(within=15) == 2
    clock.advance(20)
    assert scene.rescuer.peers(within=15) == 1

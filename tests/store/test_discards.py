"""What a store discards although no code of a job has failed is kept until it is logged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from calls import claim, new, put
from damageable import File

from conveyor.core.job import State, WorkerInfo
from conveyor.core.lifecycle import EXPIRED
from conveyor.errors import UsageError
from conveyor.job_log import log_discards
from conveyor.maintenance.pruner import RETENTION
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import UNLOGGED
from conveyor.store.protocol import Store
from conveyor.store.sql.operations.transitions import end_unrun
from conveyor.store.sql.transaction import Tx
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

WORKER = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=1.0, slots=1, queues=("q",)
)


@pytest.fixture(params=["memory", "sqlite"])
def local(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Store]:
    store: Store = (
        MemoryStore(clock)
        if request.param == "memory"
        else SqliteStore(tmp_path / "jobs.db", clock=clock, durability="normal")
    )
    yield store
    store.close()


def discarded(store: Store) -> list[tuple[str, str]]:
    return [(job.id, error.type) for job, error in store.discards]


def test_jobs_that_expire_wait_to_be_logged(local: Store, clock: FakeClock) -> None:
    put(local, new(id="swept", expires_at=clock.now() + 1, delay=9))
    clock.advance(2)
    local.stage(limit=9).result()
    put(local, new(id="claimed", expires_at=clock.now() + 1))
    clock.advance(2)
    assert claim(local) == []
    assert discarded(local) == [("swept", "Expired"), ("claimed", "Expired")]


def test_jobs_that_a_full_queue_drops_wait_to_be_logged(local: Store) -> None:
    for name in ("a", "b", "c"):
        put(local, new(id=name), capacity=1, when_full="drop_oldest")
    assert discarded(local) == [("a", "Dropped"), ("b", "Dropped")]


@pytest.mark.parametrize("how", ["rescued", "removed"])
def test_jobs_whose_worker_died_too_often_wait_to_be_logged(
    local: Store, clock: FakeClock, how: str
) -> None:
    put(local, new(id="once", crash_limit=1), new(id="often"))
    local.beat(WORKER).result()
    assert len(claim(local, limit=2)) == 2
    if how == "rescued":
        clock.advance(61)
        local.rescue(limit=9).result()
    else:
        local.dismiss("w", force=True).result()
    assert discarded(local) == [("once", "WorkerLost")]
    [(job, _)] = local.discards
    assert job.attempt == 1


def test_jobs_that_are_cancelled_or_fail_do_not_wait_to_be_logged(local: Store) -> None:
    put(local, new(id="job"))
    local.cancel("job", reason="r").result()
    assert discarded(local) == []


def test_only_the_newest_discards_are_kept(local: Store) -> None:
    for number in range(UNLOGGED + 2):
        put(local, new(id=f"{number}"), capacity=1, when_full="drop_oldest")
    assert len(local.discards) == UNLOGGED
    assert local.discards[-1][0].id == f"{UNLOGGED}"
    log_discards(local.discards)
    assert not local.discards


def test_damaged_jobs_wait_to_be_logged(file: File) -> None:
    put(file.store, new(id="claimed"), new(id="astray"))
    file.plant({"claimed": "options = x'7b'", "astray": "state = 'weird'"})
    assert claim(file.store) == []
    file.store.prune(RETENTION, limit=9).result()
    assert discarded(file.behind) == [
        ("claimed", "CorruptStoreError"),
        ("astray", "CorruptStoreError"),
    ]
    assert discarded(file.store) == discarded(file.behind)[: 2 * (file.store is file.behind)]


def test_what_is_rolled_back_is_not_logged(file: File) -> None:
    put(file.behind, new(id="job"))
    job = file.behind.get("job").result()

    async def fails(tx: Tx) -> None:
        await end_unrun(tx, job, State.DISCARDED, EXPIRED)
        raise UsageError("no")

    with pytest.raises(UsageError):
        file.behind._driver.submit(fails, reads=False).result()
    assert file.behind.get("job").result().state is State.AVAILABLE
    assert discarded(file.behind) == []

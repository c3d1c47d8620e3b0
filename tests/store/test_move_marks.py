"""What is moved is closed, and what is in the way of a move stops it before it begins."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from calls import BROKEN, claim, new, offer, put
from moves import Killed, Stores, die_at, moved, quiet

from conveyor.core.job import State, TaskDefaults, WorkerInfo
from conveyor.core.lifecycle import Succeeded
from conveyor.core.pending import Pending
from conveyor.errors import UnavailableError, UsageError
from conveyor.store.messages import SILENCE, Claimant, Report, Want
from conveyor.store.move.move import mark_of, move, undo
from conveyor.store.open import open_store
from conveyor.store.sql.store import SqlStore
from conveyor.store.sql.transaction import Tx
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

T = TypeVar("T")


def test_nothing_opens_the_source_afterwards_until_the_move_is_undone(
    stores: Stores, clock: FakeClock
) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    put(source, new())
    moved(source, target)
    with pytest.raises(UnavailableError, match=r"were moved to .*2\.db: use that address"):
        open_store(source.url)
    open_store(target.url).close()
    assert undo(source).is_done
    opened = open_store(source.url)
    assert len(claim(opened)) == 1
    opened.close()
    with pytest.raises(UsageError, match="nothing to undo"):
        undo(source)


def test_nothing_opens_a_moved_schema_until_the_move_is_undone(
    stores: Stores, clock: FakeClock
) -> None:
    source, target = stores.open("postgres"), stores.open("sqlite")
    put(source, new())
    moved(source, target)
    with pytest.raises(UnavailableError, match=r"were moved to .*\.db: use that address"):
        open_store(source.url)
    undo(source)
    open_store(source.url).close()
    assert len(claim(source)) == 1


def test_a_process_that_has_the_source_open_can_change_nothing(
    way: tuple[SqlStore, SqlStore], clock: FakeClock
) -> None:
    source, target = way
    ids = put(source, new()) + put(source, new(queue="other"))
    [final] = put(source, new(queue="final"))
    source.cancel(final, reason="").result()
    [job] = claim(source, lease_for=10.0)
    clock.advance(20.0)
    moved(source, target)
    for call in (
        lambda: source.insert([new()], capacity=None),
        lambda: source.insert([new(key="k")], capacity=5),
        lambda: source.insert([new(), new()], capacity=None),
        lambda: source.cancel(ids[1], reason=""),
        lambda: source.delete(final),
        lambda: source.retry(final),
        lambda: source.claim([Want("other", 1)], Claimant("w", 60.0), limit=1),
        lambda: source.settle([Report(job.id, job.lease, Succeeded())]),
        lambda: source.settle([Report(job.id, job.lease, BROKEN)]),
        lambda: source.put_tasks([TaskDefaults(name="t")]),
        lambda: source.rescue(limit=9),
    ):
        with pytest.raises(UnavailableError, match="closed: its jobs were moved, or are being"):
            call().result()
    assert source.get(ids[1]).result().state is State.AVAILABLE


def test_the_target_opens_only_when_all_is_there(stores: Stores, clock: FakeClock) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    put(source, *(new() for _ in range(20)))
    with pytest.raises(Killed):
        move(source, target, die_at("jobs", 14), page_rows=7)
    with pytest.raises(UnavailableError, match=r"jobs are being moved into .*2\.db from .*1\.db"):
        open_store(target.url)
    with pytest.raises(UnavailableError, match=r"are being moved to .*2\.db: finish that with"):
        open_store(source.url)
    moved(source, target)
    open_store(target.url).close()


def test_a_move_that_has_ended_is_not_begun_again(stores: Stores) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    put(source, new())
    moved(source, target)
    assert move(source, target, quiet) is None
    other = stores.open("sqlite")
    with pytest.raises(UsageError, match=r"were moved to .*2\.db, not to .*3\.db"):
        move(source, other, quiet)
    undo(source)
    with pytest.raises(UsageError, match="which are not of this move"):
        move(source, target, quiet)


WORKER = WorkerInfo(
    id="w1", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=0.0, slots=1, queues=()
)


def run_a_job(store: SqlStore) -> None:
    put(store, new())
    claim(store)


def wait_for_room(store: SqlStore) -> None:
    put(store, new(), capacity=1)
    offer(store, new(), capacity=1)


@pytest.mark.parametrize(
    ("busy", "told"),
    [
        (lambda store: store.beat(WORKER).result(), "workers drain w1"),
        (run_a_job, r"1 running jobs, under leases that end in 60 s"),
        (wait_for_room, "1 producers that wait for room"),
        (lambda store: store.lead("scaler", "h:1", hold=9).result(), "h:1, which holds the lead"),
    ],
)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_still_changes_the_source_is_in_the_way_and_nothing_is_marked(
    stores: Stores, clock: FakeClock, kind: str, busy: Callable[[SqlStore], Any], told: str
) -> None:
    source, target = stores.open(kind), stores.open("sqlite")
    busy(source)
    with pytest.raises(UsageError, match=told):
        move(source, target, quiet)
    assert mark_of(source) is None
    assert mark_of(target) is None
    put(source, new(queue="other"))
    clock.advance(SILENCE + 1)
    moved(source, target)


def test_a_target_with_jobs_or_workers_of_its_own_is_refused(
    stores: Stores, clock: FakeClock
) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    put(source, new())
    target.beat(WORKER).result()
    with pytest.raises(UsageError, match="workers drain w1"):
        move(source, target, quiet)
    clock.advance(SILENCE + 1)
    put(target, new())
    with pytest.raises(UsageError, match=r"jobs, queues in .*, which are not of this move"):
        move(source, target, quiet)
    assert mark_of(source) is None


def test_a_store_is_not_moved_to_itself(stores: Stores) -> None:
    source = stores.open("sqlite")
    with pytest.raises(UsageError, match="moved to itself"):
        move(source, stores.open_file(stores.folder / "1.db"), quiet)


def test_two_moves_do_not_meet_in_one_store(stores: Stores) -> None:
    first, second, third = (stores.open("sqlite") for _ in range(3))
    put(first, *(new() for _ in range(20)))
    put(third, new())
    with pytest.raises(Killed):
        move(first, second, die_at("jobs", 14), page_rows=7)
    with pytest.raises(UsageError, match="has jobs of another move"):
        move(third, second, quiet)
    with pytest.raises(UsageError, match="are being moved into"):
        move(second, third, quiet)
    with pytest.raises(UsageError, match="is the target of a move"):
        undo(second)
    undo(first)
    with pytest.raises(UsageError, match="has jobs of another move"):
        move(first, second, quiet)


class Chosen(SqliteStore):
    """A store that somebody begins to use right before its first transaction that writes."""

    is_used = False

    def transact(
        self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool
    ) -> Pending[T]:
        if not reads and not self.is_used:
            self.is_used = True
            put(self, new())
        return super().transact(operation, reads=reads)


def test_a_target_that_is_used_meanwhile_ends_the_move_and_opens_the_source(
    stores: Stores, tmp_path: Path
) -> None:
    source, target = stores.open("sqlite"), Chosen(tmp_path / "chosen.db", clock=stores.clock)
    put(source, new())
    with pytest.raises(UsageError, match="not of this move"):
        move(source, target, quiet)
    assert mark_of(source) is None
    put(source, new())
    target.close()


def test_a_move_that_was_given_up_meanwhile_does_not_close_the_source(stores: Stores) -> None:
    source, target, other = (stores.open("sqlite") for _ in range(3))
    put(source, *(new() for _ in range(20)))

    def begin_another(part: str, _count: int) -> None:
        if part == "comparing jobs":
            undo(source)
            with pytest.raises(Killed):
                move(source, other, die_at("jobs", 20))

    with pytest.raises(UnavailableError, match="was given up meanwhile"):
        move(source, target, begin_another)
    moved(source, other)
    assert mark_of(target) is not None


def test_two_processes_do_not_both_write_one_move(stores: Stores) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    put(source, *(new() for _ in range(20)))

    def overtake(part: str, count: int) -> None:
        if (part, count) == ("jobs", 7):
            with pytest.raises(Killed):
                move(source, target, die_at("jobs", 7), page_rows=7)

    with pytest.raises(UnavailableError, match="another process moves the same jobs"):
        move(source, target, overtake, page_rows=7)
    moved(source, target)

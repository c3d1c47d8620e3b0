"""Everything that one store has is moved to another: whole and in order."""

from __future__ import annotations

from pathlib import Path

import apsw
from calls import claim, new, offer, put, settle
from filled_store import contents, fill
from moves import Stores, moved

from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.store.messages import Offered
from conveyor.store.move.parts import PARTS
from conveyor.store.sql.rows import COLUMNS
from conveyor.store.sql.store import SqlStore
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock


def test_all_that_a_store_has_is_in_the_other_one(
    way: tuple[SqlStore, SqlStore], clock: FakeClock
) -> None:
    source, target = way
    fill(source, clock)
    before = contents(source)
    result = moved(source, target)
    assert contents(target) == before
    assert list(result.left) == []
    assert result.source.counts == result.target.counts
    assert result.source.counts["jobs"] == len(before["jobs"])
    assert result.source.checksums == result.target.checksums
    assert {job["state"] for job in before["jobs"]} == set(State)


def test_a_store_is_moved_there_and_back(stores: Stores, clock: FakeClock) -> None:
    first, second, third = stores.open("sqlite"), stores.open("postgres"), stores.open("sqlite")
    fill(first, clock)
    before = contents(first)
    moved(first, second)
    moved(second, third)
    assert contents(third) == before


def test_workers_of_the_target_run_what_waited_in_its_order(
    way: tuple[SqlStore, SqlStore], clock: FakeClock
) -> None:
    source, target = way
    jobs = [new(priority=number % 3, delay=number % 2 * 5.0) for number in range(20)]
    put(source, *jobs)
    clock.advance(10.0)
    source.stage(limit=100).result()
    moved(source, target)
    later = new(priority=1)
    put(target, later)
    expected = sorted(jobs, key=lambda job: (-job.priority, job.delay))
    run = [job.id for job in claim(target, limit=99)]
    assert [each for each in run if each != later.id] == [job.id for job in expected]
    assert run.index(later.id) == sum(job.priority >= 1 for job in jobs)


def test_a_late_report_of_an_old_worker_is_refused(
    way: tuple[SqlStore, SqlStore], clock: FakeClock
) -> None:
    source, target = way
    put(source, new())
    [stale] = claim(source, lease_for=10.0)
    clock.advance(11.0)
    moved(source, target)
    assert target.get(stale.id).result().state is State.RUNNING
    assert target.rescue(limit=9).result() == [stale.id]
    clock.advance(60.0)
    target.stage(limit=9).result()
    [mine] = claim(target)
    assert mine.lease == stale.lease + 1
    assert not settle(target, stale, Succeeded())
    assert settle(target, mine, Succeeded())


def test_keys_and_bounds_hold_in_the_target(way: tuple[SqlStore, SqlStore]) -> None:
    source, target = way
    put(source, new(key="k"), new(), capacity=2)
    moved(source, target)
    held = target.insert([new(key="k")], capacity=2).result()
    assert not isinstance(held, Offered)
    assert held.existing
    assert isinstance(offer(target, new(), capacity=2), Offered)


def test_every_column_of_a_job_is_moved(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "jobs.db").close()
    db = apsw.Connection(str(tmp_path / "jobs.db"))
    columns = {row[1] for row in db.execute("PRAGMA table_info(job)")}
    db.close()
    assert columns == {"seq", "lane", *COLUMNS["moved_job"]}


def test_what_happened_and_its_marks_are_moved(
    way: tuple[SqlStore, SqlStore], clock: FakeClock
) -> None:
    source, target = way
    for _ in range(3):
        put(source, new())
        put(source, new(queue="other"))
        claim(source)
        clock.advance(61.0)
    source.add_mark("noted", who="ada").result()

    def past(store: SqlStore) -> list[object]:
        histories = [store.queue_history(each).result() for each in ("q", "other", None)]
        return [*histories, store.marks(limit=9).result()[0].text]

    before = past(source)
    moved(source, target)
    assert past(target) == before
    put(target, new())
    added = zip(past(target)[0].points, before[0].points, strict=True)  # type: ignore[attr-defined]
    assert sum(each.enqueued - was.enqueued for each, was in added) == 1


def test_every_table_is_moved_or_is_known_not_to_be(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "jobs.db").close()
    db = apsw.Connection(str(tmp_path / "jobs.db"))
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    db.close()
    moved = {"queue", "job", "attempt_error", "output", "file", "schedule", "task", "token"}
    moved |= {"audit", "leader", "lane", "history", "mark"}
    assert len(moved) == len(PARTS) + 1  # lanes are made for the jobs
    of_producers_and_workers_that_have_ended = {"offer", "offered_job", "offered_file", "worker"}
    own = {each for each in tables if not each.startswith("sqlite_")}
    assert own == moved | of_producers_and_workers_that_have_ended

"""What every store says about how a system is, at a glance, and about its marks."""

from __future__ import annotations

from typing import Any

import pytest
from calls import BROKEN, claim, new, put, settle

from conveyor.core.job import State, WorkerInfo
from conveyor.core.lifecycle import Succeeded
from conveyor.core.overview import Overview
from conveyor.errors import UsageError
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

HOUR, DAY = 3600.0, 86_400.0
WORKER = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=1.0, slots=4, queues=("q",)
)
NOTE = '{"status":{"at":%s,"every":5.0,"held":["cost_cap 12"],"blind":{}},"memory":{}}'


def beat(store: Store, name: str = "w", release: str = "", **given: Any) -> None:
    import msgspec

    known = msgspec.structs.replace(WORKER, id=name, release=release, **given)
    store.beat(known).result(60)


def look(store: Store, **given: int) -> Overview:
    return store.overview(**given).result(60)


def notes(store: Store, **given: Any) -> list[tuple[str, str, str]]:
    found = store.marks(**({"limit": 100} | given)).result(60)
    return [(each.kind, each.text, each.who) for each in found]


# -- the overview --------------------------------------------------------------------------------


def test_a_new_store_is_well_and_says_that_it_is_empty(store: Store) -> None:
    found = look(store)
    assert (found.verdict.level, found.problems, found.queues) == ("ok", (), ())
    assert len(found.history.points) == 60
    assert found.failed_share is None
    assert found.oldest_at is None


def test_it_counts_jobs_workers_and_rates(store: Store, clock: FakeClock) -> None:
    begin = (clock.now() // 60 + 1) * 60
    clock.advance(begin - clock.now())
    beat(store, running=1)
    put(store, *(new() for _ in range(12)))
    put(store, new(delay=500.0))
    jobs = claim(store, 6)
    for job in jobs[:3]:
        settle(store, job, Succeeded())
    settle(store, jobs[3], BROKEN)
    clock.advance(60.0)
    beat(store, running=1)
    found = look(store)
    assert (found.waiting, found.later, found.running, found.jobs) == (6, 1, 2, 13)
    assert (found.slots, found.workers, found.hosts) == (4, 1, 1)
    assert found.oldest_at == begin
    # Over two whole minutes and the present one, which is a second long at least.
    assert found.enqueued_rate == pytest.approx(13 / 121)
    assert found.completed_rate == pytest.approx(3 / 121)
    assert found.failed_share == found.failed_usual == 0.25
    [queue] = found.queues
    assert (queue.name, queue.depth, queue.counts[State.RUNNING]) == ("q", 7, 2)
    assert queue.spark[-2:] == (0, 3), "the present minute is not over"
    assert sum(point.enqueued for point in found.history.points) == 13
    assert [job.id for job in found.longest] == [job.id for job in jobs[4:]]


def test_a_queue_that_no_worker_serves_is_a_problem(store: Store, clock: FakeClock) -> None:
    put(store, new())
    put(store, new(queue="fine"))
    clock.advance(31.0)
    beat(store, queues=("fine",), running=0)
    claim(store, queue="fine")
    found = look(store)
    assert [(each.key, each.level) for each in found.problems] == [("unserved-q", "bad")]
    assert found.verdict.claim == "1 of 2 queues is in trouble"
    assert [(each.name, each.level, each.says) for each in found.queues] == [
        ("q", "bad", "no worker"),
        ("fine", "ok", ""),
    ]
    assert (found.health.bad, found.health.warn) == (1, 0)


def test_queues_in_trouble_come_first_then_those_with_most_jobs(
    store: Store, clock: FakeClock
) -> None:
    put(store, new(queue="a"))
    put(store, new(queue="b"), new(queue="b"))
    put(store, new(queue="c"))
    store.set_paused("c", paused=True).result(60)
    found = look(store, queues=2)
    assert [each.name for each in found.queues] == ["c", "b"]
    assert found.queues_total == 3
    clock.advance(5.0)
    assert look(store, queues=0).queues == ()


def test_it_is_computed_once_a_second_whatever_is_asked(store: Store, clock: FakeClock) -> None:
    put(store, new())
    assert look(store).waiting == 1
    put(store, new())
    assert look(store).waiting == look(store, minutes=30).waiting == 1
    clock.advance(3600.0)  # long enough for a slow machine, too
    assert look(store).waiting == 2


def test_what_is_usual_is_that_of_the_same_hour_of_the_days_before(
    store: Store, clock: FakeClock
) -> None:
    put(store, *(new() for _ in range(20)))
    clock.advance(8.0)
    for job in claim(store, 20):
        settle(store, job, Succeeded())
    clock.advance(DAY)
    put(store, new())
    clock.advance(60.0)
    beat(store)
    found = look(store)
    [queue] = found.queues
    assert 8.0 <= (queue.usual_wait or 0) <= 16.0
    assert found.problems == ()  # 60 s is less than ten times as long
    clock.advance(200.0)
    beat(store)
    assert [each.key for each in look(store).problems] == ["behind-q"]


def test_a_job_that_does_not_stop_is_a_problem(store: Store, clock: FakeClock) -> None:
    put(store, new(id="deaf", grace=5.0))
    claim(store, lease_for=500.0)
    store.cancel("deaf", reason="r").result(60)
    beat(store)
    assert look(store).problems == ()
    clock.advance(40.0)
    beat(store)
    found = look(store)
    assert [each.key for each in found.problems] == ["stopping-deaf"]
    assert found.longest[0].cancel_requested_at is not None


def test_what_a_scaler_may_not_start_is_a_problem(store: Store, clock: FakeClock) -> None:
    store.lead("scaler", "me", hold=60.0, note=NOTE % clock.now()).result(60)
    found = look(store)
    assert [each.key for each in found.problems] == ["scaler-held"]
    assert found.scaler is not None
    assert found.scaler.held == ("cost_cap 12",)


def test_the_note_of_another_version_is_no_note(store: Store) -> None:
    store.lead("scaler", "me", hold=60.0, note="{}").result(60)
    assert look(store).scaler is None


def test_a_long_history_has_longer_steps_and_loses_nothing(store: Store, clock: FakeClock) -> None:
    for _ in range(3):
        put(store, new())
        clock.advance(2 * HOUR)
    short = look(store, minutes=300).history
    clock.advance(3600.0)
    long = look(store, minutes=1440).history
    assert (short.step, long.step) == (60.0, 300.0)
    assert sum(point.enqueued for point in short.points) == 2
    assert sum(point.enqueued for point in long.points) == 3


def test_the_history_goes_on_from_where_it_was_read(store: Store, clock: FakeClock) -> None:
    put(store, new())
    assert sum(each.enqueued for each in look(store).history.points) == 1
    for number in range(2, 5):
        clock.advance(100.0)
        put(store, new())
        assert sum(each.enqueued for each in look(store).history.points) == number
    clock.advance(2 * DAY)  # nobody looked for a long time
    put(store, new())
    assert sum(each.enqueued for each in look(store).history.points) == 1


def test_the_worst_queue_is_told_apart_from_all_together(store: Store, clock: FakeClock) -> None:
    put(store, *(new(queue="quick") for _ in range(50)))
    put(store, new(queue="slow"))
    claim(store, 50, queue="quick")
    clock.advance(30.0)
    claim(store, queue="slow")
    worst = [p.worst_p95 for p in look(store).history.points if p.worst_p95 is not None]
    assert max(worst) >= 16.0


@pytest.mark.parametrize("given", [{"minutes": 4}, {"minutes": 1441}, {"queues": 1001}])
def test_an_overview_has_bounds(store: Store, given: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(given))):
        look(store, **given)


# -- marks ---------------------------------------------------------------------------------------


def test_a_note_is_kept_with_its_time_and_who_made_it(store: Store, clock: FakeClock) -> None:
    made = store.add_mark("mail provider down", who="ada").result(60)
    [mark] = store.marks(limit=10).result(60)
    assert mark == made
    assert (mark.at, mark.kind, mark.who) == (clock.now(), "note", "ada")
    assert look(store).marks == (mark,)


def test_marks_are_listed_newest_first_in_pages(store: Store, clock: FakeClock) -> None:
    for number in range(5):
        store.add_mark(f"n{number}", who="ada").result(60)
    first = store.marks(limit=2).result(60)
    assert [each.text for each in first] == ["n4", "n3"]
    assert first.more
    rest = store.marks(before=first[-1].seq, limit=10).result(60)
    assert [each.text for each in rest] == ["n2", "n1", "n0"]
    assert not rest.more


@pytest.mark.parametrize("text", ["", "   ", "two\nlines", "x" * 201, "a\x1b[31m"])
def test_a_note_is_one_line_of_bounded_length(store: Store, text: str) -> None:
    with pytest.raises(UsageError, match="must be one line of 1 to 200 characters"):
        store.add_mark(text, who="ada").result(60)


def test_the_first_worker_of_a_release_makes_a_mark(store: Store) -> None:
    beat(store, "w1", "v1")
    beat(store, "w1", "v1")
    beat(store, "w2", "v1")
    assert notes(store) == [("release", "v1", "w1")]
    beat(store, "w3", "v2")
    beat(store, "w1", "v1")
    assert notes(store) == [("release", "v2", "w3"), ("release", "v1", "w1")]


def test_a_worker_without_a_release_makes_no_mark(store: Store) -> None:
    beat(store)
    assert notes(store) == []


def test_a_restart_while_others_run_the_release_makes_no_mark(store: Store) -> None:
    beat(store, "w1", "v1")
    beat(store, "w2", "v2")
    beat(store, "w3", "v1")  # not yet replaced, and restarted
    assert [text for _, text, _ in notes(store)] == ["v2", "v1"]


def test_going_back_to_a_release_makes_a_mark(store: Store, clock: FakeClock) -> None:
    beat(store, "w1", "v1")
    beat(store, "w2", "v2")
    store.leave("w1").result(60)
    store.leave("w2").result(60)
    beat(store, "w3", "v1")
    assert [text for _, text, _ in notes(store)] == ["v1", "v2", "v1"]


def test_a_machine_that_a_scaler_starts_again_makes_no_mark(store: Store) -> None:
    beat(store, "gpu-1", "g1", queues=("gpu",))
    beat(store, "cpu-1", "c9", queues=("cpu",))
    store.leave("gpu-1").result(60)
    beat(store, "gpu-2", "g1", queues=("gpu",))
    assert [text for _, text, _ in notes(store)] == ["c9", "g1"]


def test_one_release_of_workers_with_several_queues_makes_one_mark(store: Store) -> None:
    beat(store, "w1", "v1", queues=("a",))
    beat(store, "w2", "v1", queues=("b",))
    assert [text for _, text, _ in notes(store)] == ["v1"]


def test_old_marks_are_forgotten(store: Store, clock: FakeClock) -> None:
    store.add_mark("old", who="ada").result(60)
    clock.advance(89 * DAY)
    store.add_mark("new", who="ada").result(60)
    store.prune({}, limit=10).result(60)
    assert [text for _, text, _ in notes(store)] == ["new", "old"]
    clock.advance(2 * DAY)
    store.prune({}, limit=10).result(60)
    assert [text for _, text, _ in notes(store)] == ["new"]


def test_the_newest_thousand_marks_are_kept(store: Store) -> None:
    for number in range(1003):
        store.add_mark(f"n{number}", who="ada").result(60)
    store.prune({}, limit=1000).result(60)
    kept = notes(store, limit=1000)
    assert (len(kept), kept[-1][1]) == (1000, "n3")

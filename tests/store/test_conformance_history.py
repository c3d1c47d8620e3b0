"""What every store says about what happened: exactly what did, whoever did it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from calls import BROKEN, claim, new, put, settle

from conveyor.core.history import COUNTERS, HistoryPoint
from conveyor.core.job import FINAL, ErrorInfo, JobRecord, State
from conveyor.core.lifecycle import (
    Cancelled,
    Failed,
    Interrupted,
    Snoozed,
    Succeeded,
    Unsupported,
)
from conveyor.errors import NotFoundError, UsageError
from conveyor.store.messages import Claimant, Lease, Report, Want
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

HOUR = 3600.0
DEAD = ErrorInfo("WorkerLost", "gone")


def happened(store: Store, queue: str | None = "q", **given: Any) -> dict[str, int]:
    """Return the counters of the last hour that are not 0."""
    total: Counter[str] = Counter()
    for point in store.queue_history(queue, **given).result(60).points:
        total.update({name: getattr(point, name) for name in COUNTERS})
    return {name: number for name, number in total.items() if number}


def points(store: Store, queue: str | None = "q", **given: Any) -> list[HistoryPoint]:
    return list(store.queue_history(queue, **given).result(60).points)


def test_an_enqueue_a_start_and_a_success_are_counted_with_their_times(
    store: Store, clock: FakeClock
) -> None:
    put(store, *(new() for _ in range(3)))
    clock.advance(2.0)
    jobs = claim(store, 2)
    clock.advance(0.3)
    for job in jobs:
        assert settle(store, job, Succeeded())
    assert happened(store) == {"enqueued": 3, "started": 2, "completed": 2}
    last = points(store, step=HOUR)[-1]
    assert (last.waiting.count, last.running.count) == (2, 2)
    assert 1.0 <= (last.waiting.p50 or 0) <= 4.0
    assert 0.25 <= (last.running.p95 or 0) <= 0.5


def test_everything_belongs_to_the_minute_in_which_it_happened(
    store: Store, clock: FakeClock
) -> None:
    begin = (clock.now() // 60 + 1) * 60
    clock.advance(begin - clock.now() + 1.0)
    put(store, new(), new())
    clock.advance(60.0)
    [job] = claim(store)
    clock.advance(120.0)
    settle(store, job, Succeeded())
    found = points(store, since=begin)
    assert [each.at for each in found] == [begin, begin + 60, begin + 120, begin + 180]
    assert [(p.enqueued, p.started, p.completed) for p in found] == [
        (2, 0, 0), (0, 1, 0), (0, 0, 0), (0, 0, 1),
    ]  # fmt: skip


def run(store: Store, outcome: Any) -> Callable[[], None]:
    def do() -> None:
        [job] = claim(store)
        assert settle(store, job, outcome)

    return do


def test_each_end_of_an_attempt_is_counted_as_what_it_is(store: Store, clock: FakeClock) -> None:
    outcomes = {
        "retried": Failed(DEAD),
        "discarded": Failed(DEAD, retry=False),
        "cancelled": Cancelled("enough"),
        "returned": Interrupted(),
    }
    for number, (name, outcome) in enumerate(outcomes.items(), start=1):
        before = Counter(happened(store)) if number > 1 else Counter()
        put(store, new(retries=1, priority=number))
        run(store, outcome)()
        after = Counter(happened(store))
        assert after - before == Counter({"enqueued": 1, "started": 1, name: 1}), name


@pytest.mark.parametrize("outcome", [Snoozed(5.0), Unsupported(DEAD)])
def test_an_attempt_that_does_not_count_is_returned(store: Store, outcome: Any) -> None:
    put(store, new())
    run(store, outcome)()
    assert happened(store) == {"enqueued": 1, "started": 1, "returned": 1}


def test_a_crash_returns_the_job_and_the_last_one_discards_it(
    store: Store, clock: FakeClock
) -> None:
    put(store, new(crash_limit=2))
    for _ in range(2):
        claim(store, worker="dead")
        assert len(store.rescue(dead=["dead"], limit=9).result(60)) == 1
    assert happened(store) == {"enqueued": 1, "started": 2, "returned": 1, "discarded": 1}


def test_a_lapsed_lease_and_a_removed_worker_are_counted(store: Store, clock: FakeClock) -> None:
    put(store, new(), new())
    claim(store, 2, lease_for=1.0)
    clock.advance(5.0)
    assert len(store.rescue(limit=9).result(60)) == 2
    assert happened(store) == {"enqueued": 2, "started": 2, "returned": 2}


def test_an_unconfirmed_claim_that_is_undone_has_no_running_time(
    store: Store, clock: FakeClock
) -> None:
    put(store, new())
    claim(store, confirm_within=1.0)
    clock.advance(5.0)
    assert len(store.rescue(limit=9).result(60)) == 1
    assert happened(store) == {"enqueued": 1, "started": 1, "returned": 1}
    assert points(store, step=HOUR)[-1].running.count == 0


def test_a_success_under_an_unconfirmed_claim_has_no_running_time(store: Store) -> None:
    put(store, new())
    [job] = claim(store, confirm_within=100.0)
    assert settle(store, job, Succeeded())
    assert happened(store) == {"enqueued": 1, "started": 1, "completed": 1}
    assert points(store, step=HOUR)[-1].running.count == 0


def test_a_confirmed_claim_runs_from_its_confirmation_on(store: Store, clock: FakeClock) -> None:
    put(store, new())
    [job] = claim(store, confirm_within=100.0)
    clock.advance(50.0)
    store.extend([Lease(job.id, job.lease)], lease_for=60.0).result(60)
    clock.advance(1.0)
    settle(store, job, Succeeded())
    assert 1.0 <= (points(store, step=HOUR)[-1].running.p50 or 0) <= 2.0


def test_what_ends_without_a_run_is_counted(store: Store, clock: FakeClock) -> None:
    put(store, new(id="cancelled"), new(id="expires", expires_at=clock.now() + 5))
    store.cancel("cancelled", reason="no").result(60)
    clock.advance(10.0)
    store.stage(limit=9).result(60)
    put(store, new(queue="b"), new(queue="b"), capacity=2)
    put(store, new(queue="b"), capacity=2, when_full="drop_oldest")
    assert happened(store) == {"enqueued": 2, "cancelled": 1, "discarded": 1}
    assert happened(store, "b") == {"enqueued": 3, "discarded": 1}


def test_a_job_that_expired_is_discarded_by_the_claim_that_finds_it(
    store: Store, clock: FakeClock
) -> None:
    put(store, new(expires_at=clock.now() + 5), new())
    clock.advance(10.0)
    assert len(claim(store, 9)) == 1
    assert happened(store) == {"enqueued": 2, "started": 1, "discarded": 1}


def test_a_final_job_that_is_retried_by_hand_enters_the_queue_again(
    store: Store, clock: FakeClock
) -> None:
    put(store, new(id="again"))
    run(store, BROKEN)()
    store.retry("again").result(60)
    run(store, Succeeded())()
    assert happened(store) == {"enqueued": 2, "started": 2, "discarded": 1, "completed": 1}


def test_a_delayed_job_that_is_retried_by_hand_has_been_in_the_queue_all_the_time(
    store: Store,
) -> None:
    put(store, new(id="later", delay=500.0))
    store.retry("later").result(60)
    assert happened(store) == {"enqueued": 1}


def test_a_producer_that_waits_is_counted_once_its_job_is_accepted(store: Store) -> None:
    put(store, new(), capacity=1)
    store.insert([new()], capacity=1).result(60)
    assert happened(store) == {"enqueued": 1}
    claim(store)
    assert happened(store) == {"enqueued": 2, "started": 1}


def test_a_rendezvous_counts_the_job_and_its_start(store: Store) -> None:
    store.insert([new()], capacity=0).result(60)
    assert len(claim(store)) == 1
    assert happened(store) == {"enqueued": 1, "started": 1}


def test_a_job_whose_key_is_taken_is_not_counted(store: Store) -> None:
    put(store, new(key="k"), new(key="k"))
    put(store, new(key="k"))
    assert happened(store) == {"enqueued": 1}


def test_a_schedules_tick_is_counted(store: Store, clock: FakeClock) -> None:
    from conveyor.core.job import ScheduleInfo

    due = clock.now() + 60
    rule = ScheduleInfo(name="s", cron="* * * * *", timezone="UTC", missed="once", next_at=due)
    store.put_schedule(rule).result(60)
    clock.advance(60.0)
    assert store.tick("s", due_at=due, next_at=due + 60, jobs=[new()]).result(60)
    assert happened(store) == {"enqueued": 1}


def test_a_late_report_counts_nothing(store: Store, clock: FakeClock) -> None:
    put(store, new())
    [stale] = claim(store, lease_for=1.0)
    clock.advance(5.0)
    store.rescue(limit=9).result(60)
    assert not settle(store, stale, Succeeded())
    assert happened(store) == {"enqueued": 1, "started": 1, "returned": 1}


def test_a_job_that_came_back_from_a_worker_has_no_waiting_time(
    store: Store, clock: FakeClock
) -> None:
    """Its place in the queue is older than its wait: how long it waited is not known."""
    put(store, new())
    [job] = claim(store)
    clock.advance(1000.0)
    settle(store, job, Interrupted())
    claim(store)
    assert sum(p.waiting.count for p in points(store, step=HOUR)) == 1


def test_a_retry_waits_from_the_time_at_which_it_is_due(store: Store, clock: FakeClock) -> None:
    from conveyor.core.retry import Fixed

    put(store, new(retries=1, backoff=Fixed(100.0)))
    run(store, BROKEN)()
    clock.advance(101.0)
    store.stage(limit=9).result(60)
    claim(store)
    total = [p.waiting for p in points(store, step=HOUR)]
    assert sum(each.count for each in total) == 2
    assert max(each.p95 or 0 for each in total) < 2.1


def test_all_queues_are_added_up(store: Store) -> None:
    put(store, new(queue="a"), new(queue="a"))
    put(store, new(queue="b"))
    assert happened(store, None) == {"enqueued": 3}
    assert happened(store, "a") == {"enqueued": 2}


def test_steps_begin_at_multiples_of_their_length_and_have_no_gaps(
    store: Store, clock: FakeClock
) -> None:
    put(store, new())
    found = store.queue_history(since=clock.now() - 900, step=300.0).result(60)
    assert found.since % 300 == 0
    assert found.until > clock.now()
    assert [each.at for each in found.points] == [
        found.since + 300 * number for number in range(len(found.points))
    ]
    assert found.points[-1].enqueued == 1


def test_a_history_that_makes_no_sense_is_refused_with_the_reason(
    store: Store, clock: FakeClock
) -> None:
    put(store, new())
    now = clock.now()
    with pytest.raises(UsageError, match="step must be a multiple of 60 seconds, from 60 on, got"):
        store.queue_history(step=90.0).result(60)
    with pytest.raises(UsageError, match=r"more than 1,500; ask for a step of \d+ seconds"):
        store.queue_history(since=now - 7 * 86_400).result(60)
    with pytest.raises(UsageError, match="since must not be after until"):
        store.queue_history(since=now, until=now - 600).result(60)
    with pytest.raises(NotFoundError, match="nowhere"):
        store.queue_history("nowhere").result(60)


def test_the_step_that_an_error_names_is_accepted(store: Store, clock: FakeClock) -> None:
    put(store, new())
    with pytest.raises(UsageError) as refused:
        store.queue_history(since=clock.now() - 5 * 86_400).result(60)
    step = float(str(refused.value).partition("a step of ")[2].partition(" ")[0].replace(",", ""))
    assert happened(store, since=clock.now() - 5 * 86_400, step=step) == {"enqueued": 1}


def test_minutes_are_forgotten_after_a_week_and_not_before(store: Store, clock: FakeClock) -> None:
    begin = (clock.now() // 60 + 1) * 60
    clock.advance(begin - clock.now())
    put(store, new())
    clock.advance(60.0)
    put(store, new())  # from here on, the first minute is no longer the present one
    for passed, kept in ((7 * 86_400 - 1.0, 2), (7 * 86_400 + 61.0, 1)):
        clock.advance(begin + passed - clock.now())
        store.prune({}, limit=10).result(60)
        assert happened(store, since=begin, step=HOUR) == {"enqueued": kept}


def test_the_clock_may_be_set_back(store: Store, clock: FakeClock) -> None:
    put(store, new())
    clock.advance(-120.0)
    put(store, new(), new())
    clock.advance(120.0)
    put(store, new())
    clock.advance(60.0)
    put(store, new())
    assert happened(store) == {"enqueued": 5}


def test_a_batch_with_several_queues_counts_in_each(store: Store, clock: FakeClock) -> None:
    put(store, new(queue="a"), new(queue="a"))
    put(store, new(queue="b"))
    claimant, wants = Claimant("w", 60.0), [Want("a", 9), Want("b", 9)]
    jobs = store.claim(wants, claimant, limit=9).result(60).jobs
    clock.advance(1.0)
    store.settle([Report(job.id, job.lease, Succeeded()) for job in jobs]).result(60)
    assert happened(store, "a") == {"enqueued": 2, "started": 2, "completed": 2}
    assert happened(store, "b") == {"enqueued": 1, "started": 1, "completed": 1}


def not_final(jobs: list[JobRecord]) -> int:
    return sum(job.state not in FINAL for job in jobs)


def test_pruning_and_deleting_undo_nothing_that_happened(store: Store, clock: FakeClock) -> None:
    put(store, new(id="deleted"), new())
    for _ in range(2):
        run(store, Succeeded())()
    store.delete("deleted").result(60)
    clock.advance(10.0)
    assert store.prune({State.COMPLETED: 1.0}, limit=10).result(60) == 1
    assert happened(store) == {"enqueued": 2, "started": 2, "completed": 2}

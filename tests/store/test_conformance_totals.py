"""What every store promises about the totals of a queue: they never go back."""

from __future__ import annotations

import pytest
from calls import BROKEN, claim, new, put, settle

from conveyor.core.job import ErrorInfo, QueueTotals, State
from conveyor.core.lifecycle import Cancelled, Interrupted, Succeeded, Unsupported
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

SOON = dict.fromkeys((State.COMPLETED, State.CANCELLED, State.DISCARDED), 60.0)


def totals(store: Store, queue: str = "q") -> QueueTotals:
    """Return the totals of a queue, which a list and a look at it show alike."""
    [listed] = [each.totals for each in store.counts().result(60) if each.name == queue]
    assert store.queue_info(queue).result(60).totals == listed
    return listed


def end(store: Store, outcome: object) -> str:
    put(store, new())
    [job] = claim(store)
    assert settle(store, job, outcome)  # type: ignore[arg-type]
    return job.id


def test_totals_count_what_was_enqueued_and_how_it_ended(store: Store) -> None:
    end(store, Succeeded())
    end(store, Succeeded())
    end(store, Cancelled("unwanted"))
    end(store, BROKEN)
    put(store, new(), new(delay=60.0))
    assert totals(store) == QueueTotals(enqueued=6, completed=2, cancelled=1, discarded=1)


def test_totals_stay_when_the_jobs_are_pruned(store: Store, clock: FakeClock) -> None:
    end(store, Succeeded())
    end(store, Cancelled("unwanted"))
    end(store, BROKEN)
    before = totals(store)
    clock.advance(61)
    end(store, Succeeded())
    assert store.prune(SOON, limit=100).result(60) == 3
    assert totals(store) == QueueTotals(enqueued=4, completed=2, cancelled=1, discarded=1)
    assert before == QueueTotals(enqueued=3, completed=1, cancelled=1, discarded=1)


def test_totals_stay_when_a_job_is_deleted(store: Store) -> None:
    job_id = end(store, Succeeded())
    store.delete(job_id).result(60)
    assert totals(store) == QueueTotals(enqueued=1, completed=1)


def test_a_job_that_is_retried_by_hand_ends_twice_and_was_enqueued_once(store: Store) -> None:
    job_id = end(store, BROKEN)
    store.retry(job_id).result(60)
    assert totals(store) == QueueTotals(enqueued=1, discarded=1)
    [job] = claim(store)
    settle(store, job, Succeeded())
    assert totals(store) == QueueTotals(enqueued=1, discarded=1, completed=1)


def test_a_retry_of_a_job_that_only_waits_ends_nothing(store: Store) -> None:
    [job_id] = put(store, new(delay=60.0))
    store.retry(job_id).result(60)
    assert totals(store) == QueueTotals(enqueued=1)


def test_only_a_failure_that_is_followed_by_another_attempt_counts_as_retried(
    store: Store, clock: FakeClock
) -> None:
    put(store, new(retries=1))
    for _ in range(2):
        [job] = claim(store)
        settle(store, job, BROKEN)
        clock.advance(3600)
        store.stage(limit=10).result(60)
    put(store, new(retries=1))
    [job] = claim(store)
    settle(store, job, Interrupted())
    assert totals(store) == QueueTotals(enqueued=2, discarded=1, retried=1)


def test_each_queue_has_its_own_totals(store: Store) -> None:
    end(store, Succeeded())
    put(store, new(queue="other"))
    [job] = claim(store, queue="other")
    settle(store, job, Succeeded())
    store.delete(job.id).result(60)
    assert totals(store) == QueueTotals(enqueued=1, completed=1)
    assert totals(store, "other") == QueueTotals(enqueued=1, completed=1)


@pytest.mark.parametrize("page", [1, 2])
def test_totals_are_on_every_page_of_the_list(store: Store, page: int) -> None:
    for queue in ("a", "b", "c"):
        put(store, new(queue=queue))
        [job] = claim(store, queue=queue)
        settle(store, job, Succeeded())
        store.delete(job.id).result(60)
    found, after = {}, ""
    while True:
        listed = store.counts(after=after, limit=page).result(60)
        found |= {each.name: each.totals.completed for each in listed}
        if not listed.more:
            break
        after = listed[-1].name
    assert found == {"a": 1, "b": 1, "c": 1}


def test_an_attempt_that_a_workers_code_cannot_run_is_no_retry(store: Store) -> None:
    put(store, new(retries=1))
    [job] = claim(store)
    settle(store, job, Unsupported(ErrorInfo("UnknownTask", "not here")))
    assert store.get(job.id).result(60).state is State.RETRYABLE
    assert totals(store) == QueueTotals(enqueued=1)

"""What every store promises about requests that can never be accepted, and about those behind."""

from __future__ import annotations

import pickle

import pytest
from calls import claim, counted, depth, new, offer, put, settle, state

from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import (
    BatchTooLargeError,
    DuplicateIdError,
    NotFoundError,
    QueueFullError,
    UsageError,
)
from conveyor.store.messages import Accepted, Offered
from conveyor.store.protocol import Store


def test_a_second_job_with_an_id_is_refused_and_changes_nothing(store: Store) -> None:
    put(store, new(id="a"), capacity=5)
    with pytest.raises(DuplicateIdError, match=r"job 'a' exists already: .* again=true"):
        store.insert([new(id="b"), new(id="a")], capacity=7).result(10)
    with pytest.raises(NotFoundError):
        store.get("b").result(10)
    assert store.queue_info("q").result(10).capacity == 5
    assert depth(store) == 1


@pytest.mark.parametrize("capacity", [None, 5])
def test_jobs_of_several_queues_in_one_call_are_refused_and_counted_nowhere(
    store: Store, capacity: int | None
) -> None:
    put(store, new(queue="a"), capacity=capacity)
    put(store, new(queue="b"), capacity=capacity)
    jobs = [new(queue="a"), new(queue="a", id="other", requires=("gpu",)), new(queue="b", id="j")]
    with pytest.raises(UsageError, match=r"job j \(t\): its queue is 'b', .* before it is 'a'"):
        store.insert(jobs, capacity=capacity).result(10)
    assert {name: counts[State.AVAILABLE] for name, counts in counted(store).items()} == {
        "a": 1,
        "b": 1,
    }
    history = store.queue_history().result(10)
    assert sum(each.enqueued for each in history.points) == 2


def test_the_id_of_a_job_that_ran_is_taken_too(store: Store) -> None:
    put(store, new(id="a"))
    [job] = claim(store)
    settle(store, job, Succeeded())
    with pytest.raises(DuplicateIdError):
        put(store, new(id="a", queue="other"))
    assert state(store, "a") is State.COMPLETED


def test_an_id_twice_in_one_request_is_refused(store: Store) -> None:
    with pytest.raises(DuplicateIdError, match="job 'a'"):
        put(store, new(id="a"), new(id="b"), new(id="a"))
    assert depth(store) == 0


def test_a_refused_id_drops_no_job_from_a_full_queue(store: Store) -> None:
    put(store, new(id="a"), new(id="b"), capacity=2)
    with pytest.raises(DuplicateIdError):
        put(store, new(id="b"), capacity=2, when_full="drop_oldest")
    assert [state(store, each) for each in "ab"] == [State.AVAILABLE] * 2


def test_a_job_that_a_unique_key_keeps_out_needs_no_id_of_its_own(store: Store) -> None:
    put(store, new(id="a", key="cat"))
    assert offer(store, new(id="a", key="cat")) == Accepted(("a",), ("a",))


def test_an_id_that_waits_for_room_or_is_stored_cannot_be_offered(store: Store) -> None:
    put(store, new(id="first"), capacity=1)
    assert isinstance(offer(store, new(id="a"), capacity=1), Offered)
    for known in ("a", "first"):
        with pytest.raises(DuplicateIdError, match=f"job '{known}'"):
            offer(store, new(id=known), capacity=1)
    assert store.queue_info("q").result(10).offers == 1


@pytest.mark.parametrize("capacity", [0, 1])
def test_an_offer_whose_id_another_job_took_stops_no_claim_and_no_other_offer(
    store: Store, capacity: int
) -> None:
    if capacity:
        put(store, new(id="first"), capacity=capacity)
    taken = offer(store, new(id="a"), capacity=capacity)
    behind = offer(store, new(id="b"), capacity=capacity)
    assert isinstance(taken, Offered)
    assert isinstance(behind, Offered)
    put(store, new(id="a", queue="other"))
    claimed = [job.id for _ in range(3) for job in claim(store, 5)]
    assert claimed == (["first", "b"] if capacity else ["b"])
    with pytest.raises(NotFoundError):  # so that its producer asks again
        store.accepted(taken.offer).result(10)
    assert store.accepted(behind.offer).result(10) == Accepted(("b",))
    assert [job.id for job in claim(store, queue="other")] == ["a"]


def test_a_batch_above_the_capacity_is_another_error_than_a_full_queue(store: Store) -> None:
    put(store, new(), capacity=3)
    with pytest.raises(BatchTooLargeError, match=r"4 jobs at once never fit .* is 3") as refused:
        offer(store, new(), new(), new(), new(), capacity=3)
    error = refused.value
    assert (error.queue, error.depth, error.capacity, error.size) == ("q", 1, 3, 4)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    with pytest.raises(QueueFullError) as full:
        offer(store, new(), new(), new(), capacity=3, when_full="refuse")
    assert not isinstance(full.value, BatchTooLargeError)
    with pytest.raises(BatchTooLargeError):
        offer(store, new(queue="meet"), new(queue="meet"), capacity=0)


@pytest.mark.parametrize("capacity", [0, 1])
def test_an_offer_that_no_longer_fits_stops_no_claim_and_no_other_offer(
    store: Store, capacity: int
) -> None:
    put(store, new(id="1"), new(id="2"), capacity=2)
    large = offer(store, new(id="x"), new(id="y"), capacity=2)
    small = offer(store, new(id="z"), capacity=capacity)
    assert isinstance(large, Offered)
    assert isinstance(small, Offered)
    claimed = [job.id for _ in range(3) for job in claim(store, 5)]
    assert claimed == ["1", "2", "z"]
    with pytest.raises(NotFoundError):
        store.accepted(large.offer).result(10)
    with pytest.raises(BatchTooLargeError):
        store.insert([new(id="x"), new(id="y")], capacity=capacity, again=True).result(10)
    assert counted(store)["q"][State.RUNNING] == 3

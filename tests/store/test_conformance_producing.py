"""What every store promises to producers: order, the exact bound, offers, unique keys."""

from __future__ import annotations

import pytest
from calls import BROKEN, claim, counted, depth, new, offer, put, settle, state

from conveyor.core.job import State
from conveyor.core.lifecycle import Interrupted, Snoozed, Succeeded
from conveyor.errors import InvalidTransitionError, NotFoundError, QueueFullError
from conveyor.store.messages import Accepted, Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


def test_what_was_enqueued_is_there_as_it_was_given(store: Store) -> None:
    job = new(args=b'{"a":1}', priority=3, retries=2, meta={"who": "me"}, timeout=5.0)
    [job_id] = put(store, job)
    record = store.get(job_id).result()
    assert (record.task, record.queue, record.args, record.priority) == ("t", "q", b'{"a":1}', 3)
    assert record.options == job.options
    assert record.state is State.AVAILABLE
    assert record.enqueued_at == store.now()


def test_nothing_enqueued_is_nothing_accepted(store: Store) -> None:
    assert store.insert([]).result() == Accepted(())


def test_a_job_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match="job 'nowhere' not found"):
        store.get("nowhere").result()


def test_a_delayed_job_becomes_available_by_the_store_s_clock(
    store: Store, clock: FakeClock
) -> None:
    [job_id] = put(store, new(delay=10.0))
    assert state(store, job_id) is State.SCHEDULED
    assert store.stage(limit=10).result().next_due_at == clock.now() + 10
    clock.advance(9.9)
    assert store.stage(limit=10).result().moved == 0
    clock.advance(0.1)
    assert store.stage(limit=10).result().moved == 1
    assert state(store, job_id) is State.AVAILABLE


def test_a_moment_in_the_past_is_now(store: Store, clock: FakeClock) -> None:
    [job_id] = put(store, new(run_at=clock.now() - 5))
    assert state(store, job_id) is State.AVAILABLE


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_no_more_than_capacity_jobs_ever_wait(store: Store, capacity: int) -> None:
    for _ in range(capacity):
        put(store, new(), capacity=capacity, when_full="refuse")
    with pytest.raises(QueueFullError) as refused:
        put(store, new(), capacity=capacity, when_full="refuse")
    assert (refused.value.queue, refused.value.depth, refused.value.capacity) == (
        "q",
        capacity,
        capacity,
    )
    assert depth(store) == capacity


def test_delayed_and_retryable_jobs_count_as_waiting(store: Store) -> None:
    put(store, new(delay=60.0), capacity=2)
    put(store, new(retries=3), capacity=2)
    [job] = claim(store)
    settle(store, job, BROKEN)
    with pytest.raises(QueueFullError):
        put(store, new(), capacity=2, when_full="refuse")


def test_running_jobs_do_not_count_as_waiting(store: Store) -> None:
    put(store, new(), capacity=1)
    claim(store)
    put(store, new(), capacity=1, when_full="refuse")


@pytest.mark.parametrize("outcome", [BROKEN, Interrupted(), Snoozed(5.0)])
def test_a_job_that_comes_back_is_never_refused(store: Store, outcome: object) -> None:
    put(store, new(retries=3), capacity=1)
    [job] = claim(store)
    put(store, new(), capacity=1)
    assert settle(store, job, outcome)  # type: ignore[arg-type]
    assert depth(store) == 2


def test_a_batch_is_taken_wholly_or_not_at_all(store: Store) -> None:
    put(store, new(), capacity=3)
    with pytest.raises(QueueFullError):
        put(store, new(), new(), new(), capacity=3, when_full="refuse")
    assert depth(store) == 1


def test_a_batch_that_could_never_fit_is_refused_even_if_it_may_wait(store: Store) -> None:
    with pytest.raises(QueueFullError):
        offer(store, *(new() for _ in range(4)), capacity=3)


def test_drop_oldest_discards_the_oldest_available_job_and_says_why(
    store: Store, clock: FakeClock
) -> None:
    first, second = put(store, new(priority=9), new(), capacity=2)
    clock.advance(1)
    put(store, new(), capacity=2, when_full="drop_oldest")
    assert state(store, first) is State.DISCARDED
    assert state(store, second) is State.AVAILABLE
    [line] = store.history(first).result()
    assert line.error.type == "Dropped"
    assert "'q'" in line.error.message
    assert depth(store) == 2


def test_drop_oldest_refuses_when_only_delayed_jobs_wait(store: Store) -> None:
    put(store, new(delay=60.0), capacity=1)
    with pytest.raises(QueueFullError):
        put(store, new(), capacity=1, when_full="drop_oldest")


def test_a_full_queue_answers_a_patient_producer_with_an_offer(store: Store) -> None:
    put(store, new(), capacity=1)
    answer = offer(store, new(), capacity=1)
    assert isinstance(answer, Offered)
    assert (answer.depth, answer.capacity) == (1, 1)
    assert store.accepted(answer.offer).result() is None
    assert depth(store) == 1


def test_offers_are_accepted_in_their_order_as_room_appears(store: Store) -> None:
    put(store, new(), capacity=1)
    jobs = [new(), new()]
    offers = [offer(store, job, capacity=1) for job in jobs]
    assert all(isinstance(each, Offered) for each in offers)
    for job, waiting in zip(jobs, offers, strict=True):
        claim(store)
        assert isinstance(waiting, Offered)
        assert store.accepted(waiting.offer).result() == Accepted((job.id,))
        assert depth(store) == 1


def test_an_answered_offer_can_be_collected_once(store: Store) -> None:
    put(store, new(), capacity=1)
    waiting = offer(store, new(), capacity=1)
    assert isinstance(waiting, Offered)
    claim(store)
    assert store.accepted(waiting.offer).result() is not None
    with pytest.raises(NotFoundError):
        store.accepted(waiting.offer).result()


def test_a_newcomer_does_not_overtake_those_who_wait(store: Store) -> None:
    put(store, new(), new(), capacity=2)
    assert isinstance(offer(store, new(), new(), capacity=2), Offered)
    claim(store)
    # There is room for one, but the batch of two came first.
    assert isinstance(offer(store, new(), capacity=2), Offered)
    with pytest.raises(QueueFullError):
        offer(store, new(), capacity=2, when_full="refuse")


def test_a_withdrawn_offer_leaves_no_job_and_lets_the_next_one_in(store: Store) -> None:
    put(store, new(), new(), capacity=2)
    big, small = new(), new()
    first = offer(store, big, new(), capacity=2)
    second = offer(store, small, capacity=2)
    assert isinstance(first, Offered)
    assert isinstance(second, Offered)
    claim(store)
    assert store.accepted(second.offer).result() is None
    assert store.withdraw(first.offer).result() is None
    assert store.accepted(second.offer).result() == Accepted((small.id,))
    with pytest.raises(NotFoundError):
        store.get(big.id).result()


def test_withdrawing_too_late_returns_what_was_accepted(store: Store) -> None:
    put(store, new(), capacity=1)
    job = new()
    waiting = offer(store, job, capacity=1)
    assert isinstance(waiting, Offered)
    claim(store)
    assert store.withdraw(waiting.offer).result() == Accepted((job.id,))
    assert state(store, job.id) is State.AVAILABLE


def test_an_offer_whose_producer_is_silent_is_dropped(store: Store, clock: FakeClock) -> None:
    put(store, new(), capacity=1)
    silent = offer(store, new(), capacity=1)
    assert isinstance(silent, Offered)
    clock.advance(5.1)
    later = new()
    waiting = offer(store, later, capacity=1)
    assert isinstance(waiting, Offered)
    claim(store)
    assert store.accepted(waiting.offer).result() == Accepted((later.id,))
    with pytest.raises(NotFoundError):
        store.accepted(silent.offer).result()


def test_looking_at_an_offer_keeps_it_alive(store: Store, clock: FakeClock) -> None:
    put(store, new(), capacity=1)
    job = new()
    waiting = offer(store, job, capacity=1)
    assert isinstance(waiting, Offered)
    for _ in range(3):
        clock.advance(4)
        assert store.accepted(waiting.offer).result() is None
    claim(store)
    assert store.accepted(waiting.offer).result() == Accepted((job.id,))


@pytest.mark.parametrize("how", ["cancel", "expire", "discard"])
def test_room_is_noticed_however_it_appears(store: Store, clock: FakeClock, how: str) -> None:
    [first] = put(store, new(expires_at=clock.now() + 1), capacity=1)
    job = new()
    waiting = offer(store, job, capacity=1)
    assert isinstance(waiting, Offered)
    match how:
        case "cancel":
            store.cancel(first, reason="r").result()
        case "expire":
            clock.advance(2)
            store.stage(limit=10).result()
        case _:
            clock.advance(2)
            claim(store, 1)  # finds it expired
    assert store.accepted(waiting.offer).result() == Accepted((job.id,))


def test_at_capacity_zero_a_claim_takes_the_job_out_of_its_producer_s_hands(store: Store) -> None:
    job = new()
    waiting = offer(store, job, capacity=0)
    assert isinstance(waiting, Offered)
    assert depth(store) == 0
    [claimed] = claim(store, 5)
    assert claimed.id == job.id
    assert claimed.state is State.RUNNING
    assert store.accepted(waiting.offer).result() == Accepted((job.id,))
    assert depth(store) == 0


def test_at_capacity_zero_a_claim_takes_waiting_jobs_and_offered_ones(store: Store) -> None:
    [retried] = put(store, new())
    store.cancel(retried, reason="r").result()
    store.retry(retried).result()
    offered = new()
    assert isinstance(offer(store, offered, capacity=0), Offered)
    assert [job.id for job in claim(store, 2)] == [retried, offered.id]


def test_at_capacity_zero_no_more_is_accepted_than_is_taken(store: Store) -> None:
    offers = [offer(store, new(), capacity=0) for _ in range(3)]
    assert len(claim(store, 2)) == 2
    answers = [store.accepted(each.offer).result() for each in offers if isinstance(each, Offered)]
    assert [answer is not None for answer in answers] == [True, True, False]
    assert depth(store) == 0


def test_at_capacity_zero_a_worker_without_the_label_does_not_take_the_job(store: Store) -> None:
    offer(store, new(requires=("gpu",)), capacity=0)
    plain = new()
    offer(store, plain, capacity=0)
    assert [job.id for job in claim(store, 5)] == [plain.id]
    assert depth(store) == 0
    assert len(claim(store, 5, labels=["gpu"])) == 1


def test_at_capacity_zero_a_withdrawn_job_is_never_run(store: Store) -> None:
    waiting = offer(store, new(), capacity=0)
    assert isinstance(waiting, Offered)
    assert store.withdraw(waiting.offer).result() is None
    assert claim(store, 5) == []


def test_an_offered_job_is_known_to_be_offered(store: Store) -> None:
    put(store, new(), capacity=1)
    job = new()
    offer(store, job, capacity=1)
    info = store.offered(job.id).result()
    assert info is not None
    assert (info.name, info.offers) == ("q", 1)
    assert store.offered("nowhere").result() is None


def test_a_unique_key_keeps_a_second_live_job_out_and_names_the_first(store: Store) -> None:
    [first] = put(store, new(key="cat"))
    again = offer(store, new(key="cat"))
    assert again == Accepted((first,), (first,))
    claim(store)
    assert offer(store, new(key="cat")) == Accepted((first,), (first,))
    assert counted(store)["q"][State.AVAILABLE] == 0


def test_keys_of_different_tasks_do_not_meet(store: Store) -> None:
    put(store, new(key="cat"))
    put(store, new(key="cat", task="other"))
    assert depth(store) == 2


def test_keys_of_one_task_in_different_queues_do_not_meet(store: Store) -> None:
    put(store, new(key="cat"))
    [other] = put(store, new(key="cat", queue="other"))
    assert offer(store, new(key="cat", queue="other")) == Accepted((other,), (other,))
    assert depth(store) == 1


def test_a_key_is_free_again_once_its_job_is_final(store: Store) -> None:
    [first] = put(store, new(key="cat"))
    [job] = claim(store)
    settle(store, job, Succeeded())
    assert put(store, new(key="cat")) != [first]


def test_a_key_until_pruned_is_held_by_the_finished_job(store: Store, clock: FakeClock) -> None:
    [first] = put(store, new(key="cat", key_until="pruned"))
    [job] = claim(store)
    settle(store, job, Succeeded())
    assert offer(store, new(key="cat", key_until="pruned")) == Accepted((first,), (first,))
    clock.advance(100)
    assert store.prune({State.COMPLETED: 50.0}, limit=10).result() == 1
    assert put(store, new(key="cat")) != [first]


def test_within_one_batch_a_key_counts_once(store: Store) -> None:
    first, second = new(key="cat"), new(key="cat")
    assert offer(store, first, second, new()) == Accepted(
        (first.id, first.id, NewestId(store)), (first.id,)
    )
    assert depth(store) == 2


def NewestId(store: Store) -> str:  # noqa: N802 - reads as a value
    from conveyor.store.messages import Filter

    return store.find(Filter(), limit=1).result()[0].id


def test_a_duplicate_takes_no_room(store: Store) -> None:
    [first] = put(store, new(key="cat"), capacity=1)
    assert offer(store, new(key="cat"), capacity=1, when_full="refuse") == Accepted(
        (first,), (first,)
    )


def test_a_key_taken_while_an_offer_waited_is_answered_with_its_holder(store: Store) -> None:
    put(store, new(), capacity=1)
    holder = new(key="cat")
    first, second = (offer(store, each, capacity=1) for each in (holder, new(key="cat")))
    assert isinstance(first, Offered)
    assert isinstance(second, Offered)
    claim(store)
    assert store.accepted(first.offer).result() == Accepted((holder.id,))
    assert store.accepted(second.offer).result() == Accepted((holder.id,), (holder.id,))


def test_a_job_whose_key_went_to_another_cannot_be_retried(store: Store) -> None:
    [first] = put(store, new(key="cat"))
    store.cancel(first, reason="r").result()
    [second] = put(store, new(key="cat"))
    with pytest.raises(InvalidTransitionError, match=second):
        store.retry(first).result()


def test_a_job_that_expires_while_it_is_offered_is_not_handed_out(
    store: Store, clock: FakeClock
) -> None:
    job = new(expires_at=clock.now() + 1)
    assert isinstance(offer(store, job, capacity=0), Offered)
    clock.advance(2)
    assert claim(store) == []
    assert state(store, job.id) is State.DISCARDED


@pytest.mark.parametrize("capacity", [None, 3])
def test_a_wider_bound_lets_in_who_waits(store: Store, capacity: int | None) -> None:
    put(store, capacity=1)
    waiting = offer(store, capacity=1)
    assert isinstance(waiting, Offered)
    offer(store, capacity=capacity)  # may stand behind it, and is let in with it then
    assert store.accepted(waiting.offer).result() is not None
    assert depth(store) == 3


@pytest.mark.parametrize("offer", ["\u00b2", "\u0663", "-1", "01", "9" * 30, "9" * 5000, "x"])
def test_an_offer_that_no_store_has_made_is_not_found(store: Store, offer: str) -> None:
    for call in (store.accepted, store.withdraw):
        with pytest.raises(NotFoundError, match="was collected, withdrawn or dropped"):
            call(offer).result()

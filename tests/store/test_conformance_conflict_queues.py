"""What every store promises about `on_conflict` in batches, full queues, ticks and races."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from calls import BROKEN, claim, depth, new, offer, put, settle, state
from conflicting_calls import AFTER, ALERT, CHANGING, EVERY, call, get, starts_in

from conveyor.core.job import ScheduleInfo, State
from conveyor.core.lifecycle import Interrupted, Succeeded
from conveyor.errors import QueueFullError, UsageError
from conveyor.store.messages import Accepted, Filter, Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


def test_a_replacement_takes_no_second_place_in_a_full_queue(store: Store) -> None:
    [first] = put(store, call("replace"), capacity=1)
    put(store, call("replace", args=b'{"a":2}'), capacity=1, when_full="refuse")
    assert depth(store) == 1
    [job] = claim(store)
    put(store, new(), capacity=1)
    with pytest.raises(QueueFullError):
        put(store, call("replace"), capacity=1, when_full="refuse")
    assert get(store, first) == job
    waiting = offer(store, call("replace"), capacity=1)
    assert isinstance(waiting, Offered)
    assert settle(store, job, Interrupted())
    assert state(store, first) is State.AVAILABLE


@pytest.mark.parametrize("wish", EVERY)
def test_a_full_queue_does_not_drop_a_job_that_one_of_the_calls_meets(
    store: Store, clock: FakeClock, wish: str
) -> None:
    [holder] = put(store, call(wish))
    clock.advance(1)
    with pytest.raises(QueueFullError):
        put(store, new(), call(wish), capacity=1, when_full="drop_oldest")
    [other] = put(store, new(), capacity=2)
    answer = offer(store, new(), call(wish), capacity=2, when_full="drop_oldest")
    assert isinstance(answer, Accepted)
    assert (answer.dropped, answer.existing) == (1, (holder,))
    assert state(store, other) is State.DISCARDED
    assert state(store, holder) is State.AVAILABLE
    assert depth(store) == 2


def test_an_offer_meets_the_holder_at_the_moment_when_there_is_room(store: Store) -> None:
    put(store, new(), capacity=1)
    first, second = call("replace", args=b'{"a":1}'), call("replace", args=b'{"a":2}')
    offers = [offer(store, each, capacity=1) for each in (first, second)]
    claim(store)
    answers = [store.accepted(each.offer).result() for each in offers if isinstance(each, Offered)]
    assert answers == [
        Accepted((first.id,)),
        Accepted((first.id,), (first.id,), replaced=(first.id,)),
    ]
    assert [job.args for job in claim(store, 5)] == [b'{"a":2}']


def test_at_a_rendezvous_a_call_whose_holder_runs_waits_for_a_worker_of_its_own(
    store: Store,
) -> None:
    put_first = call("postpone")
    assert isinstance(offer(store, put_first, capacity=0), Offered)
    assert [job.id for job in claim(store)] == [put_first.id]
    follower = call("postpone")
    assert isinstance(offer(store, follower, capacity=0), Offered)
    assert [job.id for job in claim(store)] == [follower.id]
    assert isinstance(joined := offer(store, call("join"), capacity=0), Accepted)
    assert joined == Accepted((follower.id,), (follower.id,))


def test_within_one_batch_the_last_call_of_a_key_wins(store: Store, clock: FakeClock) -> None:
    first = call("replace", args=b'{"a":1}', delay=5.0)
    last = call("replace", args=b'{"a":3}', delay=50.0, priority=2, callbacks=(AFTER,))
    middle = call("replace", args=b'{"a":2}', callbacks=(ALERT,))
    answer = offer(store, first, middle, last)
    assert answer == Accepted((first.id,) * 3, (first.id,) * 2, replaced=(first.id,))
    after = get(store, first.id)
    assert (after.args, after.priority, starts_in(store, first.id)) == (b'{"a":3}', 2, 5.0)
    clock.advance(5)
    store.stage(limit=9).result()
    settle(store, claim(store)[0], BROKEN)
    assert [each.task for each in claim(store, 5, queue="default")] == ["after"]


def test_calls_of_a_batch_meet_the_holder_in_their_order(store: Store) -> None:
    first = call("keep", delay=9.0)
    put(store, first)
    answer = offer(
        store,
        call("replace", args=b'{"a":2}'),
        call("join", args=b'{"a":3}', priority=5, delay=8.0),
        call("keep", args=b'{"a":4}'),
    )
    assert answer == Accepted((first.id,) * 3, (first.id,) * 3, replaced=(first.id,))
    after = get(store, first.id)
    assert (after.args, after.priority, starts_in(store, first.id)) == (b'{"a":2}', 5, 8.0)
    put(store, call("postpone", delay=1.0), call("postpone", delay=7.0, args=b'{"a":4}'))
    assert (get(store, first.id).args, starts_in(store, first.id)) == (b'{"a":4}', 7.0)
    assert depth(store) == 1


def test_several_calls_of_a_batch_follow_a_running_holder_as_one_job(store: Store) -> None:
    put(store, call("replace"))
    [running] = claim(store)
    one, two = call("replace", args=b'{"a":1}'), call("replace", args=b'{"a":2}')
    answer = offer(store, one, new(), two)
    assert isinstance(answer, Accepted)
    assert (answer.ids[0], answer.ids[2]) == (one.id, one.id)
    assert (answer.existing, answer.replaced) == ((one.id,), (one.id,))
    assert get(store, running.id) == running
    assert get(store, one.id).args == b'{"a":2}'
    assert depth(store) == 2


def test_a_tick_of_a_schedule_meets_the_holder_as_a_call_does(
    store: Store, clock: FakeClock
) -> None:
    due = clock.now()
    store.put_schedule(
        ScheduleInfo(name="s", cron="* * * * *", timezone="UTC", missed="skip", next_at=due)
    ).result()
    [first] = put(store, call("replace"))
    job = call("replace", args=b'{"a":2}')
    assert store.tick("s", due_at=due, next_at=due + 60, jobs=[job]).result()
    assert get(store, first).args == b'{"a":2}'
    assert depth(store) == 1


def test_only_jobs_that_are_added_count_as_enqueued(store: Store) -> None:
    for wish in (*EVERY, *EVERY):
        put(store, call(wish, delay=1.0))
    claim(store)
    [queue] = store.counts().result()
    assert queue.totals.enqueued == 1
    assert sum(each.enqueued for each in store.queue_history("q").result(60).points) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"on_conflict": "replace"}, "on_conflict='replace' needs a key"),
        ({"key": "k", "postpone_limit": 5.0}, "postpone_limit=5 needs on_conflict='postpone'"),
        (
            {"key": "k", "on_conflict": "postpone", "postpone_limit": -1.0},
            "postpone_limit",
        ),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(
    store: Store, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        put(store, new(**given))
    assert store.find(Filter(), limit=5).result() == []


@pytest.mark.parametrize("wish", EVERY)
def test_sixteen_producers_of_one_key_leave_one_waiting_job(store: Store, wish: str) -> None:
    start = Barrier(16)

    def produce(number: int) -> Accepted | Offered:
        start.wait(30)
        return offer(store, call(wish, delay=100.0, args=b'{"a":%d}' % number))

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(produce, range(16)))
    [only] = {each.ids[0] for each in answers if isinstance(each, Accepted)}
    assert depth(store) == len(store.find(Filter(), limit=5).result()) == 1
    added = [each for each in answers if isinstance(each, Accepted) and not each.existing]
    assert len(added) == 1
    replaced = [each for each in answers if isinstance(each, Accepted) and each.replaced]
    assert len(replaced) == (15 if wish in CHANGING else 0)
    assert get(store, only).damage == ""


def test_a_holder_that_is_claimed_meanwhile_is_either_changed_before_or_followed(
    store: Store,
) -> None:
    """Whatever a call answers, the job that was claimed keeps what it was claimed with."""
    for number in range(12):
        put(store, call("replace", args=b"{}"))
        start = Barrier(2)

        def produce(start: Barrier = start, number: int = number) -> Accepted | Offered:
            start.wait(30)
            return offer(store, call("replace", args=b'{"a":%d}' % number))

        with ThreadPoolExecutor(1) as threads:
            producing = threads.submit(produce)
            start.wait(30)
            claimed = claim(store, 1)
            answer = producing.result(60)
        assert isinstance(answer, Accepted)
        if not claimed:  # the change held the job back for a moment
            claimed = claim(store, 1)
        [job] = claimed
        assert get(store, job.id).args == job.args
        assert (job.args == b"{}") is (not answer.replaced)
        assert settle(store, job, Succeeded())
        if not answer.replaced:  # an empty claim would wait at a server, and take the next job
            [left] = claim(store, 1)
            assert (left.id, left.args) == (answer.ids[0], b'{"a":%d}' % number)
            settle(store, left, Succeeded())
        assert depth(store) == 0

"""What every store promises about `on_conflict`: what a call does to the job that holds its key."""

from __future__ import annotations

from hashlib import sha256

import pytest
from calls import BROKEN, claim, counted, depth, new, offer, put, settle, state
from conflicting_calls import AFTER, ALERT, CHANGING, EVERY, call, get, starts_in

from conveyor.core.files import InputFile
from conveyor.core.job import ErrorInfo, State
from conveyor.core.lifecycle import Crashed, Interrupted, Outcome, Snoozed, Succeeded
from conveyor.errors import InvalidTransitionError
from conveyor.store.messages import Accepted
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


@pytest.mark.parametrize("wish", EVERY)
def test_a_free_key_makes_a_new_job_whatever_a_call_wants(store: Store, wish: str) -> None:
    job = call(wish)
    assert offer(store, job) == Accepted((job.id,))


def test_a_kept_holder_stays_as_it_is(store: Store) -> None:
    [first] = put(store, call("keep", args=b'{"a":1}', priority=1))
    before = get(store, first)
    assert offer(store, call("keep", args=b'{"a":2}', priority=2)) == Accepted((first,), (first,))
    assert get(store, first) == before


def test_a_replaced_holder_has_the_new_arguments_and_options_and_its_own_time(
    store: Store, clock: FakeClock
) -> None:
    old = call("replace", args=b'{"a":1}', delay=10.0, retries=1)
    later = call("replace", args=b'{"a":2}', delay=99.0, retries=5, priority=3, meta={"b": 1})
    [first] = put(store, old)
    clock.advance(4)
    assert offer(store, later) == Accepted((first,), (first,), replaced=(first,))
    after = get(store, first)
    assert (after.args, after.priority, after.options.retries) == (b'{"a":2}', 3, 5)
    assert (after.options.meta, after.options.replaced_by) == ({"b": 1}, later.id)
    assert (after.state, starts_in(store, first)) == (State.SCHEDULED, 6.0)
    assert counted(store)["q"][State.SCHEDULED] == depth(store) == 1
    clock.advance(6)
    store.stage(limit=10).result()
    [job] = claim(store)
    assert (job.id, job.args, job.damage) == (first, b'{"a":2}', "")


def test_a_replaced_available_job_takes_the_place_of_its_new_priority(store: Store) -> None:
    [first] = put(store, call("replace", priority=5))
    [between] = put(store, new(priority=3))
    put(store, call("replace", priority=1))
    assert [job.id for job in claim(store, 2)] == [between, first]
    assert claim(store) == []


def test_a_replaced_job_waits_for_the_workers_of_its_new_labels(store: Store) -> None:
    [first] = put(store, call("replace"))
    put(store, call("replace", requires=("gpu",)))
    assert claim(store) == []
    [load] = [each for each in store.load(limit=9).result() if each.waiting]
    assert (load.requires, load.waiting) == (("gpu",), 1)
    assert [job.id for job in claim(store, labels=["gpu"])] == [first]


def test_a_replaced_job_that_requires_no_labels_any_more_is_for_every_worker(store: Store) -> None:
    [first] = put(store, call("replace", requires=("gpu",)))
    put(store, call("replace"))
    [load] = [each for each in store.load(limit=9).result() if each.waiting]
    assert (load.requires, load.waiting) == ((), 1)
    assert claim(store, labels=["gpu!only"], worker="gpu") == []
    assert [job.id for job in claim(store)] == [first]


def test_a_replaced_job_expires_as_the_last_call_says(store: Store, clock: FakeClock) -> None:
    [first] = put(store, call("replace", expires_at=clock.now() + 5))
    put(store, call("replace", expires_at=clock.now() + 50))
    clock.advance(10)
    store.stage(limit=10).result()
    assert state(store, first) is State.AVAILABLE
    put(store, call("replace"))
    clock.advance(100)
    store.stage(limit=10).result()
    assert [job.id for job in claim(store)] == [first]


def test_a_replaced_job_needs_the_files_of_the_last_call(store: Store, clock: FakeClock) -> None:
    old, later = (_stored(store, data) for data in (b"old", b"new"))
    [first] = put(store, call("replace", files=(old,)))
    put(store, call("replace", files=(later,)))
    assert get(store, first).options.files == (later,)
    assert [each.digest for each in store.files(first).result()] == [later.digest]
    clock.advance(2 * 86_400.0)
    assert store.sweep_contents(limit=9).result() == 1
    assert store.content(later.digest).result().whole


def _stored(store: Store, data: bytes) -> InputFile:
    digest = sha256(data).hexdigest()
    store.write_content(digest, 0, data, last=True).result(60)
    return InputFile(name=data.decode(), digest=digest, size=len(data))


def test_a_replaced_job_has_the_callbacks_of_the_last_call(store: Store) -> None:
    put(store, call("replace", callbacks=(AFTER, ALERT)))
    put(store, call("replace", callbacks=(AFTER,)))
    [job] = claim(store)
    settle(store, job, BROKEN)
    [called] = claim(store, 5, queue="default")
    assert (called.task, job.id in called.args.decode()) == ("after", True)


def test_callbacks_that_are_replaced_after_an_end_are_called_at_the_next(store: Store) -> None:
    [first] = put(store, call("replace", callbacks=(AFTER,)))
    for _ in range(2):
        [job] = claim(store)
        settle(store, job, Succeeded())
        assert [each.task for each in claim(store, 5, queue="default")] == ["after"]
        store.retry(first).result()
        put(store, call("replace", callbacks=(AFTER,)))


def test_callbacks_that_were_taken_away_after_an_end_are_called_again_once_given(
    store: Store,
) -> None:
    [first] = put(store, call("replace", callbacks=(AFTER,)))
    settle(store, claim(store)[0], Succeeded())
    assert len(claim(store, 5, queue="default")) == 1
    store.retry(first).result()
    put(store, call("replace"))
    put(store, call("replace", callbacks=(AFTER,)))
    settle(store, claim(store)[0], Succeeded())
    assert len(claim(store, 5, queue="default")) == 1


@pytest.mark.parametrize(("before", "after"), [("final", "pruned"), ("pruned", "final")])
def test_a_replaced_job_holds_its_key_as_long_as_the_last_call_says(
    store: Store, before: str, after: str
) -> None:
    [first] = put(store, call("replace", key_until=before))
    put(store, call("replace", key_until=after))
    settle(store, claim(store)[0], Succeeded())
    answer = offer(store, call("keep"))
    assert isinstance(answer, Accepted)
    assert answer.existing == ((first,) if after == "pruned" else ())


def test_what_joins_keeps_the_callbacks_of_the_holder(store: Store) -> None:
    put(store, call("join", callbacks=(AFTER,)))
    put(store, call("join", callbacks=(ALERT,), priority=3))
    [job] = claim(store)
    settle(store, job, BROKEN)
    assert [each.task for each in claim(store, 5, queue="default")] == ["after"]


def test_a_postponed_holder_starts_when_the_last_call_says(store: Store, clock: FakeClock) -> None:
    [first] = put(store, call("postpone", delay=10.0, args=b'{"a":1}'))
    for number in range(5):
        clock.advance(9)
        answer = offer(store, call("postpone", delay=10.0, args=b'{"a":%d}' % number))
        assert answer == Accepted((first,), (first,), replaced=(first,))
        assert store.stage(limit=10).result().moved == 0
        assert starts_in(store, first) == 10.0
    clock.advance(10)
    assert store.stage(limit=10).result().moved == 1
    assert [job.args for job in claim(store)] == [b'{"a":4}']


def test_a_postponed_holder_starts_no_later_than_its_limit_after_it_was_enqueued(
    store: Store, clock: FakeClock
) -> None:
    [first] = put(store, call("postpone", delay=10.0, postpone_limit=25.0))
    for _ in range(2):
        clock.advance(9)
        put(store, call("postpone", delay=10.0, postpone_limit=25.0))
    assert starts_in(store, first) == 25.0 - 18.0
    clock.advance(8)
    put(store, call("postpone", delay=10.0, postpone_limit=25.0))
    assert state(store, first) is State.AVAILABLE
    assert [job.id for job in claim(store)] == [first]


def test_a_job_that_could_start_is_postponed_and_is_not_claimed(
    store: Store, clock: FakeClock
) -> None:
    [first] = put(store, call("postpone"), new(id=f"other-{clock.now()}"))[:1]
    put(store, call("postpone", delay=5.0))
    assert counted(store)["q"][State.SCHEDULED] == counted(store)["q"][State.AVAILABLE] == 1
    assert first not in [job.id for job in claim(store, 5)]
    assert store.stage(limit=10).result().next_due_at == clock.now() + 5
    put(store, call("postpone"))
    assert [job.id for job in claim(store)] == [first]


@pytest.mark.parametrize("wish", EVERY)
def test_the_delay_before_a_retry_is_never_cut_short(
    store: Store, clock: FakeClock, wish: str
) -> None:
    from conveyor.core.retry import Fixed

    [first] = put(store, call(wish, retries=3, backoff=Fixed(60.0)))
    [job] = claim(store)
    settle(store, job, BROKEN)
    put(store, call(wish, retries=3, delay=5.0, args=b'{"a":2}'))
    after = get(store, first)
    assert (after.state, after.attempt, starts_in(store, first)) == (State.RETRYABLE, 1, 60.0)
    assert after.args == (b'{"a":2}' if wish in CHANGING else b"{}")
    if wish == "postpone":
        put(store, call(wish, retries=3, delay=90.0))
        assert starts_in(store, first) == 90.0
    clock.advance(100)
    store.stage(limit=10).result()
    assert [job.id for job in claim(store)] == [first]


@pytest.mark.parametrize(("delay", "expected"), [(0.0, 0.0), (4.0, 4.0), (60.0, 10.0)])
def test_what_joins_is_no_later_and_no_less_urgent_than_it_would_be_alone(
    store: Store, delay: float, expected: float
) -> None:
    [first] = put(store, call("join", delay=10.0, priority=1, args=b'{"a":1}'))
    answer = offer(store, call("join", delay=delay, priority=2, args=b'{"a":2}'))
    assert answer == Accepted((first,), (first,))
    after = get(store, first)
    assert (after.args, after.priority, starts_in(store, first)) == (b'{"a":1}', 2, expected)
    assert after.state is (State.SCHEDULED if expected else State.AVAILABLE)
    put(store, call("join", priority=-1, delay=99.0))
    assert get(store, first) == after


@pytest.mark.parametrize("wish", ["keep", "join"])
def test_a_running_holder_is_answered_with(store: Store, wish: str) -> None:
    [first] = put(store, call(wish))
    [job] = claim(store)
    assert offer(store, call(wish, args=b'{"a":2}')) == Accepted((first,), (first,))
    assert get(store, first) == job
    assert settle(store, job, Succeeded())


@pytest.mark.parametrize("wish", CHANGING)
def test_a_call_whose_holder_runs_is_a_job_of_its_own_that_takes_over_the_key(
    store: Store, wish: str
) -> None:
    put(store, call(wish))
    [running] = claim(store)
    next_one = call(wish, args=b'{"a":2}')
    assert offer(store, next_one) == Accepted((next_one.id,))
    assert get(store, running.id) == running
    again = call(wish, args=b'{"a":3}')
    only = next_one.id
    assert offer(store, again) == Accepted((only,), (only,), replaced=(only,))
    assert offer(store, call("keep")) == Accepted((only,), (only,))
    assert settle(store, running, Succeeded())
    assert offer(store, call("keep")) == Accepted((only,), (only,))
    assert [job.args for job in claim(store, 5)] == [b'{"a":3}']


@pytest.mark.parametrize(
    "outcome",
    [BROKEN, Interrupted(), Snoozed(5.0), Crashed(ErrorInfo("WorkerLost", "gone"))],
)
def test_a_job_that_lost_its_key_to_a_later_call_does_not_wait_again(
    store: Store, outcome: Outcome
) -> None:
    [first] = put(store, call("replace", retries=3))
    [running] = claim(store)
    [second] = put(store, call("replace", args=b'{"a":2}'))
    assert settle(store, running, outcome)
    ended = get(store, first)
    assert ended.state is State.CANCELLED
    assert "later call has taken over its key 'cat'" in (ended.error or "")
    assert [job.id for job in claim(store, 5)] == [second]
    with pytest.raises(InvalidTransitionError, match=second):
        store.retry(first).result()


def test_a_job_that_lost_its_key_can_be_retried_by_hand_once_the_key_is_free(store: Store) -> None:
    [first] = put(store, call("replace", retries=3))
    [running] = claim(store)
    put(store, call("replace"))
    settle(store, running, Interrupted())
    [second] = claim(store)
    settle(store, second, Succeeded())
    store.retry(first).result()
    [again] = claim(store)
    assert settle(store, again, Interrupted())
    assert state(store, first) is State.AVAILABLE
    assert offer(store, call("keep")) == Accepted((first,), (first,))


def test_the_job_of_a_dead_worker_that_lost_its_key_is_not_rescued_into_the_queue(
    store: Store, clock: FakeClock
) -> None:
    [first] = put(store, call("replace"))
    claim(store, lease_for=5.0)
    [second] = put(store, call("replace"))
    clock.advance(6)
    store.rescue(limit=10).result()
    assert state(store, first) is State.CANCELLED
    assert [job.id for job in claim(store, 5)] == [second]


@pytest.mark.parametrize("wish", CHANGING)
def test_a_holder_that_is_asked_to_stop_is_followed(store: Store, wish: str) -> None:
    [first] = put(store, call(wish))
    claim(store)
    store.cancel(first, reason="r").result()
    job = call(wish)
    assert offer(store, job) == Accepted((job.id,))


@pytest.mark.parametrize("wish", EVERY)
def test_a_finished_holder_of_a_key_until_pruned_is_kept(store: Store, wish: str) -> None:
    [first] = put(store, call(wish, key_until="pruned"))
    [job] = claim(store)
    settle(store, job, Succeeded())
    before = get(store, first)
    again = offer(store, call(wish, key_until="pruned", args=b'{"a":2}'))
    assert again == Accepted((first,), (first,))
    assert get(store, first) == before


def test_a_repeated_call_whose_answer_was_lost_changes_nothing_more(store: Store) -> None:
    [first] = put(store, call("replace"))
    repeated = call("replace", args=b'{"a":2}')
    answer = offer(store, repeated)
    [running] = claim(store)
    assert store.insert([repeated], again=True).result(60) == answer
    assert get(store, first) == running
    assert depth(store) == 0

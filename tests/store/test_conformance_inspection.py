"""What every store promises to those who look at many jobs: filters, counts, attempts, failures."""

from __future__ import annotations

import msgspec
import pytest
from calls import claim, new, put, settle, state
from failing import failed, run

from conveyor.core.attempts import Attempt
from conveyor.core.job import ErrorInfo, State
from conveyor.core.lifecycle import Cancelled, Failed, Succeeded
from conveyor.errors import NotFoundError, UsageError
from conveyor.store.messages import Filter, Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


def found(store: Store, **given: object) -> list[str]:
    """Return the ids of the jobs of a filter, page by page of two."""
    which = Filter(**given)  # type: ignore[arg-type]
    ids: list[str] = []
    for _ in range(100):
        page = store.find(which, limit=2).result()
        ids += [job.id for job in page]
        if not page.more:
            return ids
        last = page[-1].seq if page.next is None else page.next
        place = "after" if which.oldest_first else "before"
        which = msgspec.structs.replace(which, **{place: last})
    raise AssertionError("the list has no end")


# -- attempts --------------------------------------------------------------------------------------


def test_the_attempts_of_a_job_are_all_there_also_the_one_that_succeeded(
    store: Store, clock: FakeClock
) -> None:
    [job_id] = put(store, new(retries=1))
    enqueued = clock.now()
    clock.advance(2)
    [job] = claim(store, worker="first")
    clock.advance(3)
    settle(store, job, failed())
    due = store.get(job_id).result().run_at
    clock.advance(due + 1 - clock.now())
    store.stage(limit=10).result()
    [job] = claim(store, worker="second")
    clock.advance(4)
    running = store.attempts(job_id).result()
    assert [each.outcome for each in running] == [State.RETRYABLE, State.RUNNING]
    assert running[-1].ended_at is None
    settle(store, job, Succeeded())
    first, second = store.attempts(job_id).result()
    assert first == Attempt(
        attempt=1,
        outcome=State.RETRYABLE,
        lease=1,
        worker="first",
        due_at=enqueued,
        started_at=enqueued + 2,
        ended_at=enqueued + 5,
        waited=2.0,
        error=failed().error,
        fingerprint=first.fingerprint,
        seq=first.seq,
    )
    assert first.seq > 0
    assert len(first.fingerprint) == 12
    assert second == Attempt(
        attempt=2,
        outcome=State.COMPLETED,
        lease=2,
        worker="second",
        due_at=due,
        started_at=due + 1,
        ended_at=due + 5,
        waited=second.waited,
    )
    assert second.waited == pytest.approx(1.0)


def test_a_success_stays_among_the_attempts_of_a_job_that_is_run_again(store: Store) -> None:
    [job_id] = run(store, Succeeded(b"1"))
    store.retry(job_id).result()
    [job] = claim(store)
    settle(store, job, failed())
    outcomes = [each.outcome for each in store.attempts(job_id).result()]
    assert outcomes == [State.COMPLETED, State.DISCARDED]
    assert [each.became for each in store.history(job_id).result()] == [State.DISCARDED]
    assert store.attempts(job_id).result()[0].error is None


def test_attempts_are_paged_and_the_last_one_is_on_the_last_page(store: Store) -> None:
    [job_id] = put(store, new(retries=0))
    for _ in range(3):
        [job] = claim(store)
        settle(store, job, failed())
        store.retry(job_id).result()
    claim(store)
    seen: list[State] = []
    after = 0
    for _ in range(10):
        page = store.attempts(job_id, after=after, limit=2).result()
        seen += [each.outcome for each in page]
        if not page.more:
            break
        after = page[-1].seq
    assert seen == [State.DISCARDED] * 3 + [State.RUNNING]


def test_a_job_that_ended_without_a_run_has_an_entry_without_a_start(store: Store) -> None:
    [job_id] = put(store, new())
    store.cancel(job_id, reason="r").result()
    [attempt] = store.attempts(job_id).result()
    assert attempt.started_at is None
    assert attempt.waited is None
    assert attempt.outcome is State.CANCELLED
    with pytest.raises(NotFoundError):
        store.attempts("nowhere").result()


# -- filters ---------------------------------------------------------------------------------------


def test_jobs_are_found_by_worker_by_text_and_by_time_in_both_orders(
    store: Store, clock: FakeClock
) -> None:
    [first] = run(store, Succeeded(), worker="one")
    clock.advance(10)
    [second] = run(store, failed(), worker="two")
    middle = clock.now()
    clock.advance(10)
    third, fourth = put(
        store, new(args='{"to":"Zoë","n":1}'.encode()), new(args=b'{"to":"bob","n":2}')
    )
    assert found(store, worker="one") == [first]
    assert found(store, worker="two", states=frozenset({State.DISCARDED})) == [second]
    assert found(store, text="Zo\u00eb") == [third]
    assert found(store, text='"n":') == [fourth, third]
    assert found(store, text="zo\u00eb") == []
    assert found(store, enqueued_after=middle) == [fourth, third, second]
    assert found(store, enqueued_after=middle, enqueued_before=middle + 1) == [second]
    assert found(store, oldest_first=True) == [first, second, third, fourth]
    waiting = frozenset({State.AVAILABLE})
    assert found(store, oldest_first=True, states=waiting) == [third, fourth]


def test_an_empty_or_long_text_is_refused_with_its_length(store: Store) -> None:
    with pytest.raises(UsageError, match=r"1 to 200|length"):
        store.find(Filter(text=""), limit=1).result()
    with pytest.raises(UsageError, match="200"):
        store.find(Filter(text="x" * 201), limit=1).result()


def test_large_arguments_are_not_searched(store: Store) -> None:
    small, large = put(
        store,
        new(args=b'{"a":"needle"}'),
        new(args=b'{"a":"needle","b":"' + b"x" * (64 << 10) + b'"}'),
    )
    assert found(store, text="needle") == [small]
    assert large in found(store)


def test_jobs_are_found_by_the_failure_of_their_newest_attempt(store: Store) -> None:
    [other, same] = run(store, Failed(ErrorInfo("KeyError", "'x'")), failed("a"))
    [again] = run(store, failed("b", line=77))
    prints = {group.type: group.fingerprint for group in store.failures().result().groups}
    assert found(store, error=prints["OSError"]) == [again, same]
    assert found(store, error=prints["OSError"], oldest_first=True) == [same, again]
    # Its newest attempt has failed in another way.
    store.retry(again).result()
    [job] = claim(store)
    settle(store, job, Failed(ErrorInfo("KeyError", "'y'")))
    assert found(store, error=prints["OSError"]) == [same]
    assert found(store, error=prints["KeyError"]) == [again, other]
    assert found(store, error="0" * 12) == []


# -- counts and actions ----------------------------------------------------------------------------


def test_jobs_are_counted_by_state_and_queue(store: Store) -> None:
    run(store, Succeeded(), failed())
    put(store, new(queue="r"), new(queue="r", task="u"))
    every = store.job_counts(Filter()).result()
    assert every.counts == dict.fromkeys(State, 0) | {
        State.COMPLETED: 1,
        State.DISCARDED: 1,
        State.AVAILABLE: 2,
    }
    assert every.queues == {"q": 2, "r": 2}
    assert (every.is_capped, every.is_complete, every.looked_at) == (False, True, None)
    one = store.job_counts(Filter(task="u")).result()
    assert {state: n for state, n in one.counts.items() if n} == {State.AVAILABLE: 1}
    assert one.queues == {"r": 1}
    some = store.job_counts(Filter(queue="q", states=frozenset({State.DISCARDED}))).result()
    assert some.counts == {State.DISCARDED: 1}
    assert store.job_counts(Filter(queue="nowhere")).result().queues == {}


def test_an_action_changes_what_was_shown_step_by_step_and_nothing_newer(store: Store) -> None:
    old = run(store, *[failed()] * 5)
    done = run(store, Succeeded())
    shown = store.match(Filter(queue="q"), "retry").result()
    assert (shown.count, shown.changeable) == (6, 5)
    assert shown.states == {State.COMPLETED: 1, State.DISCARDED: 5}
    assert shown.queues == {"q": 6}
    newer = run(store, failed())
    changed: list[str] = []
    before = None
    for _ in range(10):
        which = Filter(queue="q", before=before)
        step = store.act(which, upto=shown.upto, action="retry", reason="r", limit=2).result()
        assert step.changed == len(step.jobs) <= 2
        changed += [job_id for job_id, after in step.jobs if after == State.AVAILABLE]
        before = step.next
        if before is None:
            break
    assert changed == old[::-1]
    assert state(store, newer[0]) is State.DISCARDED
    assert state(store, done[0]) is State.COMPLETED


def test_an_action_cancels_and_deletes_and_makes_room(store: Store) -> None:
    first, second = put(store, new(), new(), capacity=2)
    [job] = claim(store)
    waiting = store.insert([new(id="offered"), new()], capacity=2).result()
    assert isinstance(waiting, Offered)
    upto = store.match(Filter(), "cancel").result().upto
    step = store.act(Filter(), upto=upto, action="cancel", reason="stop").result()
    assert dict(step.jobs) == {first: State.RUNNING, second: State.CANCELLED}
    assert store.get(first).result().cancel_requested_at is not None
    assert store.accepted(waiting.offer).result() is not None
    settle(store, job, Cancelled("stop"))
    deleted = store.act(Filter(), upto=upto, action="delete", reason="").result()
    assert sorted(deleted.jobs) == sorted([(first, "deleted"), (second, "deleted")])
    with pytest.raises(NotFoundError):
        store.get(second).result()
    assert state(store, "offered") is State.AVAILABLE


def test_a_job_that_cannot_be_changed_is_counted_with_the_reason(store: Store) -> None:
    [holder] = put(store, new(key="k"))
    [job] = claim(store)
    settle(store, job, failed())
    [present] = put(store, new(key="k"))
    step = store.act(Filter(), upto=2**40, action="retry", reason="").result()
    assert (step.changed, step.refused) == (0, 1)
    assert present in step.problems[0]
    assert state(store, holder) is State.DISCARDED


def test_an_action_that_can_change_none_of_the_states_is_refused(store: Store) -> None:
    running = Filter(states=frozenset({State.RUNNING}))
    with pytest.raises(UsageError, match="retry cannot change jobs that are running"):
        store.act(running, upto=9, action="retry", reason="").result()
    with pytest.raises(UsageError, match="delete cannot change"):
        store.match(running, "delete").result()
    for limit in (0, 1001):
        with pytest.raises(UsageError, match="limit"):
            store.act(Filter(), upto=9, action="cancel", reason="", limit=limit).result()

"""What every store promises where an answer may be lost: provisional claims, repeated inserts."""

from __future__ import annotations

import pytest
from calls import BROKEN, claim, counted, depth, new, offer, put, settle, state

from conveyor import NotFoundError, QueueFullError, State
from conveyor.core.job import JobRecord
from conveyor.core.lifecycle import Interrupted, Succeeded
from conveyor.core.retry import Fixed
from conveyor.errors import DuplicateIdError
from conveyor.store.messages import Accepted, Lease, Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


def given(store: Store, **options: object) -> JobRecord:
    """Claim a job provisionally, for ten seconds."""
    put(store, new(**options))
    [job] = claim(store, confirm_within=10)
    return job


def confirm(store: Store, job: JobRecord) -> str:
    [renewal] = store.extend([Lease(job.id, job.lease)], lease_for=60).result()
    return renewal.verdict


def test_a_provisional_claim_is_running_and_has_not_started(store: Store, clock: FakeClock) -> None:
    job = given(store)
    assert (job.state, job.attempt, job.lease, job.worker) == (State.RUNNING, 1, 1, "w")
    assert (job.started_at, job.lease_until) == (None, clock.now() + 10)
    assert store.get(job.id).result() == job
    assert counted(store)["q"][State.RUNNING] == 1


def test_the_first_renewal_confirms_a_claim_and_the_next_only_renew(
    store: Store, clock: FakeClock
) -> None:
    job = given(store)
    clock.advance(3)
    started_at = clock.now()
    for _ in range(2):
        assert confirm(store, job) == "continue"
        now = store.get(job.id).result()
        assert (now.started_at, now.lease_until) == (started_at, clock.now() + 60)
        clock.advance(20)
    assert store.rescue(limit=5).result() == []


def test_a_claim_that_is_not_confirmed_is_undone(store: Store, clock: FakeClock) -> None:
    job = given(store)
    clock.advance(10.1)
    assert store.rescue(limit=5).result() == [job.id]
    assert store.history(job.id).result() == []
    assert confirm(store, job) == "lost"
    [again] = claim(store)
    assert (again.id, again.attempt, again.crashes, again.lease) == (job.id, 1, 0, 2)


def test_a_claim_that_was_confirmed_and_then_lapses_is_a_crash(
    store: Store, clock: FakeClock
) -> None:
    job = given(store)
    confirm(store, job)
    clock.advance(61)
    store.rescue(limit=5).result()
    assert store.get(job.id).result().crashes == 1


def test_what_a_dead_worker_had_not_confirmed_is_undone(store: Store) -> None:
    job = given(store)
    assert store.rescue(dead=["w"], begun=[job.id], limit=5).result() == [job.id]
    assert store.get(job.id).result().crashes == 0
    assert store.history(job.id).result() == []


def test_a_later_provisional_claim_has_not_started_though_an_earlier_attempt_had(
    store: Store, clock: FakeClock
) -> None:
    put(store, new(retries=1, backoff=Fixed(1.0)))
    [first] = claim(store)
    settle(store, first, BROKEN)
    clock.advance(1)
    store.stage(limit=5).result()
    [second] = claim(store, confirm_within=10)
    assert (second.started_at, second.attempt) == (None, 2)
    assert store.get(second.id).result() == second
    clock.advance(11)
    store.rescue(limit=5).result()
    assert claim(store)[0].attempt == 2


def test_a_keeper_neither_confirms_nor_prolongs_a_claim(store: Store, clock: FakeClock) -> None:
    job = given(store)
    put(store, new())
    claim(store, lease_for=10)
    assert store.extend_worker("w", lease_for=60).result() == 1
    assert store.get(job.id).result() == job
    clock.advance(11)
    assert store.rescue(limit=5).result() == [job.id]


def test_what_is_not_confirmed_can_be_settled(store: Store) -> None:
    job = given(store)
    assert settle(store, job, Interrupted())
    [again] = claim(store, confirm_within=10)
    assert again.attempt == 1
    assert settle(store, again, Succeeded(b"1"))
    assert state(store, job.id) is State.COMPLETED


def test_a_cancel_of_what_is_not_confirmed_is_heard_by_whoever_confirms_it(store: Store) -> None:
    job = given(store)
    assert store.cancel(job.id, reason="r").result().state is State.RUNNING
    assert confirm(store, job) == "cancel"
    assert settle(store, job, Interrupted())
    assert state(store, job.id) is State.CANCELLED


def test_what_was_to_be_cancelled_and_is_never_confirmed_is_cancelled(
    store: Store, clock: FakeClock
) -> None:
    job = given(store)
    store.cancel(job.id, reason="r").result()
    clock.advance(11)
    store.rescue(limit=5).result()
    assert state(store, job.id) is State.CANCELLED


def test_at_a_rendezvous_a_claim_may_be_provisional_too(store: Store, clock: FakeClock) -> None:
    met = new()
    waiting = offer(store, met, capacity=0)
    assert isinstance(waiting, Offered)
    [job] = claim(store, confirm_within=10)
    assert (job.id, job.started_at) == (met.id, None)
    assert store.accepted(waiting.offer).result() == Accepted((met.id,))
    clock.advance(11)
    store.rescue(limit=5).result()
    assert [each.id for each in claim(store)] == [met.id]


def test_a_store_that_answers_at_once_has_nothing_to_give_back(store: Store) -> None:
    put(store, new())
    store.decline("w").result()
    assert len(claim(store)) == 1


# -- inserts that are sent again -----------------------------------------------------------------


def test_what_is_inserted_again_is_there_once(store: Store) -> None:
    jobs = [new(), new()]
    first = store.insert(jobs).result()
    assert store.insert(jobs, again=True).result() == first
    assert depth(store) == 2


def test_what_is_inserted_again_and_never_came_is_inserted(store: Store) -> None:
    job = new()
    assert store.insert([job], again=True).result() == Accepted((job.id,))
    assert store.insert([], again=True).result() == Accepted(())
    assert depth(store) == 1


def test_an_insert_again_answers_for_no_job_and_no_offer_of_another_queue(store: Store) -> None:
    job = new(queue="other")
    put(store, job, capacity=1)
    with pytest.raises(DuplicateIdError):
        store.insert([new(id=job.id)], again=True).result()
    waits = new(queue="other")
    assert isinstance(offer(store, waits, capacity=1), Offered)
    assert store.insert([new(id=waits.id)], again=True).result() == Accepted((waits.id,))


@pytest.mark.parametrize("ended", [False, True])
def test_an_insert_again_says_what_has_become_of_nothing_but_the_insert(
    store: Store, ended: bool
) -> None:
    job = new()
    put(store, job, capacity=1)
    [running] = claim(store)
    if ended:
        settle(store, running, Succeeded())
    put(store, new(), capacity=1)  # it is full now, and that does not matter any more
    again = store.insert([job], capacity=1, when_full="refuse", again=True).result()
    assert again == Accepted((job.id,))
    assert store.get(job.id).result().state is (State.COMPLETED if ended else State.RUNNING)


def test_an_insert_again_names_who_holds_a_key_that_was_taken(store: Store) -> None:
    holder = new(key="k")
    put(store, holder)
    jobs = [new(key="k"), new(), new(key="l"), new(key="l")]
    first = store.insert(jobs).result()
    assert isinstance(first, Accepted)
    assert first.existing == (holder.id, jobs[2].id)
    assert store.insert(jobs, again=True).result() == first


def test_an_insert_again_gives_a_job_its_own_id_where_the_key_s_holder_is_gone(
    store: Store,
) -> None:
    put(store, new(key="k"))
    jobs = [new(key="k"), new(queue="q")]
    store.insert(jobs).result()
    [holder, _] = claim(store, 2)
    settle(store, holder, Succeeded())
    assert store.insert(jobs, again=True).result() == Accepted(tuple(job.id for job in jobs))
    with pytest.raises(NotFoundError):
        store.get(jobs[0].id).result()


def test_an_offer_that_is_made_again_is_the_same_offer(store: Store) -> None:
    put(store, new(), capacity=1)
    jobs = [new()]
    first = offer(store, *jobs, capacity=1)
    assert isinstance(first, Offered)
    assert store.insert(jobs, capacity=1, again=True).result() == first
    assert store.counts().result()[0].offers == 1


def test_an_offer_that_was_accepted_meanwhile_is_not_made_again(store: Store) -> None:
    put(store, new(), capacity=1)
    job = new()
    waiting = offer(store, job, capacity=1)
    assert isinstance(waiting, Offered)
    claim(store)
    assert store.insert([job], capacity=1, again=True).result() == Accepted((job.id,))
    assert store.accepted(waiting.offer).result() == Accepted((job.id,))
    assert depth(store) == 1


def test_an_offer_whose_job_was_kept_out_meanwhile_is_not_made_again(store: Store) -> None:
    put(store, new(), capacity=1)
    holder, job = new(key="k"), new(key="k")
    offer(store, holder, capacity=1)
    offer(store, job, capacity=1)
    claim(store)
    answer = store.insert([job], capacity=1, again=True).result()
    assert answer == Accepted((holder.id,), (holder.id,))


def test_what_was_refused_is_judged_anew_when_it_is_sent_again(store: Store) -> None:
    put(store, new(), capacity=1)
    job = new()
    for again in (False, True):
        with pytest.raises(QueueFullError):
            store.insert([job], capacity=1, when_full="refuse", again=again).result()
    claim(store)
    answer = store.insert([job], capacity=1, when_full="refuse", again=True).result()
    assert answer == Accepted((job.id,))

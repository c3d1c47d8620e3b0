"""What every store promises to whoever scales: what waits and runs, and one leader at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from calls import BROKEN, claim, new, offer, put, settle

from conveyor.core.job import NewJob
from conveyor.core.lifecycle import Interrupted, Succeeded
from conveyor.errors import UsageError
from conveyor.store.messages import Leader, Load, Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

MIB = 1 << 20


def load(store: Store, limit: int = 100) -> list[Load]:
    return store.load(limit=limit).result(10)


def figures(store: Store, queue: str = "q") -> tuple[int, int]:
    """Return how many jobs wait and run, whatever they require."""
    loads = [each for each in load(store) if each.queue == queue]
    return sum(each.waiting for each in loads), sum(each.running for each in loads)


def lead(
    store: Store, holder: str, hold: float = 30.0, note: str | None = None, name: str = "scaler"
) -> Leader:
    return store.lead(name, holder, hold=hold, note=note).result(10)


# -- what waits and runs ---------------------------------------------------------------------------


def test_nothing_waits_and_runs_where_there_is_nothing(store: Store) -> None:
    assert load(store) == []


def test_the_load_is_told_by_queue_and_required_labels_in_order(
    store: Store, clock: FakeClock
) -> None:
    first = clock.now()
    put(store, new(queue="b", requires=("gpu",)), new(queue="b"))
    clock.advance(1)
    put(store, new(queue="a", requires=("big", "gpu")), new(queue="a"), new(queue="a"))
    assert load(store) == [
        Load("a", (), 2, 0, first + 1),
        Load("a", ("big", "gpu"), 1, 0, first + 1),
        Load("b", (), 1, 0, first),
        Load("b", ("gpu",), 1, 0, first),
    ]
    assert load(store, limit=3) == load(store)[:3]


def test_the_load_of_one_queue_is_its_part_of_the_whole(store: Store) -> None:
    put(store, new(queue="a", requires=("gpu",)), new(queue="a"), new(queue="a"))
    put(store, new(queue="b", requires=("gpu",)), new(queue="b", requires=("big",)))
    put(store, new(queue="paused"), new(queue="paused"))
    claim(store, queue="a", labels=("gpu",), limit=2)
    claim(store, queue="b", labels=("big",))
    claim(store, queue="paused")
    store.set_paused("paused", paused=True).result(10)
    assert isinstance(offer(store, new(queue="met"), capacity=0), Offered)
    of_all = load(store)
    assert {each.queue for each in of_all} == {"a", "b", "paused", "met"}
    for queue in ("a", "b", "paused", "met", "unknown"):
        found = store.load(limit=100, queue=queue).result(10)
        assert found == [each for each in of_all if each.queue == queue]
    assert store.load(limit=1, queue="b").result(10) == [of_all[2]]
    assert [each.name for each in store.counts().result(10)] == ["a", "b", "met", "paused"]


def test_the_load_is_exact_through_all_that_becomes_of_jobs(store: Store, clock: FakeClock) -> None:
    put(store, *(new(retries=1) for _ in range(6)))
    assert figures(store) == (6, 0)
    done, failing, given_back = claim(store, 3)
    assert figures(store) == (3, 3)
    settle(store, done, Succeeded())
    assert figures(store) == (3, 2)
    settle(store, given_back, Interrupted())
    assert figures(store) == (4, 1)
    settle(store, failing, BROKEN)
    assert figures(store) == (4, 0)
    store.retry(failing.id).result()
    assert figures(store) == (5, 0)
    store.cancel(failing.id, reason="r").result()
    assert figures(store) == (4, 0)
    clock.advance(3600)
    store.stage(limit=10).result()
    assert figures(store) == (4, 0)


def test_a_running_job_that_is_to_stop_still_runs(store: Store) -> None:
    put(store)
    [job] = claim(store)
    store.cancel(job.id, reason="r").result()
    assert load(store) == [Load("q", (), 0, 1)]


def test_a_claim_that_is_not_confirmed_runs_and_waits_again_once_it_lapsed(
    store: Store, clock: FakeClock
) -> None:
    put(store)
    claim(store, confirm_within=5.0)
    assert figures(store) == (0, 1)
    clock.advance(6)
    store.rescue(limit=10).result()
    assert figures(store) == (1, 0)


def test_a_job_that_is_due_later_waits_from_then_on(store: Store, clock: FakeClock) -> None:
    due = clock.now() + 60
    put(store, new(delay=60.0))
    assert load(store) == []
    clock.advance(90)
    store.stage(limit=10).result()
    assert load(store) == [Load("q", (), 1, 0, due)]


def test_the_jobs_of_a_paused_queue_do_not_wait_and_still_run(store: Store) -> None:
    put(store, new(), new(), new(requires=("gpu",)))
    claim(store)
    store.set_paused("q", paused=True).result()
    assert load(store) == [Load("q", (), 0, 1)]
    store.set_paused("q", paused=False).result()
    assert figures(store) == (2, 1)


def test_the_oldest_of_those_that_wait_counts_whatever_its_priority(
    store: Store, clock: FakeClock
) -> None:
    first = clock.now()
    ids: list[str] = []
    for priority in (0, -5, 7, 0):
        ids += put(store, new(priority=priority))
        clock.advance(1)
    for expected, job_id in enumerate(ids):
        assert load(store)[0].oldest_at == first + expected
        store.cancel(job_id, reason="r").result()
    assert load(store) == []


def test_the_oldest_is_found_among_very_many_priorities(store: Store, clock: FakeClock) -> None:
    first = clock.now()
    put(store, new(priority=-2000))
    clock.advance(1)
    put(store, *(new(priority=number) for number in range(1500)))
    assert load(store) == [Load("q", (), 1501, 0, first)]


def test_the_oldest_stays_true_while_many_jobs_come_and_go(store: Store, clock: FakeClock) -> None:
    put(store, new(priority=1), new())
    assert load(store)[0].oldest_at == clock.now()
    first = clock.now()
    for _ in range(4):
        clock.advance(1)
        put(store, *(new(priority=number % 3 + 1) for number in range(60)))
        for job in claim(store, 60):
            settle(store, job, Succeeded())
    # One of the first two is left: it has the lowest priority.
    assert load(store)[0].oldest_at == first
    for _ in range(2):
        for job in claim(store, 1):
            settle(store, job, Succeeded())
    clock.advance(1)
    put(store, new(), new(priority=1))
    assert load(store) == [Load("q", (), 2, 0, clock.now())]


def test_jobs_that_are_offered_at_a_rendezvous_wait(store: Store, clock: FakeClock) -> None:
    for requires in ((), ("gpu",), ("gpu",)):
        assert isinstance(offer(store, new(requires=requires), capacity=0), Offered)
    assert load(store) == [Load("q", (), 1, 0), Load("q", ("gpu",), 2, 0)]
    assert claim(store, labels=["gpu!only"])
    assert load(store) == [Load("q", (), 1, 0), Load("q", ("gpu",), 1, 1)]
    clock.advance(10)  # the producers are silent: nobody would get an answer
    assert load(store) == [Load("q", ("gpu",), 0, 1)]


def test_an_offer_at_a_bound_does_not_wait_for_a_worker(store: Store) -> None:
    put(store, capacity=1)
    assert isinstance(offer(store, capacity=1), Offered)
    assert figures(store) == (1, 0)


def test_the_load_is_exact_while_several_enqueue_and_work(store: Store) -> None:
    labels: Sequence[tuple[str, ...]] = ((), ("gpu",), ("big",))

    def work(number: int) -> None:
        put(store, *(new(requires=labels[number % 3]) for _ in range(20)))
        for job in claim(store, 10, worker=f"w{number}", labels=["gpu", "big"])[:5]:
            settle(store, job, Succeeded())

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert figures(store) == (60, 30)


# -- who leads -------------------------------------------------------------------------------------


def test_nobody_leads_until_somebody_does(store: Store, clock: FakeClock) -> None:
    assert store.leader("scaler").result() is None
    taken = lead(store, "a", 30.0)
    now = clock.now()
    assert taken == Leader("scaler", "a", until=now + 30, since=now, term=1, note="")
    assert store.leader("scaler").result() == taken


def test_who_leads_keeps_it_and_nobody_else_gets_it(store: Store, clock: FakeClock) -> None:
    first = lead(store, "a")
    clock.advance(29)
    kept = lead(store, "a")
    assert (kept.until, kept.since, kept.term) == (clock.now() + 30, first.since, 1)
    clock.advance(29)
    assert lead(store, "b") == kept
    assert store.leader("scaler").result() == kept


def test_a_leadership_that_lapsed_is_taken_over_and_the_term_grows(
    store: Store, clock: FakeClock
) -> None:
    lead(store, "a")
    clock.advance(30)
    taken = lead(store, "b")
    assert (taken.holder, taken.since, taken.term) == ("b", clock.now(), 2)
    assert lead(store, "a") == taken


def test_who_lapsed_and_finds_nobody_in_between_goes_on_in_the_same_term(
    store: Store, clock: FakeClock
) -> None:
    first = lead(store, "a", note="n")
    clock.advance(100)
    again = lead(store, "a")
    assert (again.term, again.since, again.note) == (1, first.since, "n")
    assert again.until == clock.now() + 30


def test_a_note_is_handed_on_to_the_next_leader(store: Store, clock: FakeClock) -> None:
    assert lead(store, "a", note="one ✓").note == "one ✓"
    assert lead(store, "a").note == "one ✓"
    clock.advance(31)
    assert lead(store, "b").note == "one ✓"
    assert lead(store, "b", note="").note == ""


def test_the_note_of_one_who_does_not_lead_changes_nothing(store: Store, clock: FakeClock) -> None:
    kept = lead(store, "a", note="mine")
    assert lead(store, "b", note="theirs") == kept
    clock.advance(31)
    lapsed = store.leader("scaler").result()
    assert lead(store, "b", hold=0, note="theirs") == lapsed == kept
    assert lead(store, "a", hold=0, note="too late") == lapsed


def test_who_gives_it_up_leaves_a_note_and_lets_the_next_lead_at_once(
    store: Store, clock: FakeClock
) -> None:
    lead(store, "a")
    clock.advance(1)
    given_up = lead(store, "a", hold=0, note="done")
    assert (given_up.holder, given_up.until, given_up.note) == ("a", clock.now(), "done")
    assert lead(store, "a", hold=0) == given_up
    taken = lead(store, "b")
    assert (taken.holder, taken.term, taken.note) == ("b", 2, "done")


def test_only_who_leads_can_give_it_up(store: Store) -> None:
    assert lead(store, "b", hold=0).term == 0
    assert store.leader("scaler").result() is None
    kept = lead(store, "a")
    assert lead(store, "b", hold=0) == kept


def test_each_name_has_a_leader_of_its_own(store: Store) -> None:
    lead(store, "a", name="one/ö", note="1")
    assert lead(store, "b", name="other", note="2").holder == "b"
    found = store.leader("one/ö").result()
    assert found is not None
    assert (found.holder, found.note) == ("a", "1")


def test_of_many_that_want_to_lead_at_once_one_does(store: Store) -> None:
    for term in range(1, 6):
        ready = threading.Barrier(6)

        def want(holder: str, ready: threading.Barrier = ready) -> Leader:
            ready.wait(60)
            return lead(store, holder)

        holders = [f"{number} of {term}" for number in range(6)]

        with ThreadPoolExecutor(6) as pool:
            told = list(pool.map(want, holders))
        assert len({each.holder for each in told}) == 1
        assert {each.term for each in told} == {term}
        lead(store, told[0].holder, hold=0)


@pytest.mark.parametrize(
    ("name", "holder", "hold", "note"),
    [
        ("", "a", 1.0, None),
        ("n" * 201, "a", 1.0, None),
        ("n", "", 1.0, None),
        ("n", "a", -1.0, None),
        ("n", "a", 1.0, "x" * (MIB + 1)),
        ("n", "a", 1.0, "é" * (MIB // 2 + 1)),
    ],
)
def test_what_nobody_could_mean_is_refused_and_changes_nothing(
    store: Store, name: str, holder: str, hold: float, note: str | None
) -> None:
    with pytest.raises(UsageError):
        store.lead(name, holder, hold=hold, note=note).result(10)
    assert store.leader("n").result() is None


def test_a_note_may_have_a_mebibyte(store: Store) -> None:
    assert lead(store, "a", note="x" * MIB).note == "x" * MIB


def test_new_jobs_are_seen_beside_a_leader(store: Store) -> None:
    jobs: list[NewJob] = [new(), new()]
    put(store, *jobs)
    lead(store, "a")
    assert figures(store) == (2, 0)

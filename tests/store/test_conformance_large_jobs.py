"""What every store promises about large jobs: a claim ends early, and none is lost.

And about many: a SQL store reads a few at a time, and changes all.
"""

from __future__ import annotations

import msgspec
import pytest
from calls import BROKEN, claim, counted, depth, new, offer, put, settle

from conveyor.core.job import JobRecord, State
from conveyor.core.lifecycle import Succeeded
from conveyor.core.page import PAGE_BYTES
from conveyor.store.messages import Accepted, Claimant, Offered, Want
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

LARGE = b'{"x": "%b"}' % (b"y" * 1_000_000)


def claim_all(store: Store, queue: str = "q") -> list[list[JobRecord]]:
    """Claim as much as there is, a thousand jobs at a time."""
    claims: list[list[JobRecord]] = []
    while jobs := claim(store, 1000, queue=queue):
        claims.append(jobs)
    return claims


def check_sizes(claims: list[list[JobRecord]]) -> None:
    for jobs in claims:
        sizes = [len(job.args) + len(msgspec.json.encode(job.options)) for job in jobs]
        assert sum(sizes[:-1]) < PAGE_BYTES + 2 * len(jobs)
        assert sum(sizes) >= PAGE_BYTES or jobs is claims[-1]


@pytest.mark.parametrize("within", [None, 10.0])
def test_a_claim_of_large_jobs_ends_early_and_leaves_the_others_for_the_next(
    store: Store, within: float | None
) -> None:
    ids = put(store, *(new(args=LARGE) for _ in range(12)))
    first = claim(store, 1000, confirm_within=within)
    assert [job.id for job in first] == ids[:5]
    assert all(job.args == LARGE for job in first)
    assert counted(store)["q"][State.RUNNING] == 5
    assert depth(store) == 7
    rest = claim_all(store)
    assert [[job.id for job in jobs] for jobs in rest] == [ids[5:10], ids[10:]]
    check_sizes([first, *rest])
    for job in [*first, *(job for jobs in rest for job in jobs)]:
        assert settle(store, job, Succeeded(None))
    assert counted(store)["q"] == {state: 12 * (state == "completed") for state in State}


def test_a_claim_counts_large_options(store: Store) -> None:
    ids = put(store, *(new(meta={"a": "y" * 16_000}) for _ in range(600)))
    claims = claim_all(store)
    assert len(claims) == 3
    assert [job.id for jobs in claims for job in jobs] == ids
    check_sizes(claims)


def test_small_jobs_behind_and_between_large_ones_are_claimed_in_order(store: Store) -> None:
    jobs = [new(args=LARGE) if number % 10 == 5 else new() for number in range(100)]
    ids = put(store, *jobs)
    claims = claim_all(store)
    assert [job.id for found in claims for job in found] == ids
    assert len(claims) == 3
    check_sizes(claims)


def test_a_claim_from_several_queues_has_one_bound(store: Store) -> None:
    put(store, *(new(queue="a", args=LARGE) for _ in range(3)))
    put(store, *(new(queue="b", args=LARGE) for _ in range(3)))
    put(store, new(queue="c"))
    wants = [Want(queue, 9) for queue in "abc"]
    found = store.claim(wants, Claimant("w", 60.0), limit=9).result().jobs
    assert [job.queue for job in found] == ["a", "a", "a", "b", "b"]
    found = store.claim(wants, Claimant("w", 60.0), limit=9).result().jobs
    assert [job.queue for job in found] == ["b", "c"]


def test_a_bounded_queue_keeps_its_bound_when_a_claim_ends_early(store: Store) -> None:
    put(store, *(new(args=LARGE) for _ in range(8)), capacity=8)
    waiting = offer(store, *(new() for _ in range(5)), capacity=8)
    assert isinstance(waiting, Offered)
    assert len(claim(store, 1000)) == 5
    assert depth(store) == 8
    answer = store.accepted(waiting.offer).result()
    assert isinstance(answer, Accepted)
    assert isinstance(offer(store, new(), capacity=8), Offered)
    assert sum(map(len, claim_all(store))) == 9


def test_a_rendezvous_with_large_jobs_leaves_the_other_producers_waiting(store: Store) -> None:
    offers = [offer(store, new(args=LARGE), capacity=0) for _ in range(7)]
    assert len(claim(store, 1000)) == 5
    answers = [store.accepted(each.offer).result() for each in offers if isinstance(each, Offered)]
    assert [answer is not None for answer in answers] == [True] * 5 + [False] * 2
    assert len(claim(store, 1000)) == 2


def test_a_failed_attempt_of_a_large_job_is_claimed_again(store: Store) -> None:
    [job_id] = put(store, new(args=LARGE, retries=1))
    settle(store, claim(store)[0], BROKEN)
    store.retry(job_id).result()
    assert [job.id for job in claim(store, 1000)] == [job_id]


MANY = 40  # more than a SQL store reads at once


def test_many_offers_are_accepted_at_once_when_there_is_room(store: Store) -> None:
    put(store, new(), capacity=1)
    offers = [offer(store, new(), capacity=1) for _ in range(MANY)]
    put(store, capacity=None)
    answers = [store.accepted(each.offer).result() for each in offers if isinstance(each, Offered)]
    assert [answer is not None for answer in answers] == [True] * MANY
    assert depth(store) == 2 + MANY


def test_a_claim_meets_a_producer_behind_many_that_offer_something_else(store: Store) -> None:
    for _ in range(MANY):
        offer(store, new(requires=("gpu",)), capacity=0)
    offer(store, new(id="mine"), capacity=0)
    assert [job.id for job in claim(store, 9)] == ["mine"]
    assert len(claim(store, 1000, labels=["gpu"])) == MANY


def test_many_jobs_are_rescued_at_once(store: Store, clock: FakeClock) -> None:
    put(store, *(new(id=f"{number:02}") for number in range(3 * MANY)))
    ids = [f"{number:02}" for number in range(3 * MANY)]
    claim(store, MANY, worker="dead", lease_for=1000)
    claim(store, MANY, worker="lapsed", lease_for=1)
    claim(store, MANY, worker="alive", lease_for=1000)
    clock.advance(2)
    for dead, whose in ((["dead"], ids[:MANY]), ([], ids[MANY : 2 * MANY])):
        first = store.rescue(dead=dead, limit=MANY - 3).result()
        assert len(first) == MANY - 3
        rest = store.rescue(dead=dead, limit=1000).result()
        assert sorted(first + rest) == whose
    assert counted(store)["q"][State.RUNNING] == MANY


def test_many_jobs_are_dropped_and_expire_at_once(store: Store, clock: FakeClock) -> None:
    put(store, *(new() for _ in range(MANY)), capacity=MANY)
    put(store, *(new() for _ in range(MANY)), capacity=MANY, when_full="drop_oldest")
    assert counted(store)["q"][State.DISCARDED] == MANY
    put(store, *(new(queue="r", expires_at=clock.now() + 1) for _ in range(MANY)))
    clock.advance(2)
    store.stage(limit=MANY - 3).result()
    assert counted(store)["r"][State.DISCARDED] == MANY - 3
    store.stage(limit=MANY).result()
    assert counted(store)["r"][State.DISCARDED] == MANY
